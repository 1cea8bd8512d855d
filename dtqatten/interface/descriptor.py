"""Layer descriptors: the one table that gateware, driver, golden model and documents share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dtqatten.interface.described import DescribedFlag

__all__ = [
    "ADDRESS_ALIGNMENT",
    "FIELDS",
    "HEAD_BYTES",
    "HEAD_SHIFT_MAX",
    "MAGIC",
    "PAGE_BYTES",
    "SIZE",
    "VERSION",
    "Field",
    "Flag",
    "pack",
    "region_sizes",
    "unpack",
]

#: Bytes of a descriptor.
SIZE = 128
#: First half-word, ``"DT"``, and version of the layout.
MAGIC, VERSION = 0x5444, 2
#: The head: ``version``, ``magic`` and ``ready``. The machine reads it alone, in one beat, and
#: reads all ``SIZE`` bytes only after it has received a ``ready`` that is not 0. Everything that
#: the host wrote before ``ready`` is then visible, in whatever order the bus moves beats.
HEAD_BYTES = 8
#: Every address in a descriptor, and a descriptor's own, is a multiple of this.
ADDRESS_ALIGNMENT = 64
#: Windows consist of pages; no burst crosses a page.
PAGE_BYTES = 4096
#: Largest right shift in an entry of the head table.
HEAD_SHIFT_MAX = 40


class Flag(DescribedFlag):
    """Bits of the field ``flags``; all others must be 0."""

    CHAINED = 1 << 0, "tokens are those that the previous layer kept; else all `stored` ones"
    CAUSAL = 1 << 1, "a query sees no key of a later position"
    CODES = 1 << 2, "outputs are balanced 8-bit codes, a byte each, not 16-bit values"
    Q_GAINS = 1 << 3, "each token of Q has a gain"
    K_GAINS = 1 << 4, "the same for each token of K"
    V_GAINS = 1 << 5, "the same for each token of V"
    REPORT = 1 << 6, "write the importance of every token"
    CUMULATIVE = 1 << 7, "add the importance of earlier layers; carry the sum to the next layer"
    FRESH = 1 << 8, "take earlier importance as 0; required unless CHAINED to a CUMULATIVE layer"
    COUNT = 1 << 9, "divide importance by the number of queries that see the token"
    FOLLOWS = 1 << 10, "weights of P x V follow their token's precision"
    IDS = 1 << 11, "write the ids of the kept tokens"
    FOLLOWS_QUERY = 1 << 12, "weights of P x V follow their query's precision"


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
    Field("stored", 0x18, 16, "tokens in the tensors"),
    Field("tokens", 0x1A, 16, "tokens to compute on; `stored` unless chained"),
    Field(
        "four_bit",
        0x1C,
        16,
        "tokens in 4 bits, the first ones; the others have 8 bits; 0 if chained",
    ),
    Field("output_shift", 0x1E, 16, "left shift of 8-bit outputs, 0 to 7; 0 without CODES"),
    Field("k0", 0x20, 16, "tokens kept for the next layer"),
    Field("k1", 0x22, 16, "kept tokens in 8 bits"),
    Field("q", 0x28, 64, "Q, `[heads][plane hi, lo][stored][d_head/2 bytes]`"),
    Field("k", 0x30, 64, "K, likewise with `kv_heads`"),
    Field("v", 0x38, 64, "V, likewise with `kv_heads`"),
    Field(
        "head_table",
        0x40,
        64,
        f"per query head 2 bytes multiplier, a byte shift, 0 to {HEAD_SHIFT_MAX}, and a byte 0",
    ),
    Field("q_gains", 0x48, 64, "`[heads][stored]` bytes, in 1/256, never 0; with flag Q_GAINS"),
    Field("k_gains", 0x50, 64, "`[kv_heads][stored]`; with K_GAINS"),
    Field("v_gains", 0x58, 64, "`[kv_heads][stored]`; with V_GAINS"),
    Field("output", 0x60, 64, "written: `[heads][tokens][d_head]`, 16 bits or a byte each"),
    Field("ids", 0x68, 64, "written with IDS: `k0` ids of 16 bits, 4-bit class first"),
    Field("importance", 0x70, 64, "written with REPORT: `tokens` values of 32 bits"),
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


def region_sizes(fields: Mapping[str, int], d_head: int) -> Iterator[tuple[str, int, bool]]:
    """Yield each region of a layer: name of the address field, bytes, whether it is written."""
    flags = Flag(fields["flags"])
    heads, kv_heads = fields["heads"], fields["kv_heads"]
    stored, tokens = fields["stored"], fields["tokens"]
    for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
        yield name, count * stored * d_head, False
    yield "head_table", 4 * heads, False
    for name, count, flag in (
        ("q_gains", heads, Flag.Q_GAINS),
        ("k_gains", kv_heads, Flag.K_GAINS),
        ("v_gains", kv_heads, Flag.V_GAINS),
    ):
        if flag in flags:
            yield name, count * stored, False
    yield "output", heads * tokens * d_head * (1 if Flag.CODES in flags else 2), True
    if Flag.IDS in flags:
        yield "ids", 2 * fields["k0"], True
    if Flag.REPORT in flags:
        yield "importance", 4 * tokens, True
