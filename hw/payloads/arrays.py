"""Payloads and control words of the arrays."""

from amaranth.hdl import Shape, ShapeLike, signed, unsigned
from amaranth.lib import data, enum

from dtqatten.configuration.core import BANKS, SHARE_BITS, Config, Schedule
from dtqatten.hw.payloads.sums import EXPONENT_BITS

__all__ = [
    "Plane",
    "Precision",
    "control_layout",
    "drain_layout",
    "exponent_fields",
    "feed_layout",
    "group_layout",
    "head_options_layout",
    "listed_block_layout",
    "listed_tile_layout",
    "load_layout",
    "location_layout",
    "operand_layout",
    "score_row_layout",
    "step_layout",
    "tile_fields",
    "tile_layout",
    "value_feed_layout",
    "value_head_layout",
    "value_layout",
    "value_step_layout",
    "weight_block_layout",
    "weight_feed_layout",
    "weight_operand_layout",
    "weight_shape",
]


class Precision(enum.Enum, shape=1):  # type: ignore[call-arg]
    """Precision of a token; pruned tokens are never loaded."""

    BIT4 = 0
    BIT8 = 1


class Plane(enum.Enum, shape=1):  # type: ignore[call-arg]
    """Nibble plane of a code ``16*h + l``."""

    HIGH = 0
    LOW = 1


def operand_layout(config: Config, *, signed: bool = True) -> data.ArrayLayout:
    """Operand of a PE: ``depth`` nibbles of one token and plane, lowest channel first."""
    return data.ArrayLayout(Shape(4, signed=signed), config.depth)


def weight_operand_layout(config: Config) -> data.ArrayLayout:
    """Operand of a PE of P x V: ``depth`` nibbles of a plane of weights, lowest token first."""
    return operand_layout(config, signed=not config.unsigned_weights)


def weight_shape(config: Config) -> Shape:
    """A weight of P x V, 0 to :func:`~dtqatten.hw.payloads.sums.top_code`."""
    return Shape(4 * config.planes, signed=not config.unsigned_weights)


def exponent_fields(config: Config) -> dict[str, ShapeLike]:
    """``exponent`` of a tile's weights, which count ``2**-exponent``, where tiles have one."""
    return {"exponent": unsigned(EXPONENT_BITS)} if config.block_exponents else {}


def load_layout(config: Config) -> data.StructLayout:
    """Beat of a load stream: ``load_nibbles`` consecutive channels of one token and plane.

    Tokens come in order. Each sends its high plane in ``words`` beats, then, with
    ``Precision.BIT8``, its low plane in ``words`` beats. ``precision`` is the token's, constant
    over its beats; ``last`` marks the last beat of the head's last token and is ignored elsewhere.
    """
    return data.StructLayout(
        {
            "nibbles": data.ArrayLayout(signed(4), config.load_nibbles),
            "precision": Precision,
            "last": unsigned(1),
        }
    )


def tile_layout(config: Config, lanes: int) -> data.StructLayout:
    """Description of one edge of a tile: ``tokens`` of ``lanes`` lanes are filled.

    ``wide``: some token is 8-bit; ``mixed``: some are and some are not; ``last``: the head's last.
    """
    return data.StructLayout(
        {"tokens": range(lanes + 1), "wide": unsigned(1), "mixed": unsigned(1), "last": unsigned(1)}
    )


def location_layout(tiles: int) -> data.StructLayout:
    """Where an edge keeps a tile: in a ``bank`` of ``tiles``."""
    return data.StructLayout({"bank": range(BANKS), "tile": range(tiles)})


def feed_layout(config: Config, tiles: int) -> data.StructLayout:
    """Read of one operand per lane of an edge; ``release`` frees the bank behind the read."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "location": location_layout(tiles),
            "plane": Plane,
            "word": range(config.words),
            "part": range(config.load_nibbles // config.depth),
            "release": unsigned(1),
        }
    )


def value_layout(config: Config) -> data.StructLayout:
    """Beat of the value stream: ``value_nibbles`` consecutive channels of one token and plane.

    Tokens, planes, ``precision`` and ``last`` are as in :func:`load_layout`. ``follows``, sampled
    with the head's last beat: weights of 4-bit tokens are narrow, so that groups without 8-bit
    tokens skip their other planes. ``share``, with ``local_values``, sampled likewise: of a row
    block's groups with a weight so many in 256 are multiplied; 0: all. ``chosen``, with
    ``chosen_values``, in all beats of a head: tokens are those of the groups that its row block has
    chosen, and ``share`` does not matter.
    """
    share = {"share": unsigned(SHARE_BITS)} if config.local_values else {}
    share |= {"chosen": unsigned(1)} if config.chosen_values else {}
    return data.StructLayout(
        {
            "nibbles": data.ArrayLayout(signed(4), config.value_nibbles),
            "precision": Precision,
            "follows": unsigned(1),
            "last": unsigned(1),
        }
        | share
    )


def weight_feed_layout(config: Config) -> data.StructLayout:
    """Read of one operand per row: ``depth`` tokens of a plane of the weights."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "bank": range(config.weight_banks),
            "tile": range(config.key_tiles),
            "part": range(config.parts),
            "plane": range(config.planes),
            "release": unsigned(1),
        }
    )


def value_feed_layout(config: Config) -> data.StructLayout:
    """Read of one operand per column: one channel's plane, of ``depth`` tokens."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "bank": range(BANKS),
            "channel_pass": range(config.channel_passes),
            "tile": range(config.key_tiles),
            "part": range(config.parts),
            "plane": Plane,
            "release": unsigned(1),
        }
    )


def value_step_layout(config: Config) -> data.StructLayout:
    """One cycle of a tile of weighted sums; ``drain.valid`` on the tile's last step."""
    return data.StructLayout(
        {
            "weight": weight_feed_layout(config),
            "value": value_feed_layout(config),
            "control": control_layout(config),
            "drain": drain_layout(config),
        }
    )


def weight_block_layout(config: Config) -> data.StructLayout:
    """A row block of weights: its ``rows``, and whether it is the head's ``last``.

    ``narrow``: all its weights keep their highest nibble only.
    """
    return data.StructLayout(
        {"rows": range(config.rows + 1), "last": unsigned(1), "narrow": unsigned(1)}
    )


def tile_fields(config: Config) -> dict[str, ShapeLike]:
    """``tile``, the place of a row's keys among the tiles of its head, where tiles are skipped."""
    return {"tile": range(config.key_tiles)} if config.skip_tiles else {}


def listed_tile_layout(config: Config) -> data.StructLayout:
    """A tile of keys that a row block sees, the row block's ``last`` one or not."""
    return data.StructLayout({"tile": range(config.key_tiles), "last": unsigned(1)})


def listed_block_layout(config: Config) -> data.StructLayout:
    """A row block whose groups are listed: as a block of weights, and as its head's values.

    Groups are those of the tiles that the row block visits.
    """
    fields = (*weight_block_layout(config), *value_head_layout(config))
    return data.StructLayout({str(name): field.shape for name, field in fields})


def head_options_layout(config: Config) -> data.StructLayout:
    """What a head's last value beat says of it: fields of the value stream."""
    names = ("follows", "share", "chosen")
    return data.StructLayout(
        {name: field.shape for name, field in value_layout(config) if name in names}
    )


def value_head_layout(config: Config) -> data.StructLayout:
    """Description of a head's values: its groups, and those of them that are wide.

    ``single``: there is one group; else ``before_last`` is the number of the last but one.
    ``some_wide``: there are wide groups; ``single_wide``, ``before_last_wide``: the same of these.
    ``follows`` is as in :func:`value_layout`. ``wait``: cycles that a tile which is shorter than
    the ``drain_interval`` has to wait after the previous one; ``narrow_wait``: that of a narrow row
    block's tile.
    """
    groups = config.key_tiles * config.parts
    return data.StructLayout(
        {
            "single": unsigned(1),
            "before_last": range(groups),
            "some_wide": unsigned(1),
            "single_wide": unsigned(1),
            "before_last_wide": range(groups),
            "follows": unsigned(1),
            "wait": range(config.drain_interval),
            "narrow_wait": range(config.drain_interval),
        }
    )


def group_layout(config: Config) -> data.StructLayout:
    """A group: the ``depth`` tokens, all of one tile, that a PE multiplies in a cycle."""
    return data.StructLayout({"tile": range(config.key_tiles), "part": range(config.parts)})


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
    """A tile's results: ``rows`` by ``keys`` scores, to be multiplied by ``16**lift``.

    ``tile``, of scores where tiles are skipped: which one of the head's keys.
    """
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "rows": range(config.rows + 1),
            "keys": range(config.cols + 1),
            "lift": range(config.planes + 1),
            "last_tile": unsigned(1),
            "last_block": unsigned(1),
        }
        | tile_fields(config)
    )


def step_layout(config: Config) -> data.StructLayout:
    """One cycle of a tile, as the sequencer issues it; ``drain.valid`` on the tile's last step."""
    return data.StructLayout(
        {
            **{side: feed_layout(config, tiles) for side, tiles in config.bank_tiles.items()},
            "control": control_layout(config),
            "drain": drain_layout(config),
        }
    )


def score_row_layout(config: Config, width: int | None = None) -> data.StructLayout:
    """One query's scores, of ``width`` bits, against one tile of keys; past ``keys`` they are zero.

    ``width`` is that of weighted sums, ``score_width`` unless given.

    ``last_row``: last row of the tile; ``last_tile``: last tile of the row block; ``last_block``:
    last row block of the head. A head ends where all three are set. ``tile``, of scores where tiles
    are skipped: which one of the head's keys.
    """
    return data.StructLayout(
        {
            "scores": data.ArrayLayout(signed(width or config.score_width), config.cols),
            "keys": range(config.cols + 1),
            "last_row": unsigned(1),
            "last_tile": unsigned(1),
            "last_block": unsigned(1),
        }
        | ({} if width else tile_fields(config))
    )
