"""Sizes and payloads of module B."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from dtqatten.configuration.core import Config
from dtqatten.hw.payloads.topk import TopKConfig

__all__ = [
    "IMPORTANCE_BITS",
    "beat_layout",
    "held_layout",
    "importance_layout",
    "layer_layout",
    "ranking_run_layout",
    "topk_config",
]

#: Bits of an importance.
IMPORTANCE_BITS = 32


def topk_config(config: Config) -> TopKConfig:
    """Sizes of the configuration's top-k engine; protection is a score's highest bit."""
    return TopKConfig(
        config.topk_lanes,
        config.n_max,
        score_width=IMPORTANCE_BITS + config.held_importance,
        slow_logic=config.timing.grouped_search,
        engine=config.topk_engine,
    )


def layer_layout(config: Config) -> data.StructLayout:
    """A layer: its ``heads``, ``k0`` tokens to keep, ``k1`` of them in 8 bits.

    ``report``: its importance is wanted. With ``config.cumulative``, ``cumulative``: the previous
    layer's importance is added, gathered by that layer's ids (nothing, if ``fresh``), and the sum
    is carried to the next layer. With ``config.count_normalize``, ``count``: before that,
    importance is divided by the number of queries that saw the token. With
    ``config.held_importance``, ``held``: what its keys have from before is added, in place of what
    a cumulative layer carries.
    """
    tokens = range(topk_config(config).capacity + 1)
    fields = {"heads": range(config.heads + 1), "k0": tokens, "k1": tokens, "report": unsigned(1)}
    if config.cumulative:
        fields |= {"cumulative": unsigned(1), "fresh": unsigned(1)}
    if config.count_normalize:
        fields["count"] = unsigned(1)
    if config.held_importance:
        fields["held"] = unsigned(1)
    return data.StructLayout(fields)


def held_layout() -> data.StructLayout:
    """What a key has from before: its ``importance``, and whether it is ``protected``."""
    return data.StructLayout({"importance": unsigned(IMPORTANCE_BITS), "protected": unsigned(1)})


def beat_layout(lanes: int, bits: int = IMPORTANCE_BITS) -> data.StructLayout:
    """Beat of importances: ``tokens`` of ``lanes``, the rest 0.

    As the top-k engine takes them, in ``bits``: the highest one is their protection, if there is
    one more than an importance has.
    """
    return data.StructLayout(
        {
            "scores": data.ArrayLayout(unsigned(bits), lanes),
            "tokens": range(lanes + 1),
            "last": unsigned(1),
        }
    )


def ranking_run_layout(config: Config) -> data.StructLayout:
    """A run of the score accumulator, one a layer: its number of ``heads``."""
    return data.StructLayout({"heads": range(config.heads + 1)})


def importance_layout(config: Config) -> data.StructLayout:
    """Beat of ``importance_lanes`` importances, in the order of the keys.

    ``last`` ends the run; that beat holds ``tokens`` keys, in the lowest lanes. Other beats are
    full. ``seen``, where queries are counted: how many of them saw the key.
    """
    lanes = config.importance_lanes
    fields = {"scores": data.ArrayLayout(unsigned(IMPORTANCE_BITS), lanes)}
    if config.count_normalize:
        fields["seen"] = data.ArrayLayout(range(config.n_max + 1), lanes)
    return data.StructLayout(fields | {"tokens": range(lanes + 1), "last": unsigned(1)})
