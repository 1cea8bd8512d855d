"""Both sides of a token table: ids that come, and rows of tokens that are asked for."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dtqatten.golden.memory import runs
from dtqatten.sim.engines.native import Testbench

__all__ = ["grant_rows", "grant_runs", "id_beats"]


def id_beats(ids: Sequence[int], four_bit: int, lanes: int) -> list[dict[str, Any]]:
    """Return the beats of a top-k engine: full but for the last of each class.

    The first ``four_bit`` of ``ids`` are the 4-bit class.
    """
    beats: list[dict[str, Any]] = []
    for part in (ids[:four_bit], ids[four_bit:]):
        for at in range(0, len(part), lanes):
            chunk = part[at : at + lanes]
            beats.append({"ids": list(chunk), "count": len(chunk)})
    beats[-1]["last"] = 1
    return beats


def grant_rows(
    reader: Any, rows: Sequence[int], rng: np.random.Generator, stall: float = 0.0
) -> Testbench:
    """Return a background testbench that grants rows as ``TokenTable`` does, one a cycle.

    Without stalls the first reader goes first, else chance decides.

    Parameters
    ----------
    reader : wiring interface
        Has ``asked``, ``granted``, ``index`` and ``entry``; the first two a bit a reader, and
        ``index`` an array unless there is one.
    rows : sequence of int
        By slot.
    rng : Generator
    stall : float
        Probability that no one is granted, in each cycle.

    Raises
    ------
    AssertionError
        From the testbench, if a reader asks for a slot that there is not.
    """
    noise = 1 << len(reader.entry)
    return _grants(
        reader, rng, stall, lambda: list(rows), "entry", lambda: int(rng.integers(noise))
    )


def grant_runs(
    reader: Any, rows: Sequence[int], rng: np.random.Generator, stall: float = 0.0
) -> Testbench:
    """Return a background testbench that grants runs of rows as soon as ``RunTable`` may do.

    Parameters
    ----------
    reader : wiring interface
        Has ``run`` and ``count`` in place of ``entry``.
    rows, rng, stall
        As of :func:`grant_rows`.
    """

    def known() -> list[Any]:
        return [{"first": first, "tokens": tokens} for first, tokens in runs(rows)]

    def noise() -> Any:
        return {"first": int(rng.integers(1 << len(reader.run.first))), "tokens": 1}

    async def testbench(context: Any) -> None:
        await _grants(reader, rng, stall, known, "run", noise, latency=2)(context)

    return testbench


def _grants(
    reader: Any,
    rng: np.random.Generator,
    stall: float,
    known: Callable[[], list[Any]],
    shown: str,
    noise: Callable[[], Any],
    latency: int = 1,
) -> Testbench:
    """Return a testbench that grants what is ``known`` by index.

    Parameters
    ----------
    reader, rng, stall
        As of :func:`grant_rows`.
    known : callable
        What there is now.
    shown : str
        Port that shows it.
    noise : callable
        What the port shows where nobody looks.
    latency : int
        Cycles from a grant to what it shows.
    """
    indices = reader.index if isinstance(reader.index, list) else [reader.index]

    async def testbench(context: Any) -> None:
        coming: deque[Any] = deque([None] * (latency - 1))
        while True:
            rows = known()
            if hasattr(reader, "count"):
                context.set(reader.count, len(rows))
            asked = context.get(reader.asked)
            wanting = [i for i in range(len(indices)) if asked >> i & 1]
            if stall:
                rng.shuffle(wanting)
            chosen = int(wanting[0]) if wanting and rng.random() >= stall else None
            context.set(reader.granted, 0 if chosen is None else 1 << chosen)
            slot = 0 if chosen is None else context.get(indices[chosen])
            if chosen is not None and slot >= len(rows):
                raise AssertionError(f"{shown} {slot} of {len(rows)} is asked for")
            coming.append(None if chosen is None else rows[slot])
            await context.tick()
            found = coming.popleft()
            # What is there without a grant is noise.
            context.set(getattr(reader, shown), noise() if found is None else found)

    return testbench
