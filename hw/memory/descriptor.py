"""Layouts of descriptors, and which of their flags a build serves."""

from amaranth.hdl import Signal, Value, unsigned
from amaranth.lib import data

from dtqatten.configuration.core import Config
from dtqatten.interface.descriptor import ADDRESS_ALIGNMENT, FIELDS, OPTION_FLAGS, SIZE, Flag

__all__ = [
    "ALIGNMENT_BITS",
    "chain_layout",
    "descriptor_layout",
    "flag",
    "is_segment",
    "known_flags",
    "required_flags",
]

#: Address bits that are 0 by alignment.
ALIGNMENT_BITS = ADDRESS_ALIGNMENT.bit_length() - 1


def descriptor_layout() -> data.FlexibleLayout:
    """Return a descriptor's fields over its bytes, little endian."""
    return data.FlexibleLayout(
        8 * SIZE, {f.name: data.Field(unsigned(f.bits), 8 * f.offset) for f in FIELDS}
    )


def chain_layout(config: Config) -> data.StructLayout:
    """What a layer leaves to the next one: ``tokens`` slots, of which ``k0`` are kept.

    ``valid``: there is a layer before; ``cumulative``: its importance is carried on. Where rows can
    be merged: whether it is a ``segment``, and ``holds`` rows, and what the next one has to have in
    common with it. Where heads can be pruned: its ``heads`` in memory, and ``keep_heads``.
    """
    count = range(config.n_max + 1)
    merged = {
        "segment": unsigned(1),
        "holds": unsigned(1),
        "heads": unsigned(16),
        "kv_heads": unsigned(16),
        "queries": unsigned(16),
    }
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "tokens": count,
            "k0": count,
            "k1": count,
            "cumulative": unsigned(1),
        }
        | (merged if config.merge_rows else {})
        | ({"grouped": unsigned(1)} if config.merge_rows and config.grouped else {})
        | (dict.fromkeys(("heads", "keep_heads"), unsigned(16)) if config.head_pruning else {})
    )


def known_flags(config: Config) -> Flag:
    """Return the flags that a build can serve."""
    flags = ~Flag(0)
    for option, needing in OPTION_FLAGS.items():
        if not getattr(config, option):
            flags &= ~needing
    return flags


def is_segment(layer: data.View) -> Value:
    """Return whether a descriptor has some of its rows' keys only."""
    return flag(layer, Flag.CONTINUES) | flag(layer, Flag.HOLDS)


def flag(layer: data.View, which: Flag) -> Signal:
    """Return one flag of a descriptor."""
    return layer.flags[which.bit_length() - 1]


def required_flags(config: Config) -> Flag:
    """Return the flags that every layer of a build must have.

    Where values have gains, rows are divided otherwise: no gain stands for having none. Codes of
    weights, and bytes of gains, are those of the build.
    """
    flags = Flag(0)
    if config.v_gains:
        flags |= Flag.V_GAINS
    if config.unsigned_weights:
        flags |= Flag.UNSIGNED_WEIGHTS
    if config.block_exponents:
        flags |= Flag.BLOCK_EXPONENTS
    if config.signed_gains:
        flags |= Flag.SIGNED_GAINS
    return flags
