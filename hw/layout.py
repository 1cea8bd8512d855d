"""Payloads and control words that blocks share, so that equal widths mean equal things."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data, enum

from dtqatten.config import Config, Schedule

__all__ = [
    "Plane",
    "Precision",
    "control_layout",
    "drain_layout",
    "feed_layout",
    "load_layout",
    "operand_layout",
    "score_row_layout",
    "step_layout",
    "tile_layout",
]


class Precision(enum.Enum, shape=1):  # type: ignore[call-arg]
    """Precision of a token; pruned tokens are never loaded."""

    BIT4 = 0
    BIT8 = 1


class Plane(enum.Enum, shape=1):  # type: ignore[call-arg]
    """Nibble plane of a code ``16*h + l``."""

    HIGH = 0
    LOW = 1


def operand_layout(config: Config) -> data.ArrayLayout:
    """Operand of a PE: ``depth`` nibbles of one token and plane, lowest channel first."""
    return data.ArrayLayout(signed(4), config.depth)


def load_layout(config: Config) -> data.StructLayout:
    """Beat of a load stream: ``load_nibbles`` consecutive channels of one token and plane.

    Tokens come in order; of each token the high plane, ``words`` beats, then for
    ``Precision.BIT8`` the low plane, ``words`` beats. ``precision`` is the token's, constant over
    its beats; ``last`` marks the last beat of the head's last token and is ignored elsewhere.
    """
    return data.StructLayout(
        {
            "nibbles": data.ArrayLayout(signed(4), config.load_nibbles),
            "precision": Precision,
            "last": unsigned(1),
        }
    )


def tile_layout(config: Config, lanes: int) -> data.StructLayout:
    """What the sequencer knows of one edge of a tile: ``tokens`` of ``lanes`` lanes are filled.

    ``wide``: some token is 8-bit; ``mixed``: some are and some are not; ``last``: the head's last.
    """
    return data.StructLayout(
        {"tokens": range(lanes + 1), "wide": unsigned(1), "mixed": unsigned(1), "last": unsigned(1)}
    )


def feed_layout(config: Config, slots: int) -> data.StructLayout:
    """Read of one operand per lane of an edge; ``release`` frees the slot behind the read."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "slot": range(slots),
            "plane": Plane,
            "word": range(config.words),
            "part": range(config.load_nibbles // config.depth),
            "release": unsigned(1),
        }
    )


def control_layout(config: Config) -> data.StructLayout:
    """Control of a PE, travelling with the query operand.

    ``first`` starts a dot product; ``last`` ends it. ``shift`` is, in the plane-major schedule, a
    multiplication of the accumulator by 16 before the product is added; in the interleaved
    schedule the count of high planes in the product, each worth a factor of 16.
    """
    shift_bits = 2 if config.schedule is Schedule.INTERLEAVED else 1
    return data.StructLayout(
        {"first": unsigned(1), "shift": unsigned(shift_bits), "last": unsigned(1)}
    )


def drain_layout(config: Config) -> data.StructLayout:
    """A tile's results: ``rows`` by ``keys`` scores, to be multiplied by ``16**lift``."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "rows": range(config.rows + 1),
            "keys": range(config.cols + 1),
            "lift": range(3),
            "last_tile": unsigned(1),
            "last_block": unsigned(1),
        }
    )


def step_layout(config: Config) -> data.StructLayout:
    """One cycle of a tile, as the sequencer issues it; ``drain.valid`` on the tile's last step."""
    return data.StructLayout(
        {
            "q": feed_layout(config, config.q_slots),
            "k": feed_layout(config, config.k_slots),
            "control": control_layout(config),
            "drain": drain_layout(config),
        }
    )


def score_row_layout(config: Config) -> data.StructLayout:
    """One query's scores against one tile of keys; those past ``keys`` are zero.

    ``last_row``: last row of the tile; ``last_tile``: last tile of the row block; ``last_block``:
    last row block of the head. A head ends where all three are set.
    """
    return data.StructLayout(
        {
            "scores": data.ArrayLayout(signed(config.score_width), config.cols),
            "keys": range(config.cols + 1),
            "last_row": unsigned(1),
            "last_tile": unsigned(1),
            "last_block": unsigned(1),
        }
    )
