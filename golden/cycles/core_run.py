"""Runs of the core's cycle model on layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.core import CoreInputs, CoreModel
from dtqatten.golden.cycles.core_streams import core_beats, sinks
from dtqatten.golden.cycles.layers import CoreLayer, output_parts
from dtqatten.golden.cycles.streams import StreamRun

__all__ = ["CoreRun"]


class CoreRun(StreamRun):
    """Layers streamed through the core's cycle model, operands a beat a cycle.

    Parameters
    ----------
    config : Config
    layers : sequence of CoreLayer
    """

    def __init__(self, config: Config, layers: Sequence[CoreLayer]) -> None:
        outputs = sum(len(list(output_parts(config, layer))) for layer in layers)
        super().__init__(
            CoreModel(config),
            core_beats(config, layers),
            {"outputs": outputs},
            sinks(config),
        )

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        return self.model.ready(CoreInputs(**offered))

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(CoreInputs(**offered), dict(ready))
