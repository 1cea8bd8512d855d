"""Rows of tokens behind the reading side of a token table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dtqatten.sim.native import Testbench

__all__ = ["grant_rows"]


def grant_rows(
    reader: Any, rows: Sequence[int], rng: np.random.Generator, stall: float = 0.0
) -> Testbench:
    """Return a background testbench that grants rows as ``TokenTable`` does, one a cycle.

    Parameters
    ----------
    reader : wiring interface
        Has ``asked``, ``granted``, ``index`` and ``entry``; the first two a bit a reader, and
        ``index`` an array if there are several.
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
    indices = [reader.index] if len(reader.asked) == 1 else list(reader.index)

    async def testbench(context: Any) -> None:
        while True:
            asked = context.get(reader.asked)
            wanting = [i for i in range(len(indices)) if asked >> i & 1]
            chosen = int(rng.choice(wanting)) if wanting and rng.random() >= stall else None
            context.set(reader.granted, 0 if chosen is None else 1 << chosen)
            slot = 0 if chosen is None else context.get(indices[chosen])
            await context.tick()
            if chosen is None:
                # Nobody looks; what an entry without a grant holds is noise.
                context.set(reader.entry, int(rng.integers(1 << len(reader.entry))))
                continue
            if slot >= len(rows):
                raise AssertionError(f"slot {slot} of {len(rows)} is asked for")
            context.set(reader.entry, int(rows[slot]))

    return testbench
