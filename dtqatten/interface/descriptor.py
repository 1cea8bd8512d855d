"""Layer descriptors: the one table that gateware, driver, golden model and documents share."""

from collections.abc import Mapping
from dataclasses import dataclass

from dtqatten.interface.described import DescribedFlag

__all__ = [
    "ADDRESS_ALIGNMENT",
    "BIAS_BYTES",
    "ENTRY_BYTES",
    "FIELDS",
    "HEAD_BYTES",
    "HEAD_SHIFT_MAX",
    "ID_BYTES",
    "MAGIC",
    "NO_RANK",
    "PAGE_BYTES",
    "REPORT_BYTES",
    "SHARE_MAX",
    "SIZE",
    "VERSION",
    "WINDOW_MAX",
    "Field",
    "Flag",
    "pack",
    "unpack",
]

#: Bytes of a descriptor.
SIZE = 256
#: First half-word, ``"DT"``, and version of the layout.
MAGIC, VERSION = 0x5444, 3
#: The head: ``version``, ``magic`` and ``ready``. The machine reads it alone, in one beat, and
#: reads all ``SIZE`` bytes only after it has received a ``ready`` that is not 0. Everything that
#: the host wrote before ``ready`` is then visible, in whatever order the bus moves beats.
HEAD_BYTES = 8
#: Every address in a descriptor, and a descriptor's own, is a multiple of this.
ADDRESS_ALIGNMENT = 64
#: Windows consist of pages; no burst crosses a page.
PAGE_BYTES = 4096
#: Bytes of an entry of the head table, and its largest right shift.
ENTRY_BYTES, HEAD_SHIFT_MAX = 8, 40
#: Bytes of a head in the report of heads, and the rank of one that was pruned before.
REPORT_BYTES, NO_RANK = 8, 0xFFFF
#: Largest sliding window.
WINDOW_MAX = 1 << 16
#: Largest share of groups of values that is not all of them.
SHARE_MAX = 255
#: Bytes of a bias of a key.
BIAS_BYTES = 2
#: Bytes of an id in a list.
ID_BYTES = 2


class Flag(DescribedFlag):
    """Bits of the field ``flags``; all others must be 0."""

    CHAINED = (
        1 << 0,
        "keys are the tokens that the previous layer kept; else all `stored` ones, or those of"
        " KEY_LIST",
    )
    CAUSAL = 1 << 1, "a query sees no key of a later position"
    CODES = 1 << 2, "outputs are balanced 8-bit codes, a byte each, not 16-bit values"
    Q_GAINS = 1 << 3, "each token of Q has a gain"
    K_GAINS = 1 << 4, "the same for each token of K"
    V_GAINS = 1 << 5, "the same for each token of V"
    REPORT = 1 << 6, "write the importance of every key"
    CUMULATIVE = 1 << 7, "add the importance of earlier layers; carry the sum to the next layer"
    FRESH = 1 << 8, "take earlier importance as 0; required unless CHAINED to a CUMULATIVE layer"
    COUNT = 1 << 9, "divide importance by the number of queries that see the token"
    FOLLOWS = 1 << 10, "weights of P x V follow their token's precision"
    IDS = 1 << 11, "write the ids of the kept tokens"
    FOLLOWS_QUERY = 1 << 12, "weights of P x V follow their query's precision"
    QUERY_CHAINED = (
        1 << 13,
        "queries are the tokens that the previous layer kept, as the keys are; with CHAINED. Else"
        " all of Q, at positions from `query_start` on, or at those of QUERY_LIST",
    )
    QUERY_LIST = 1 << 14, "queries are at the positions in `query_list`; not with QUERY_CHAINED"
    KEY_LIST = 1 << 15, "keys are the tokens at the places in `key_list`; not with CHAINED"
    WINDOW = 1 << 16, "a query sees `window` positions only, its own and those before it"
    SINKS = 1 << 17, "each head has a sink"
    GROUPED = (
        1 << 18,
        "the `heads / kv_heads` query heads of a head of K and V have its rows together, at most"
        " `n_max`; not with QUERY_CHAINED",
    )
    CONTINUES = (
        1 << 19,
        "a further segment: keys join those of the layer before, for the same heads and queries",
    )
    HOLDS = (
        1 << 20,
        "further segments follow: partial results are held in the machine, and nothing is written",
    )
    HELD = (
        1 << 21,
        "add the importance of the keys to that in `held`, by id, and write it back there; keys can"
        " be protected. Not with CHAINED, CUMULATIVE or REPORT",
    )
    LOCAL_VALUES = (
        1 << 22,
        "a row block multiplies V of the heaviest of its groups of keys alone, `value_share` of"
        " those with a weight",
    )
    HEADS_CHAINED = (
        1 << 23,
        "heads are those that the previous layer kept, of the `stored_heads` in the tensors; their"
        " importance goes on. Else all `heads`, whose importance begins at 0",
    )
    HEAD_REPORT = 1 << 24, "write importance and rank of every head; with `keep_heads`"
    PROGRESSIVE = (
        1 << 25,
        "keys are in 4 bits first; low planes are read of the heads alone that have a row whose"
        " exponentials then sum to more than `flat_sum`, and their scores are in 8 bits",
    )
    UNSIGNED_WEIGHTS = 1 << 26, "nibbles of the weights of P x V are unsigned"
    BLOCK_EXPONENTS = 1 << 27, "weights of P x V have an exponent a row and tile of keys"
    KEY_BIAS = 1 << 28, "each key has a bias for each query head, which joins its scores"
    CHOSEN_VALUES = (
        1 << 29,
        "V is read after the row block has chosen its groups (LOCAL_VALUES), of these alone",
    )
    SIGNED_GAINS = 1 << 30, "gains of Q and K have a sign, bit 7; the other bits are half of one"


#: Options of a configuration that some flags ask for; all others are served by every machine.
OPTION_FLAGS: Mapping[str, Flag] = {
    "unsigned_weights": Flag.UNSIGNED_WEIGHTS,
    "block_exponents": Flag.BLOCK_EXPONENTS,
    "v_gains": Flag.V_GAINS,
    "signed_gains": Flag.SIGNED_GAINS,
    "cumulative": Flag.CUMULATIVE | Flag.FRESH,
    "count_normalize": Flag.COUNT,
    "windows": Flag.WINDOW,
    "sinks": Flag.SINKS,
    "bias_heads": Flag.KEY_BIAS,
    "grouped": Flag.GROUPED,
    "held_importance": Flag.HELD,
    "head_pruning": Flag.HEADS_CHAINED | Flag.HEAD_REPORT,
    "local_values": Flag.LOCAL_VALUES,
    "chosen_values": Flag.CHOSEN_VALUES,
    "progressive": Flag.PROGRESSIVE,
    "merge_rows": Flag.CONTINUES | Flag.HOLDS,
}


@dataclass(frozen=True)
class Field:
    """A field: ``bits`` at byte ``offset``, little endian."""

    name: str
    offset: int
    bits: int
    meaning: str


#: Fields in order; bytes that none of them covers must be 0.
FIELDS: tuple[Field, ...] = (
    Field("version", 0x00, 16, f"layout, {VERSION}"),
    Field("magic", 0x02, 16, f"{MAGIC:#06x}"),
    Field("ready", 0x04, 32, "not 0: Q, K, V and the other fields are in memory; written last"),
    Field("next", 0x08, 64, "next descriptor, above this one; 0 ends the chain"),
    Field("flags", 0x10, 32, "see below"),
    Field("heads", 0x14, 16, "query heads"),
    Field("kv_heads", 0x16, 16, "heads of K and V; divides `heads`"),
    Field("queries", 0x18, 16, "queries to compute"),
    Field("query_four_bit", 0x1A, 16, "queries in 4 bits, the first ones; 0 if QUERY_CHAINED"),
    Field(
        "query_start", 0x1C, 32, "position of the first query; 0 with QUERY_LIST or QUERY_CHAINED"
    ),
    Field(
        "tokens",
        0x20,
        16,
        "keys to compute on; `stored` unless CHAINED or KEY_LIST, or the register `merge_rows` is"
        " not 0",
    ),
    Field(
        "four_bit", 0x22, 16, "keys in 4 bits, the first ones; the others have 8 bits; 0 if CHAINED"
    ),
    Field("k0", 0x24, 16, "keys kept for the next layer; 0 with CONTINUES or HOLDS"),
    Field("k1", 0x26, 16, "kept keys in 8 bits"),
    Field("stored", 0x28, 32, "tokens in K and V, at the places 0 to `stored` - 1"),
    Field("capacity", 0x2C, 32, "tokens that a head of K and V has room for"),
    Field("window", 0x30, 32, f"with WINDOW 1 to {WINDOW_MAX}, else 0"),
    Field("output_shift", 0x34, 16, "left shift of 8-bit outputs, 0 to 7; 0 without CODES"),
    Field(
        "key_start",
        0x36,
        16,
        "place of the first key; 0 with KEY_LIST or CHAINED, or where the register `merge_rows` is",
    ),
    Field(
        "protect_first",
        0x38,
        16,
        "with HELD: keys of positions below it rank before all others; else 0",
    ),
    Field(
        "protect_last",
        0x3A,
        16,
        "with HELD: so do keys of the last so many positions up to the latest key's; else 0",
    ),
    Field(
        "value_share",
        0x3C,
        16,
        f"with LOCAL_VALUES 1 to {SHARE_MAX}, in 1/{SHARE_MAX + 1} of the groups with a weight,"
        " rounded up; else 0",
    ),
    Field(
        "keep_heads",
        0x3E,
        16,
        "heads kept for the next layer, those of the largest outputs; 0: heads are not ranked",
    ),
    Field(
        "q",
        0x40,
        64,
        "Q, `[heads][plane hi, lo][queries][d_head/2 bytes]`; QUERY_CHAINED: `[stored]` in place of"
        " `[queries]`; GROUPED: `[kv_heads][plane hi, lo][queries][heads of the group][d_head/2]`",
    ),
    Field("k", 0x48, 64, "K, `[kv_heads][plane hi, lo][capacity][d_head/2 bytes]`"),
    Field("v", 0x50, 64, "V, likewise"),
    Field(
        "head_table",
        0x58,
        64,
        f"per query head {ENTRY_BYTES} bytes: multiplier, 2 bytes; shift, a byte, 0 to"
        f" {HEAD_SHIFT_MAX}; with `keep_heads` the shift of its weight, a byte, likewise; with"
        " SINKS the sink, 2 bytes, signed; with `keep_heads` the weight, 2 bytes; the others 0",
    ),
    Field(
        "q_gains",
        0x60,
        64,
        "with Q_GAINS: `[heads][queries]` bytes, in 1/256, never 0; SIGNED_GAINS: bit 7 is the"
        " sign, the others are half of the gain, never 0; QUERY_CHAINED: `[heads][stored]`;"
        " GROUPED: `[kv_heads][queries][heads of the group]`",
    ),
    Field("k_gains", 0x68, 64, "with K_GAINS: `[kv_heads][capacity]` bytes, as `q_gains`"),
    Field("v_gains", 0x70, 64, "with V_GAINS: `[kv_heads][capacity]` bytes"),
    Field(
        "query_list", 0x78, 64, "with QUERY_LIST: `queries` ids of 16 bits, ascending in each class"
    ),
    Field("key_list", 0x80, 64, "with KEY_LIST: `tokens` ids of 16 bits, likewise"),
    Field(
        "held", 0x88, 64, "with HELD, read and written: `[capacity]` importances of 32 bits, by id"
    ),
    Field(
        "stored_heads",
        0x90,
        16,
        "with HEADS_CHAINED heads in Q, K, V, their gains and the head table, those in which the"
        " chain of heads began: each of these tensors then has `[stored_heads]` in place of"
        " `[heads]` and `[kv_heads]`; else 0",
    ),
    Field(
        "flat_sum",
        0x94,
        32,
        "with PROGRESSIVE the largest sum of a row that is not flat, 65535 divided by the threshold"
        " of its largest probability; else 0",
    ),
    Field(
        "key_bias",
        0x98,
        64,
        "with KEY_BIAS: `[heads][capacity]` biases of 16 bits, signed, in 1/256 octaves;"
        " HEADS_CHAINED: `[stored_heads][capacity]`",
    ),
    Field(
        "output",
        0xA0,
        64,
        "written without HOLDS: `[heads][queries][d_head]`, 16 bits or a byte each; GROUPED:"
        " `[kv_heads][queries][heads of the group][d_head]`",
    ),
    Field("ids", 0xA8, 64, "written with IDS: `k0` ids of 16 bits, 4-bit class first"),
    Field("importance", 0xB0, 64, "written with REPORT: `tokens` values of 32 bits"),
    Field(
        "head_report",
        0xB8,
        64,
        f"written with HEAD_REPORT: per head, those that were pruned before included,"
        f" {REPORT_BYTES} bytes: importance, 4 bytes; rank, 2 bytes, kept if below `keep_heads`,"
        f" {NO_RANK:#x} if it was pruned before; the others 0",
    ),
)

_BY_NAME = {field.name: field for field in FIELDS}


def pack(values: Mapping[str, int]) -> bytes:
    """Return a descriptor's bytes; fields not given are 0, ``magic`` and ``version`` are set.

    Raises
    ------
    ValueError
        If a name is unknown or a value does not fit its field.
    """
    raw = bytearray(SIZE)
    for name, value in {"magic": MAGIC, "version": VERSION, **values}.items():
        if name not in _BY_NAME:
            raise ValueError(f"no field {name!r}: choose one of {', '.join(_BY_NAME)}")
        field = _BY_NAME[name]
        if not 0 <= value < 1 << field.bits:
            raise ValueError(f"{name} is {value}, outside 0..{(1 << field.bits) - 1}")
        raw[field.offset : field.offset + field.bits // 8] = int(value).to_bytes(
            field.bits // 8, "little"
        )
    return bytes(raw)


def unpack(raw: bytes) -> dict[str, int]:
    """Return the fields of a descriptor.

    Raises
    ------
    ValueError
        If it does not have ``SIZE`` bytes.
    """
    if len(raw) != SIZE:
        raise ValueError(f"a descriptor has {SIZE} bytes, not {len(raw)}")
    return {
        field.name: int.from_bytes(raw[field.offset : field.offset + field.bits // 8], "little")
        for field in FIELDS
    }
