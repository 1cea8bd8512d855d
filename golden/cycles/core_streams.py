"""Streams of a core, and what each of them has of layers."""

from collections.abc import Sequence

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.layers import SOURCES, CoreLayer

__all__ = ["core_beats", "sinks", "sources"]


def core_beats(config: Config, layers: Sequence[CoreLayer]) -> dict[str, list]:
    """Return what each source streams for layers one after the other."""
    per_layer = [layer.beats(config) for layer in layers]
    return {name: [b for one in per_layer for b in one[name]] for name in sources(config)}


def sources(config: Config) -> tuple[str, ...]:
    """Input streams of a configuration's core."""
    held = ("held",) if config.held_importance else ()
    return (*SOURCES, *held, *(("biases",) if config.bias_heads else ()))


def sinks(config: Config) -> tuple[str, ...]:
    """Output streams of a configuration's core."""
    optional = {"verdicts": config.progressive, "choices": config.chosen_values}
    return ("outputs", "ids", "report", *(name for name, on in optional.items() if on))
