"""The memory that a layer's descriptor names."""

from collections.abc import Iterator, Mapping

from dtqatten.interface.descriptor import BIAS_BYTES, ENTRY_BYTES, ID_BYTES, REPORT_BYTES, Flag

__all__ = ["query_rows", "region_sizes", "tensor_heads"]


def region_sizes(fields: Mapping[str, int], d_head: int) -> Iterator[tuple[str, int, bool]]:
    """Yield each region of a layer: name of the address field, bytes, whether it is written."""
    flags = Flag(fields["flags"])
    (heads, kv_heads), capacity = tensor_heads(fields), fields["capacity"]
    queries, tokens = fields["queries"], fields["tokens"]
    rows = query_rows(fields)
    for name, count, places in (
        ("q", heads, rows),
        ("k", kv_heads, capacity),
        ("v", kv_heads, capacity),
    ):
        yield name, count * places * d_head, False
    yield "head_table", ENTRY_BYTES * heads, False
    for name, count, places, flag in (
        ("q_gains", heads, rows, Flag.Q_GAINS),
        ("k_gains", kv_heads, capacity, Flag.K_GAINS),
        ("v_gains", kv_heads, capacity, Flag.V_GAINS),
    ):
        if flag in flags:
            yield name, count * places, False
    if Flag.QUERY_LIST in flags:
        yield "query_list", ID_BYTES * queries, False
    if Flag.KEY_LIST in flags:
        yield "key_list", ID_BYTES * tokens, False
    if Flag.HELD in flags:
        yield "held", 4 * capacity, False
    if Flag.KEY_BIAS in flags:
        yield "key_bias", BIAS_BYTES * heads * capacity, False
    if Flag.HOLDS not in flags:
        yield "output", fields["heads"] * queries * d_head * (1 if Flag.CODES in flags else 2), True
    if Flag.IDS in flags:
        yield "ids", ID_BYTES * fields["k0"], True
    if Flag.REPORT in flags:
        yield "importance", 4 * tokens, True
    if Flag.HELD in flags:
        yield "held", 4 * capacity, True
    if Flag.HEAD_REPORT in flags:
        yield "head_report", REPORT_BYTES * heads, True


def tensor_heads(fields: Mapping[str, int]) -> tuple[int, int]:
    """Return the heads of Q and those of K and V in memory: all to compute, or to choose from."""
    if fields["flags"] & Flag.HEADS_CHAINED:
        return fields["stored_heads"], fields["stored_heads"]
    return fields["heads"], fields["kv_heads"]


def query_rows(fields: Mapping[str, int]) -> int:
    """Return the tokens in a head of Q: those to compute on, or all that the layer before had."""
    return fields["stored" if fields["flags"] & Flag.QUERY_CHAINED else "queries"]
