"""Layers on the core's streams: the beats that go in, and those that come out."""

from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Shape

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.random_layers import random_chain
from dtqatten.sim.lockstep.core import CoreLockstep

__all__ = ["StreamVectors", "core_vectors"]

#: Heads and layers of the vectors.
HEADS, LAYERS = 2, 2


@dataclass(frozen=True)
class StreamVectors:
    """The beats of a stream.

    Parameters
    ----------
    name : str
        Of the stream.
    into : bool
        Whether the block takes them.
    width : int
        Bits of a beat.
    beats : tuple of int
    """

    name: str
    into: bool
    width: int
    beats: tuple[int, ...]


def core_vectors(config: Config, seed: int) -> tuple[list[StreamVectors], int]:
    """Return the streams of random layers, and cycles in which they pass though streams pause.

    Beats that come out are those of the cycle model, compared with the golden block.

    Parameters
    ----------
    config : Config
    seed : int
    """
    tokens = min(config.n_max, 2 * max(config.rows, config.cols) + 1)
    if config.progressive:
        # Heads of one row block are tried, and others are not.
        tokens = min(tokens, config.rows)
    rng = np.random.default_rng(seed)
    layers = random_chain(config, rng, LAYERS, heads=min(config.heads, HEADS), tokens=tokens)
    bench = CoreLockstep(config, layers, stall=0.5)
    given = {name: list(source.beats)[::-1] for name, source in bench.sources.items()}
    for name, source in bench.sources.items():
        if source.offered is not None:
            given[name].insert(0, source.offered)
    while not bench.done:
        bench.clock()
    bench.verify()
    streams = []
    for name, layout in bench.layouts.items():
        into = name in given
        beats = given[name] if into else [beat for _, beat in bench.taken[name]]
        packed = tuple(bench.pack(name, beat) for beat in beats)
        streams.append(StreamVectors(name, into, Shape.cast(layout).width, packed))
    return streams, bench.deadline
