"""Payloads of what row blocks choose: groups of keys, and how much they weigh."""

from amaranth.hdl import ShapeLike, unsigned
from amaranth.lib import data, stream

from dtqatten.configuration.core import SHARE_BITS, Config
from dtqatten.hw.payloads.arrays import group_layout, weight_block_layout
from dtqatten.hw.payloads.sums import top_code, weight_fraction

__all__ = [
    "choice_fields",
    "choice_layout",
    "choice_stream",
    "level_max",
    "levels_layout",
    "visited_tile_layout",
    "walked_group_layout",
]


def choice_fields(config: Config) -> dict[str, ShapeLike]:
    """Field that says which ``share`` of its groups a head chooses, where V comes after that."""
    return {"share": unsigned(SHARE_BITS)} if config.chosen_values else {}


def level_max(config: Config) -> int:
    """Return the largest level of a group's weights over a row block."""
    keys = config.rows * min(config.group, config.cols)
    return 2 * (keys * top_code(config) << weight_fraction(config)).bit_length() + 1


def levels_layout(config: Config) -> data.ArrayLayout:
    """How much each group of a tile weighs in a row block, as a level."""
    return data.ArrayLayout(range(level_max(config) + 1), config.parts)


def visited_tile_layout(config: Config) -> data.StructLayout:
    """The weights of a row block's ``tile`` are here; with the last ones comes its ``block``.

    With ``chosen_values`` also its ``keys``, and the ``share`` of weight rows.
    """
    chosen = {"keys": range(config.cols + 1), "share": unsigned(SHARE_BITS)}
    return data.StructLayout(
        {"tile": range(config.key_tiles), "last": unsigned(1), "block": weight_block_layout(config)}
        | (chosen if config.chosen_values else {})
    )


def walked_group_layout(config: Config) -> data.StructLayout:
    """A group of a tile that a row block visits; ``last``: its last one.

    ``wide``: it has an 8-bit token; ``follows``: its head's weights follow their tokens; ``block``:
    its row block. With ``local_values`` its ``level``, and its head's ``share``; with
    ``chosen_values``: whether V comes after the choice, of ``chosen`` groups.
    """
    chosen: dict[str, ShapeLike] = {
        "level": range(level_max(config) + 1),
        "share": unsigned(SHARE_BITS),
    }
    chosen |= {"chosen": unsigned(1)} if config.chosen_values else {}
    return data.StructLayout(
        {
            "group": group_layout(config),
            "wide": unsigned(1),
            "last": unsigned(1),
            "follows": unsigned(1),
            "block": weight_block_layout(config),
        }
        | (chosen if config.local_values else {})
    )


def choice_layout(config: Config) -> data.StructLayout:
    """A ``group`` whose V a row block has chosen; the ``last`` one of its head."""
    return data.StructLayout({"group": group_layout(config.of_values), "last": unsigned(1)})


def choice_stream(config: Config) -> stream.Signature:
    """Chosen groups, ascending in each head, in the order of the heads."""
    return stream.Signature(choice_layout(config))
