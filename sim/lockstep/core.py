"""Run the attention core beside its cycle model, and check its results against the golden block."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.core import CoreInputs, CoreModel
from dtqatten.golden.cycles.core_streams import core_beats, sinks, sources
from dtqatten.golden.cycles.core_values import fetched_groups
from dtqatten.golden.cycles.layers import CoreLayer, output_parts
from dtqatten.hw.core import AttentionCore, activity_layout, core_layouts
from dtqatten.interface.units import Unit
from dtqatten.sim.engines.ports import Packer
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.streams import StreamLockstep
from dtqatten.sim.lockstep.token_ranking import flat_ids, shown_importance
from dtqatten.sim.lockstep.topk import shown_ids

__all__ = ["CoreLockstep", "build_core"]


@functools.cache
def build_core(config: Config) -> VerilatedModel:
    """Return the core of a configuration, compiled and reset."""
    return VerilatedModel(AttentionCore(config), "core")


class CoreLockstep(StreamLockstep):
    """Layers streamed through the core.

    Parameters
    ----------
    config : Config
    layers : sequence of CoreLayer
    stall, lazy, seed
        As of :class:`~dtqatten.sim.lockstep.streams.StreamLockstep`.

    Attributes
    ----------
    shown : list of int
        The device's port ``activity`` in each cycle.
    """

    def __init__(self, config: Config, layers: Sequence[CoreLayer], **stalls: Any) -> None:
        self.config, self.core_layers = config, list(layers)
        self.shown: list[int] = []
        layouts = core_layouts(config)
        beats = core_beats(config, layers)
        outputs = sum(len(list(output_parts(config, layer))) for layer in layers)
        work = sum(map(len, beats.values())) + 4 * outputs
        passes = config.channel_passes
        for layer in layers:
            for head in layer.heads(config):
                keys = head.span.stop - head.span.start
                blocks = -(-len(head.rows) // config.rows)
                tiles = -(-keys // config.cols)
                steps = max(config.rows, 4 * config.steps) * tiles
                groups = max(config.rows, 2 * config.planes * tiles * config.parts) * passes
                work += blocks * ((1 + config.progressive) * steps + groups) + 200
            work += 20 * len(layer.k_ids) + 300
        self._pack_activity = Packer(activity_layout(), "activity")
        super().__init__(
            CoreModel(config),
            {name: layouts[name] for name in sources(config)},
            {name: layouts[name] for name in sinks(config)},
            beats,
            {"outputs": outputs},
            work=work,
            **stalls,
        )

    @property
    def done(self) -> bool:
        """Whether all went in and all came out."""
        ended = sum(beat.last for _, beat in self.taken["ids"])
        return super().done and ended == sum(not layer.cuts for layer in self.core_layers)

    def pack(self, name: str, beat: Any) -> int:
        """Pack a beat of a stream as its payload."""
        if name == "ids":
            beat = shown_ids(beat, self.config.topk_lanes)
        elif name == "report":
            beat = shown_importance(beat, self.config.topk_lanes)
        elif name in ("q", "k", "v"):
            beat = {**vars(beat), "precision": beat.wide}
        return super().pack(name, beat)

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        return self.model.ready(CoreInputs(**offered))

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle, payloads while valid."""
        inputs = CoreInputs(**self.offered)
        busy, stalled = self.model.working(inputs), self.model.stalled(inputs, dict(self.ready))
        fields = {"busy": busy, "stalled": stalled, "searching": busy["search"]}
        return super().expected() | {"activity": self._pack_activity(fields)}

    def check(self, ports: Mapping[str, int]) -> None:
        """Compare the output ports of the device in this cycle.

        Raises
        ------
        MismatchError
            If a port differs, or the deadline has passed.
        """
        super().check(ports)
        self.shown.append(ports["activity"])

    @property
    def activity(self) -> dict[str, NDArray[np.bool_]]:
        """By unit, and for the search, whether the device showed it busy in each cycle so far."""
        words, layout = np.array(self.shown, dtype=np.int64), activity_layout()
        bits = {unit.value: layout["busy"].shape[unit].offset for unit in Unit}
        bits["search"] = layout["searching"].offset
        return {unit: (words >> at & 1).astype(bool) for unit, at in bits.items()}

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(CoreInputs(**offered), dict(ready))

    def verify(self) -> None:
        """Compare all that has been taken with the golden block.

        Raises
        ------
        AssertionError
            If an output, an id or an importance differs.
        """
        beats = iter(beat for _, beat in self.taken["outputs"])
        ids = iter(flat_ids([beat for _, beat in self.taken["ids"]]))
        report = iter(beat for _, beat in self.taken["report"])
        verdicts = iter(beat for _, beat in self.taken.get("verdicts", ()))
        choices = iter(beat for _, beat in self.taken.get("choices", ()))
        for number, layer in enumerate(self.core_layers):
            golden = layer.golden
            got = np.zeros_like(golden.output, dtype=np.int64)
            for head, row, start, end in output_parts(self.config, layer):
                beat = next(beats)
                assert beat.channels == end - start
                got[head, row, start:end] = beat.values[: beat.channels]
            assert (got == golden.output).all(), f"outputs of layer {number} differ"
            if golden.trial is not None:
                for computed in layer.heads(self.config):
                    verdict = next(verdicts)
                    flat = sum(golden.trial.flat[place] for place in computed.rows)
                    assert (verdict.rows, verdict.flat) == (flat, flat > 0), f"layer {number}"
            if layer.chosen_values:
                for computed in layer.heads(self.config):
                    kept = np.flatnonzero(fetched_groups(self.config, layer, computed.rows))
                    for group in kept.tolist():
                        told, parts = next(choices), self.config.parts
                        assert divmod(group, parts) == (told.tile, told.part), f"layer {number}"
                        assert told.last == (group == kept[-1]), f"layer {number}"
            if layer.cuts:
                continue
            chosen = layer.chosen
            expected = list(zip(chosen.ids.tolist(), (chosen.bits == 8).tolist(), strict=True))
            assert next(ids) == expected, f"ids of layer {number} differ"
            if layer.report:
                importance: list[int] = []
                while len(importance) < len(golden.importance):
                    beat = next(report)
                    importance += beat.values[: beat.tokens].tolist()
                assert importance == golden.importance.tolist(), f"importance of layer {number}"
