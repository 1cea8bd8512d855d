"""Payloads and sizes of the softmax unit."""

from amaranth.hdl import Shape, ShapeLike, signed, unsigned
from amaranth.lib import data, stream

from dtqatten.configuration.core import Config
from dtqatten.hw.payloads.arrays import exponent_fields, tile_fields, weight_shape
from dtqatten.hw.payloads.choices import choice_fields
from dtqatten.hw.payloads.octaves import compared_bits
from dtqatten.hw.payloads.sums import (
    EXPONENTIAL_BITS,
    divisor_bits,
    row_divisor_bits,
    total_bits,
)

__all__ = [
    "GAINED_BITS",
    "GAIN_BITS",
    "GAIN_ONE",
    "LEAD_BITS",
    "MULTIPLIER_BITS",
    "NO_SINK",
    "RECIPROCAL_BITS",
    "SHIFT_BITS",
    "SINK_BITS",
    "exponential_row_layout",
    "factor_fields",
    "factor_layout",
    "flags_layout",
    "head_layout",
    "key_layout",
    "mask_layout",
    "masked_row_layout",
    "maximum_layout",
    "normalizer_layout",
    "output_layout",
    "position_layout",
    "probability_row_layout",
    "query_layout",
    "reciprocal_layout",
    "reduced_layout",
    "row_record_layout",
    "segment_fields",
    "stored_query_layout",
    "tiles",
    "token_layout",
    "value_stream",
    "value_token_layout",
    "verdict_layout",
    "verdict_stream",
    "weight_row_layout",
]

#: Bits of a gain in units of 1/256; ``GAIN_ONE`` changes nothing.
GAIN_BITS = 9
GAIN_ONE = 256
#: Bits of a head's multiplier and of its right shift.
MULTIPLIER_BITS = 16
SHIFT_BITS = 6
#: Bits of a reciprocal.
RECIPROCAL_BITS = 17
#: Bits of a sink, and the one that takes no share of any row.
SINK_BITS = 16
NO_SINK = -(1 << SINK_BITS - 1)
#: Bits of an exponential times a gain, and of the left shift of a row's weights.
GAINED_BITS = 24
LEAD_BITS = 4


def tiles(config: Config) -> int:
    """Key tiles of the longest row."""
    return -(-config.n_max // config.cols)


def token_layout(config: Config) -> data.StructLayout:
    """A token: ``id``, its position, by which masks compare; size and sign of its ``gain``."""
    sign = {"negative": unsigned(1)} if config.signed_gains else {}
    return data.StructLayout({"id": config.position_bits, "gain": GAIN_BITS, **sign})


def _fields(layout: data.StructLayout) -> dict[str, ShapeLike]:
    """Fields of a layout, to be those of another one too."""
    return {str(name): field.shape for name, field in layout}


def factor_layout(config: Config) -> data.StructLayout:
    """Factor of a query head from scores to exponents, and its sink, where there are sinks."""
    return data.StructLayout(factor_fields(config))


def factor_fields(config: Config) -> dict[str, ShapeLike]:
    """Fields of :func:`factor_layout`."""
    fields: dict[str, ShapeLike] = {"multiplier": MULTIPLIER_BITS, "shift": SHIFT_BITS}
    return fields | ({"sink": signed(SINK_BITS)} if config.sinks else {})


def query_layout(config: Config) -> data.StructLayout:
    """A query: a token, and ``narrow``: its weights keep only their highest nibble.

    Where query heads are ``grouped``, also the ``multiplier``, ``shift`` and ``sink`` of its head;
    where their keys have biases, also which ``member`` of the group that is. Where tiles are
    skipped, ``last`` marks the head's last query.
    """
    return data.StructLayout(
        _fields(token_layout(config))
        | {"narrow": unsigned(1)}
        | (factor_fields(config) if config.grouped else {})
        | ({"member": range(config.bias_heads)} if config.bias_heads > 1 else {})
        | ({"last": unsigned(1)} if config.skip_tiles else {})
    )


def stored_query_layout(config: Config) -> data.StructLayout:
    """A query as the softmax keeps it."""
    fields = _fields(query_layout(config))
    return data.StructLayout({n: shape for n, shape in fields.items() if n != "last"})


def key_layout(config: Config) -> data.StructLayout:
    """A key: as a query, and the gain of its value; ``last`` marks the head's last key.

    ``value_gain`` is ignored by a unit built without V gains.
    """
    return data.StructLayout(
        _fields(token_layout(config))
        | {"value_gain": unsigned(GAIN_BITS), "narrow": unsigned(1), "last": unsigned(1)}
    )


def value_token_layout() -> data.StructLayout:
    """What a weight needs of its value: ``gain`` in 1/256, and ``narrow``, as in a key."""
    return data.StructLayout({"gain": unsigned(GAIN_BITS), "narrow": unsigned(1)})


def value_stream() -> stream.Signature:
    """The values of a head, in their order."""
    return stream.Signature(data.StructLayout({"item": value_token_layout(), "last": unsigned(1)}))


def output_layout() -> data.StructLayout:
    """Output of a head: 16 bits, or balanced 8-bit ``codes`` of ``2**shift`` times the value."""
    return data.StructLayout({"codes": unsigned(1), "shift": range(8)})


def mask_layout(config: Config) -> data.StructLayout:
    """Mask of a head, and whether its row block comes twice: fields as of the head."""
    fields = _fields(head_layout(config))
    names = ("causal", "window", "progressive")
    return data.StructLayout({n: fields[n] for n in names if n in fields})


def position_layout(config: Config) -> data.StructLayout:
    """Position of a query or key, the head's ``last`` or not."""
    return data.StructLayout({"id": unsigned(config.position_bits), "last": unsigned(1)})


def head_layout(config: Config) -> data.StructLayout:
    """A head: its factor from scores to exponents, ``multiplier * 2**-shift``, mask and output.

    ``causal``: queries do not see keys behind them. ``window``, where there are windows: how many
    positions a query sees, its own one included; 0: all. ``sink``, where there are sinks: a logit
    in 1/256 octaves that joins each row, ``NO_SINK`` for none. Where query heads are ``grouped``,
    factor and sink come with the queries. ``biased``, where keys can have biases: they have.
    ``output`` passes through the softmax into the records,
    as do the :func:`segment_fields` where rows can be merged. ``progressive``, where there is that:
    the head is one row block, whose scores come in a trial first; a row is flat if its exponentials
    then sum to more than ``flat_sum``. With a ``share``, where V can come after a choice, the head
    is one row block, which chooses so many of its groups in 256.
    """
    return data.StructLayout(
        ({} if config.grouped else factor_fields(config))
        | {"causal": unsigned(1)}
        | ({"biased": unsigned(1)} if config.bias_heads else {})
        | ({"window": range(config.positions + 1)} if config.windows else {})
        | ({"progressive": unsigned(1), "flat_sum": unsigned(32)} if config.progressive else {})
        | choice_fields(config)
        | {"output": output_layout()}
        | segment_fields(config)
    )


def verdict_layout(config: Config) -> data.StructLayout:
    """What a trial tells of a row block: whether it has ``flat`` rows, and how many ``rows``."""
    return data.StructLayout({"flat": unsigned(1), "rows": range(config.rows + 1)})


def verdict_stream(config: Config) -> stream.Signature:
    """Verdicts on trials, in the order of their heads."""
    return stream.Signature(verdict_layout(config))


def segment_fields(config: Config) -> dict[str, ShapeLike]:
    """Fields that say which of its rows' segments a head is, where rows can be merged.

    ``first_segment``, ``last_segment``: its keys are the first, or the last ones, of its rows.
    ``restart``: the next head's rows are held from the first place on, not behind this one's.
    """
    names = ("first_segment", "last_segment", "restart")
    return dict.fromkeys(names, unsigned(1)) if config.merge_rows else {}


def flags_layout(config: Config) -> data.StructLayout:
    """Place of a row of a tile, as in a score row: ``keys`` of its lanes are filled."""
    return data.StructLayout(
        {
            "keys": range(config.cols + 1),
            "last_row": unsigned(1),
            "last_tile": unsigned(1),
            "last_block": unsigned(1),
        }
        | tile_fields(config)
    )


def _row_layout(
    config: Config, name: str, shape: Shape, *, counted: bool = False
) -> data.StructLayout:
    """Row of ``cols`` values with the fields of :func:`flags_layout`.

    Parameters
    ----------
    config : Config
    name : str
        Of the values.
    shape : Shape
        Of a value.
    counted : bool
        With a bit ``seen`` for each key, where queries are counted.
    """
    fields = {name: data.ArrayLayout(shape, config.cols)}
    fields |= {field: member.shape for field, member in flags_layout(config)}
    if counted and config.count_normalize:
        fields["seen"] = data.ArrayLayout(unsigned(1), config.cols)
    return data.StructLayout(fields)


def masked_row_layout(config: Config) -> data.StructLayout:
    """Gained scores of a row of a tile; masked keys are :func:`unseen`; whether of a ``trial``."""
    row = _row_layout(config, "scores", signed(compared_bits(config)))
    return data.StructLayout(_fields(row) | ({"trial": unsigned(1)} if config.progressive else {}))


def exponential_row_layout(config: Config) -> data.StructLayout:
    """Exponentials ``e16`` of a row of a tile, 0 where masked; ``seen`` where that is counted."""
    return _row_layout(config, "exponentials", unsigned(EXPONENTIAL_BITS), counted=True)


def weight_row_layout(config: Config) -> data.StructLayout:
    """Weights for P x V of a row of a tile, 0 to :func:`~dtqatten.hw.payloads.sums.top_code`.

    Lanes past ``keys`` are 0. Rows come in the order of the scores: row block by row block, tile by
    tile. ``narrow``, equal in all rows of a query: its weights keep their highest nibble only.
    ``exponent``, where tiles have one: the weights count ``2**-exponent``. ``share``, where V can
    come after a choice, is the head's.
    """
    row = _row_layout(config, "weights", weight_shape(config))
    more = exponent_fields(config) | choice_fields(config)
    return data.StructLayout(_fields(row) | {"narrow": unsigned(1)} | more)


def probability_row_layout(config: Config) -> data.StructLayout:
    """Normalized 16-bit probabilities of a row of a tile, in the order of the scores.

    ``seen`` as with the exponentials. ``partial``, where rows can be merged: the row has other
    segments, so that these are none of the whole row.
    """
    row = _row_layout(config, "probabilities", unsigned(EXPONENTIAL_BITS), counted=True)
    return data.StructLayout(_fields(row) | ({"partial": unsigned(1)} if config.merge_rows else {}))


def reciprocal_layout(width: int) -> data.StructLayout:
    """Reciprocal of a number of ``width`` bits: ``mantissa * 2**-(exponent + 16)``."""
    return data.StructLayout({"mantissa": unsigned(RECIPROCAL_BITS), "exponent": range(width + 1)})


def row_record_layout(config: Config) -> data.StructLayout:
    """Divisor of a row of P x V: one record a row, in row order.

    ``divisor`` in 1/16 of a code, its reciprocal, and ``lead``, the left shift of the row's weights
    (0 without V gains; 3 more where tiles have exponents); ``output`` is the head's. ``last_row``:
    the block's last row; ``last_block``: the row is of the head's last block. Where rows can be
    merged, the divisor is of the keys alone, not inverted, with the row's maximum, factor and sink.
    """
    width = row_divisor_bits(config)
    divided: dict[str, ShapeLike] = {
        "divisor": unsigned(width),
        "reciprocal": reciprocal_layout(width),
    }
    if config.merge_rows:
        divided = {
            "divisor": unsigned(divisor_bits(config)),
            "maximum": signed(compared_bits(config)),
        }
        divided |= factor_fields(config) | segment_fields(config)
    return data.StructLayout(
        divided
        | {
            "lead": unsigned(LEAD_BITS),
            "output": output_layout(),
            "last_row": unsigned(1),
            "last_block": unsigned(1),
        }
    )


def maximum_layout(config: Config) -> data.StructLayout:
    """Input of a row's exponentials: its largest score, and the factor of the differences.

    ``sink``, where there are sinks, is the row's; ``narrow``, of the query, ``share``, ``output``
    and which segment it is pass through.
    """
    return data.StructLayout(
        {"maximum": signed(compared_bits(config))}
        | factor_fields(config)
        | {"narrow": unsigned(1), "output": output_layout()}
        | choice_fields(config)
        | segment_fields(config)
    )


def normalizer_layout(config: Config) -> data.StructLayout:
    """Input of a row's probabilities: the reciprocal of its sum, and ``lead``.

    ``narrow``, of the query, and ``share`` pass through, for weights with V gains, and ``partial``,
    for probabilities.
    """
    return data.StructLayout(
        {
            "reciprocal": reciprocal_layout(total_bits(config)),
            "lead": unsigned(LEAD_BITS),
            "narrow": unsigned(1),
        }
        | (choice_fields(config) if config.v_gains else {})
        | ({"partial": unsigned(1)} if config.merge_rows else {})
    )


def reduced_layout() -> data.StructLayout:
    """A row of a tile has passed a reduction; after its ``last_tile`` the row is complete."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "last_row": unsigned(1),
            "last_tile": unsigned(1),
            "last_block": unsigned(1),
        }
    )
