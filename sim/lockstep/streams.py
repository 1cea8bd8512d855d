"""Run a block with streams beside its cycle model and compare them on every clock edge."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from amaranth.hdl import Shape

from dtqatten.golden.cycles.streams import StreamRun
from dtqatten.golden.cycles.tiles import Row
from dtqatten.sim.engines.bench import MismatchError, compare, noise
from dtqatten.sim.engines.ports import Packer, row_fields

__all__ = ["StreamLockstep"]


class StreamLockstep(StreamRun):
    """Beats streamed through a cycle model, and what a device must show meanwhile.

    A :class:`~dtqatten.sim.engines.bench.Bench`. Payloads without ``valid`` are noise.

    Parameters
    ----------
    model : object
        As of :class:`~dtqatten.golden.cycles.streams.StreamRun`.
    sources, sinks : mapping of str to layout
        Payloads of the input and output streams.
    beats : mapping of str to sequence
        What each source streams.
    wanted : mapping of str to int
        Beats that each sink is to take.
    work : int
        Cycles that the work takes when nothing stalls, about; sets the deadline.
    stall, lazy, seed, held
        As of :class:`~dtqatten.golden.cycles.streams.StreamRun`.

    Attributes
    ----------
    compared : int
        Cycles compared.
    """

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
        seed: int = 0,
        **options: Any,
    ) -> None:
        self.layouts = {**sources, **sinks}
        self._packers = {name: Packer(layout, name) for name, layout in self.layouts.items()}
        self._widths = {name: Shape.cast(self.layouts[name]).width for name in sources}
        self._noise = np.random.default_rng([seed, 1])  # its own: it does not move the stalls
        self.compared = 0
        # Nothing takes longer than this; a deadlock ends the run instead of hanging it.
        self.deadline = int(4 * work / (1 - stall) ** 2) + 2000 + self.HELD
        ordered = {name: beats[name] for name in sources}
        super().__init__(model, ordered, wanted, list(sinks), stall=stall, seed=seed, **options)

    def pack(self, name: str, beat: Any) -> int:
        """Pack a beat of a stream as its payload."""
        if isinstance(beat, Row):
            beat = row_fields(self.layouts[name], beat)
        return self._packers[name](beat)

    def inputs(self) -> dict[str, int]:
        """Return the values of the input ports in this cycle."""
        ports = {f"{name}__ready": int(ready) for name, ready in self.ready.items()}
        for name, beat in self.offered.items():
            ports[f"{name}__valid"] = int(beat is not None)
            ports[f"{name}__payload"] = (
                noise(self._noise, self._widths[name]) if beat is None else self.pack(name, beat)
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
