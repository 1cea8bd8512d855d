"""Run a cycle model on its own: beats offered to its streams, beats taken from them."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Source", "StreamRun"]


def _chance(probability: float, rng: np.random.Generator) -> bool:
    """Draw whether something happens that has a probability; nothing is drawn for 0."""
    return probability > 0 and bool(rng.random() < probability)


class Source:
    """Producer of a stream that pauses at random and keeps an offered beat until it is taken."""

    def __init__(self, beats: Sequence[Any], pause: float, rng: np.random.Generator) -> None:
        self.beats, self.pause, self.rng = list(beats)[::-1], pause, rng
        self.offered: Any = None
        self._offer()

    def _offer(self) -> None:
        if self.beats and not _chance(self.pause, self.rng):
            self.offered = self.beats.pop()

    def clock(self, ready: bool) -> None:
        """Pass a clock edge at which the beat offered, if any, is taken if ``ready``."""
        if ready:
            self.offered = None
        if self.offered is None:
            self._offer()

    @property
    def done(self) -> bool:
        """Whether every beat has been taken."""
        return self.offered is None and not self.beats


class StreamRun(abc.ABC):
    """Beats streamed through a cycle model.

    Parameters
    ----------
    model : object
        Cycle model; its attribute of an output stream's name is the beat on offer.
    beats : mapping of str to sequence
        By source, what it streams.
    wanted : mapping of str to int
        By sink, beats that it is to take.
    sinks : sequence of str
        Output streams.
    stall : float
        Probability that a source pauses, and that a sink does not take a beat, in a cycle.
    lazy : bool
        Sinks are ready only after they have seen ``valid``.
    seed : int
        Of the stalls.
    held : str, optional
        A sink that takes nothing in the first ``HELD`` cycles, so that what is before it fills.

    Attributes
    ----------
    taken : dict of list
        By sink, ``(cycle, beat)`` of all beats taken.
    accepted : dict of list of int
        By source, cycles in which beats were accepted.
    ready : dict of bool
        By sink, whether it takes a beat in this cycle.
    """

    HELD = 400

    def __init__(
        self,
        model: Any,
        beats: Mapping[str, Sequence[Any]],
        wanted: Mapping[str, int],
        sinks: Sequence[str],
        *,
        stall: float = 0.0,
        lazy: bool = False,
        seed: int = 0,
        held: str | None = None,
    ) -> None:
        self.model = model
        self.wanted = dict(wanted)
        self.stall, self.lazy, self.held = stall, lazy, held
        self.rng = np.random.default_rng(seed)
        self.sources = {name: Source(each, stall, self.rng) for name, each in beats.items()}
        self.taken: dict[str, list[tuple[int, Any]]] = {name: [] for name in sinks}
        self.accepted: dict[str, list[int]] = {name: [] for name in beats}
        self._draw()

    @abc.abstractmethod
    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""

    @abc.abstractmethod
    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""

    def _draw(self) -> None:
        self.ready = {
            name: not _chance(self.stall, self.rng)
            and (not self.lazy or getattr(self.model, name) is not None)
            and (name != self.held or self.model.cycle >= self.HELD)
            for name in self.taken
        }

    @property
    def offered(self) -> dict[str, Any]:
        """What each source offers in this cycle."""
        return {name: source.offered for name, source in self.sources.items()}

    @property
    def done(self) -> bool:
        """Whether all went in and all came out."""
        return all(source.done for source in self.sources.values()) and all(
            len(self.taken[name]) >= count for name, count in self.wanted.items()
        )

    def clock(self) -> None:
        """Pass a clock edge."""
        offered = self.offered
        ready = self.source_ready(offered)
        now = self.model.cycle
        for name, beat in offered.items():
            if beat is not None and ready[name]:
                self.accepted[name].append(now)
        for name, beats in self.taken.items():
            beat = getattr(self.model, name)
            if beat is not None and self.ready[name]:
                beats.append((now, beat))
        self.step(offered, self.ready)
        for name, source in self.sources.items():
            source.clock(ready[name])
        self._draw()
