"""Runs of tokens behind the reading side of a token table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dtqatten.sim.native import Testbench

__all__ = ["grant_runs"]


def grant_runs(
    reader: Any, runs: Sequence[tuple[int, int]], rng: np.random.Generator, stall: float = 0.0
) -> Testbench:
    """Return a background testbench that grants runs as ``TokenTable`` does, one a cycle.

    Parameters
    ----------
    reader : wiring interface
        Has ``asked``, ``granted``, ``index`` and ``entry``; the first two a bit a reader, and
        ``index`` an array if there are several.
    runs : sequence of (first id, tokens)
    rng : Generator
    stall : float
        Probability that no one is granted, in each cycle.

    Raises
    ------
    AssertionError
        From the testbench, if a reader asks for a run that there is not.
    """
    indices = [reader.index] if len(reader.asked) == 1 else list(reader.index)

    async def testbench(context: Any) -> None:
        while True:
            asked = context.get(reader.asked)
            wanting = [i for i in range(len(indices)) if asked >> i & 1]
            chosen = int(rng.choice(wanting)) if wanting and rng.random() >= stall else None
            context.set(reader.granted, 0 if chosen is None else 1 << chosen)
            number = 0 if chosen is None else context.get(indices[chosen])
            await context.tick()
            if chosen is None:
                # Nobody looks; what an entry without a grant holds is noise.
                entry = int(rng.integers(1 << 16)) & ((1 << reader.entry.shape().size) - 1)
                context.set(reader.entry.as_value(), entry)
                continue
            if number >= len(runs):
                raise AssertionError(f"run {number} of {len(runs)} is asked for")
            first, tokens = runs[number]
            last = int(number == len(runs) - 1)
            context.set(reader.entry, {"first": first, "tokens": tokens, "last": last})

    return testbench
