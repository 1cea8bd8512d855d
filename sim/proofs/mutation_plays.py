"""Runs of mutation testing: random ones at any pace, some of them cut off by a reset."""

from collections.abc import Callable, Iterator

import numpy as np

from dtqatten.sim.engines.bench import Bench
from dtqatten.sim.proofs.recording import Play

__all__ = ["plays"]

#: Stalls of sources and sinks, and whether sinks wait for ``valid``.
STALLS = [(0.0, False), (0.5, False), (0.5, True), (0.0, True), (0.9, True)]
#: Cycles after which a run is cut off by a reset.
CUTS = (10, 31, 57, 90, 150, 211)


def plays(
    make: Callable[[np.random.Generator, float, bool, int], Bench], reset_cycles: int = 1
) -> Iterator[Play]:
    """Yield runs that a reset cuts off, then complete ones for every pattern of stalls.

    Parameters
    ----------
    make : callable
        Returns a bench for a random generator ``rng``, the probability ``stall`` of stalls,
        whether sinks are ``lazy``, waiting for ``valid``, and the ``seed`` of the stalls.
    reset_cycles : int
        Before each run.
    """
    for seed, cycles in enumerate(CUTS, start=100):
        yield Play(make(np.random.default_rng(seed), 0.3, False, seed), reset_cycles, cycles)
    for seed, (stall, lazy) in enumerate(STALLS):
        yield Play(make(np.random.default_rng(seed), stall, lazy, seed), reset_cycles)
