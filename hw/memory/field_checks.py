"""Checks of a descriptor's fields: all of them at once, each with its error code."""

from amaranth.hdl import Cat, Const, Mux, Value
from amaranth.lib import data

from dtqatten.configuration.core import Config
from dtqatten.hw.memory.descriptor import flag, is_segment, known_flags, required_flags
from dtqatten.interface.descriptor import FIELDS, SHARE_MAX, SIZE, WINDOW_MAX, Flag
from dtqatten.interface.registers import ErrorCode

__all__ = ["field_checks"]


def field_checks(
    config: Config,
    descriptor: data.View,
    before: data.View,
    *,
    address: Value,
    remainder: Value,
    rows: Value,
    too_many_rows: Value | int = 0,
    group: Value | int = 1,
) -> tuple[tuple[ErrorCode, Value], ...]:
    """Return each check's error code and whether the descriptor fails it; the first one counts.

    Parameters
    ----------
    config : Config
    descriptor : View of descriptor_layout()
        What to check.
    before : View of chain_layout(config)
        What the layer before leaves.
    address : Value
        Where the descriptor is.
    remainder : Value
        Of ``heads`` divided by ``kv_heads``.
    rows : Value
        Of a head of the core, unless they are too many.
    too_many_rows : Value or int
        Rows of grouped query heads are more than a head has.
    group : Value or int
        Query heads of a head of the core.
    """
    d = descriptor
    segment = is_segment(d) if config.merge_rows else Const(0)
    return (
        (ErrorCode.FLAGS, _wrong_flags(config, d, before)),
        (ErrorCode.NO_HEADS, d.heads == 0),
        (ErrorCode.TOO_MANY_HEADS, d.heads > config.heads),
        (ErrorCode.KV_HEADS, (d.kv_heads == 0) | (remainder != 0)),
        (ErrorCode.NO_TOKENS, (d.queries == 0) | (d.stored == 0) | (d.tokens == 0)),
        (ErrorCode.TOO_MANY_TOKENS, _too_many(config, d) | too_many_rows),
        (ErrorCode.TOKENS, ~_tokens_match(config, d, before)),
        (ErrorCode.K0, ~segment & ((d.k0 == 0) | (d.k0 > d.tokens))),
        (ErrorCode.K1, d.k1 > d.k0),
        (ErrorCode.CHAIN, (d.next != 0) & (d.next <= address)),
        (ErrorCode.QUERIES, ~_queries_match(d, before)),
        (ErrorCode.CAPACITY, (d.stored > d.capacity) | (d.capacity > config.positions)),
        (ErrorCode.POSITIONS, _beyond(config, d)),
        *(_segment_checks(config, d, before, segment) if config.merge_rows else ()),
        *(_head_checks(d, before) if config.head_pruning else ()),
        *(
            ((ErrorCode.BIAS_HEADS, flag(d, Flag.KEY_BIAS) & (group > config.bias_heads)),)
            if config.bias_heads and config.grouped
            else ()
        ),
        *_row_block_checks(config, d, rows),
    )


def _row_block_checks(
    config: Config, d: data.View, rows: Value
) -> tuple[tuple[ErrorCode, Value], ...]:
    """Return the checks of heads that are to be one row block, whose K and V pass once."""
    shares = d.heads != d.kv_heads
    if config.grouped:
        shares &= ~flag(d, Flag.GROUPED)
    other = (rows > config.rows) | shares
    return tuple(
        (code, flag(d, which) & other)
        for has, code, which in (
            (config.progressive, ErrorCode.PROGRESSIVE, Flag.PROGRESSIVE),
            (config.chosen_values, ErrorCode.CHOSEN_VALUES, Flag.CHOSEN_VALUES),
        )
        if has
    )


def _head_checks(d: data.View, before: data.View) -> tuple[tuple[ErrorCode, Value], ...]:
    """Return the checks of heads that are chosen by the layer before, and for the next one.

    Parameters
    ----------
    d, before : View
        The descriptor, and what the layer before leaves.
    """
    fits = before.valid & (d.stored_heads == before.heads) & (d.heads == before.keep_heads)
    return (
        (
            ErrorCode.HEADS,
            Mux(
                flag(d, Flag.HEADS_CHAINED),
                ~fits | (d.kv_heads != d.heads),
                d.stored_heads != 0,
            ),
        ),
        (
            ErrorCode.KEEP_HEADS,
            (d.keep_heads > d.heads) | (flag(d, Flag.HEAD_REPORT) & (d.keep_heads == 0)),
        ),
    )


def _segment_checks(
    config: Config, d: data.View, before: data.View, segment: Value
) -> tuple[tuple[ErrorCode, Value], ...]:
    """Return the checks of segments; counts are in their ranges here.

    Parameters
    ----------
    config : Config
    d, before : View
        The descriptor, and what the layer before leaves.
    segment : Value
        Whether it is one.
    """
    ranking = (Flag.IDS, Flag.REPORT, Flag.CUMULATIVE, Flag.FRESH, Flag.COUNT)
    same = Cat(d[name] == before[name] for name in ("heads", "kv_heads", "queries")).all()
    if config.grouped:
        same &= flag(d, Flag.GROUPED) == before.grouped
    continues = flag(d, Flag.CONTINUES)
    heads, queries = d.heads[: config.heads.bit_length()], d.queries[: config.n_max.bit_length()]
    return (
        (
            ErrorCode.SEGMENT,
            (continues != before.holds)
            | (continues & ~same)
            | (flag(d, Flag.HOLDS) & (d.next == 0))
            | (segment & flag(d, Flag.CHAINED)),
        ),
        (
            ErrorCode.SEGMENT_IMPORTANCE,
            segment & ((d.k0 != 0) | Cat(flag(d, each) for each in ranking).any()),
        ),
        (ErrorCode.MERGE_ROWS, segment & (heads * queries > config.merge_rows)),
    )


def _wrong_flags(config: Config, d: data.View, before: data.View) -> Value:
    """Whether flags, reserved bits, shift, window or share ask for what this build cannot do."""
    unknown = d.flags & Const(~int(known_flags(config)) & 0xFFFFFFFF, 32)
    missing = ~d.flags & Const(int(required_flags(config)), 32)
    covered = sum((1 << f.bits) - 1 << 8 * f.offset for f in FIELDS)
    reserved = Const(~covered & (1 << 8 * SIZE) - 1, 8 * SIZE)
    nothing_carried = (
        flag(d, Flag.CUMULATIVE)
        & ~flag(d, Flag.FRESH)
        & ~(flag(d, Flag.CHAINED) & before.valid & before.cumulative)
    )
    contradicting = (flag(d, Flag.CHAINED) & flag(d, Flag.KEY_LIST)) | (
        flag(d, Flag.QUERY_CHAINED) & (flag(d, Flag.QUERY_LIST) | ~flag(d, Flag.CHAINED))
    )
    protects = (d.protect_first != 0) | (d.protect_last != 0)
    # What has no meaning without the option is refused as reserved bytes are.
    if config.held_importance:
        other = flag(d, Flag.CHAINED) | flag(d, Flag.CUMULATIVE) | flag(d, Flag.REPORT)
        contradicting |= Mux(flag(d, Flag.HELD), other, protects)
    else:
        contradicting |= protects | (d.held != 0)
    if not config.bias_heads:
        contradicting |= d.key_bias != 0
    if not config.head_pruning:
        contradicting |= (d.keep_heads != 0) | (d.stored_heads != 0) | (d.head_report != 0)
    if config.grouped:
        contradicting |= flag(d, Flag.GROUPED) & flag(d, Flag.QUERY_CHAINED)
    if config.chosen_values:
        contradicting |= flag(d, Flag.CHOSEN_VALUES) & ~flag(d, Flag.LOCAL_VALUES)
    # Only keys that are a run of places begin at one.
    begins = d.key_start != 0
    if config.merge_rows:
        begins &= flag(d, Flag.CHAINED) | flag(d, Flag.KEY_LIST)
    return (
        (unknown != 0)
        | begins
        | (missing != 0)
        | contradicting
        | (d.as_value() & reserved).any()
        | (d.output_shift > Mux(flag(d, Flag.CODES), 7, 0))
        | Mux(flag(d, Flag.WINDOW), (d.window == 0) | (d.window > WINDOW_MAX), d.window != 0)
        | Mux(
            flag(d, Flag.LOCAL_VALUES),
            (d.value_share == 0) | (d.value_share > SHARE_MAX),
            d.value_share != 0,
        )
        | (~flag(d, Flag.PROGRESSIVE) & (d.flat_sum != 0))
        | nothing_carried
    )


def _too_many(config: Config, d: data.View) -> Value:
    """Whether queries or keys are more than a head has."""
    return (d.queries > config.n_max) | (d.tokens > config.n_max)


def _tokens_match(config: Config, d: data.View, before: data.View) -> Value:
    """Whether a chained layer takes what is left to it, and any other one all that is stored.

    A list may leave out some of that. Where rows can be merged, a run of places may, too.
    """
    if config.merge_rows:
        all_of_them = d.key_start + d.tokens <= d.stored
    else:
        all_of_them = Mux(flag(d, Flag.KEY_LIST), d.tokens <= d.stored, d.tokens == d.stored)
    return Mux(
        flag(d, Flag.CHAINED),
        before.valid & (d.stored == before.tokens) & (d.tokens == before.k0) & (d.four_bit == 0),
        all_of_them & (d.four_bit <= d.tokens),
    )


def _queries_match(d: data.View, before: data.View) -> Value:
    """Whether chained queries are those that are left to the layer, and the boundary is theirs."""
    return Mux(
        flag(d, Flag.QUERY_CHAINED),
        before.valid & (d.queries == before.k0) & (d.query_four_bit == 0),
        d.query_four_bit <= d.queries,
    )


def _beyond(config: Config, d: data.View) -> Value:
    """Whether queries are at positions that ids cannot name, or have two positions each."""
    listed = flag(d, Flag.QUERY_CHAINED) | flag(d, Flag.QUERY_LIST)
    return Mux(listed, d.query_start != 0, d.query_start + d.queries > config.positions)
