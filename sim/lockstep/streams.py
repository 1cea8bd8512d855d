"""Run a block with streams beside its cycle model and compare them on every clock edge."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Shape

from dtqatten.golden.cycles.tiles import Row
from dtqatten.sim.lockstep.ports import pack_payload, pack_row
from dtqatten.sim.lockstep.score_array import MismatchError, Source, compare, noise

__all__ = ["StreamLockstep"]


class StreamLockstep(abc.ABC):
    """Beats streamed through a cycle model, and what a device must show meanwhile.

    A :class:`~dtqatten.sim.lockstep.score_array.Bench`. Payloads without ``valid`` are noise.

    Parameters
    ----------
    model : object
        Cycle model; its attribute of an output stream's name is the beat on offer.
    sources, sinks : mapping of str to layout
        Payloads of the input and output streams.
    beats : mapping of str to sequence
        What each source streams.
    wanted : mapping of str to int
        Beats that each sink is to take.
    work : int
        Cycles that the work takes when nothing stalls, about; sets the deadline.
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
    compared : int
        Cycles compared.
    """

    HELD = 400

    def __init__(
        self,
        model: Any,
        sources: Mapping[str, Any],
        sinks: Mapping[str, Any],
        beats: Mapping[str, Sequence[Any]],
        wanted: Mapping[str, int],
        *,
        work: int,
        stall: float = 0.0,
        lazy: bool = False,
        seed: int = 0,
        held: str | None = None,
    ) -> None:
        self.model = model
        self.layouts = {**sources, **sinks}
        self.wanted = dict(wanted)
        self.stall, self.lazy, self.held = stall, lazy, held
        self.rng = np.random.default_rng(seed)
        self._noise = np.random.default_rng([seed, 1])  # its own: it does not move the stalls
        self.sources = {name: Source(beats[name], stall, self.rng) for name in sources}
        self.taken: dict[str, list[tuple[int, Any]]] = {name: [] for name in sinks}
        self.accepted: dict[str, list[int]] = {name: [] for name in sources}
        self.compared = 0
        # Nothing takes longer than this; a deadlock ends the run instead of hanging it.
        self.deadline = int(4 * work / (1 - stall) ** 2) + 2000 + self.HELD
        self._draw()

    @abc.abstractmethod
    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""

    @abc.abstractmethod
    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""

    def pack(self, name: str, beat: Any) -> int:
        """Pack a beat of a stream as its payload."""
        layout = self.layouts[name]
        to_bits = pack_row if isinstance(beat, Row) else pack_payload
        return to_bits(layout, beat, name)

    def _draw(self) -> None:
        self.ready = {
            name: bool(self.rng.random() >= self.stall)
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

    def inputs(self) -> dict[str, int]:
        """Return the values of the input ports in this cycle."""
        ports = {f"{name}__ready": int(ready) for name, ready in self.ready.items()}
        for name, beat in self.offered.items():
            ports[f"{name}__valid"] = int(beat is not None)
            width = Shape.cast(self.layouts[name]).width
            ports[f"{name}__payload"] = (
                noise(self._noise, width) if beat is None else self.pack(name, beat)
            )
        return ports

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle, payloads while valid."""
        ports = {
            f"{name}__ready": int(ready) for name, ready in self.source_ready(self.offered).items()
        }
        for name in self.taken:
            beat = getattr(self.model, name)
            ports[f"{name}__valid"] = int(beat is not None)
            if beat is not None:
                ports[f"{name}__payload"] = self.pack(name, beat)
        return ports

    def check(self, ports: Mapping[str, int]) -> None:
        """Compare the output ports of the device in this cycle.

        Raises
        ------
        MismatchError
            If a port differs, or the deadline has passed.
        """
        compare(self.compared, ports, self.expected())
        self.compared += 1
        if self.compared > self.deadline:
            got = {name: len(beats) for name, beats in self.taken.items()}
            raise MismatchError(f"deadline: {got} of {self.wanted} after {self.compared} cycles")

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
