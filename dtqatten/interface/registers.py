"""Control registers: the one table that gateware, driver, C header and documents share."""

import enum
from dataclasses import dataclass

from dtqatten.interface.described import DescribedFlag, DescribedInt
from dtqatten.interface.descriptor import HEAD_SHIFT_MAX, PAGE_BYTES, Flag
from dtqatten.interface.units import Unit

__all__ = [
    "ADDRESS_BITS",
    "IDENTIFIER",
    "REGISTERS",
    "Access",
    "Control",
    "ErrorCode",
    "Interrupt",
    "Register",
    "Status",
    "offset_of",
]

#: Bits of a register's byte address.
ADDRESS_BITS = 9
#: Value of the register ``id``: ``"DTQA"``.
IDENTIFIER = 0x41515444


class Access(enum.StrEnum):
    """How software uses a register."""

    READ = "r"
    #: Keeps what is written; with ``locked``, ignores writes while the machine is busy.
    WRITE = "rw"
    #: A bit written as 1 acts once; reads as 0.
    PULSE = "w1p"
    #: Shows the machine's state; a bit written as 1 is cleared.
    CLEAR = "w1c"


class Control(DescribedFlag):
    """Bits of ``control``."""

    START = 1, "begin the chain at `descriptor`; ignored while busy, and with ABORT"
    RESUME = 2, "read the descriptor that is not ready again, or later the next one that is not"
    ABORT = 4, "end the chain: outstanding bursts complete, everything else is dropped"
    CLEAR_COUNTERS = 8, "zero the counters"


class Status(DescribedFlag):
    """Bits of ``status``."""

    BUSY = 1, "a chain is running, or one is being aborted"
    WAITING = 2, "the next layer's `ready` is 0"
    ERROR = 4, "the last chain ended in `error_code`; cleared by START"
    ABORTED = 8, "the last chain ended by ABORT; cleared by START"


class Interrupt(DescribedFlag):
    """Bits of ``interrupt`` and ``interrupt_enable``."""

    LAYER = 1, "a layer is complete: all its writes have been acknowledged"
    DONE = 2, "the chain has ended, with or without an error"
    WAITING = 4, "the machine waits for `ready`"


class ErrorCode(DescribedInt):
    """Values of ``error_code``; descriptors are refused before any data access."""

    NONE = 0, "no error"
    VERSION = 1, "the descriptor's magic or version is wrong: driver and machine differ"
    FLAGS = (
        2,
        "`flags` has a bit that this build lacks, lacks a required one, or names two sources of the"
        " same tokens or sums, or GROUPED with QUERY_CHAINED; `window` or `output_shift` is out of"
        " range; or a reserved value is not 0",
    )
    NO_HEADS = 3, "`heads` is 0"
    TOO_MANY_HEADS = 4, "`heads` exceeds this build's limit"
    KV_HEADS = 5, "`kv_heads` does not divide `heads`"
    NO_TOKENS = 6, "`queries`, `stored` or `tokens` is 0"
    TOO_MANY_TOKENS = (
        7,
        "`queries` or `tokens` exceeds `n_max`; with GROUPED, `queries * heads / kv_heads` does",
    )
    TOKENS = (
        8,
        "`tokens` is not `stored`, or above it with KEY_LIST, or `key_start + tokens` is above it"
        " where rows can be merged, or `four_bit` is above `tokens`; in a"
        " CHAINED layer `stored` or `tokens` is not what the previous layer had or kept, or"
        " `four_bit` is not 0",
    )
    K0 = 9, "`k0` is 0 or more than `tokens`"
    K1 = 10, "`k1 > k0`"
    ALIGNMENT = 11, "the address is not a multiple of 64"
    READ_WINDOW = 12, "the region there leaves the read window"
    WRITE_WINDOW = 13, "the region there leaves the write window"
    CHAIN = 14, "`next` is not above the descriptor, so the chain could loop"
    READ_RESPONSE = 15, "the read there was answered with SLVERR or DECERR"
    WRITE_RESPONSE = 16, "the write there was answered with SLVERR or DECERR"
    WINDOW = (
        17,
        "a window's base is not the first byte of a page, or its limit not the last, or it is not"
        " below 2^`address_bits`; the address is that base or limit",
    )
    HEAD_TABLE = (
        18,
        f"the entry of the head table there has a shift above {HEAD_SHIFT_MAX}, or a reserved byte"
        " that is not 0",
    )
    GAIN = 19, "the gain there is 0"
    QUERIES = (
        20,
        "`query_four_bit` is above `queries`; in a QUERY_CHAINED layer `queries` is not what the"
        " previous layer kept, or `query_four_bit` is not 0",
    )
    CAPACITY = 21, "`stored` exceeds `capacity`, or that the register `capacity`"
    POSITIONS = (
        22,
        "`query_start + queries` exceeds the register `capacity`; or `query_start` is not 0 where"
        " queries have positions of their own",
    )
    LIST = (
        23,
        "the id there is not above the one before it in its class; or is not below `stored`, in a"
        " list of queries the register `capacity`",
    )
    SEGMENT = (
        24,
        "CONTINUES without HOLDS in the layer before, or HOLDS there without it; or `heads`,"
        " `kv_heads`, `queries` or GROUPED are not those of that layer; or HOLDS in the last layer;"
        " or a segment is CHAINED",
    )
    SEGMENT_IMPORTANCE = (
        25,
        "`k0`, IDS, REPORT, CUMULATIVE, FRESH or COUNT with CONTINUES or HOLDS: rows of several"
        " segments have no importance",
    )
    MERGE_ROWS = (
        26,
        "`heads * queries` exceeds the register `merge_rows`, with CONTINUES or HOLDS",
    )
    PROTECTED = 27, "`k0` is below the number of protected keys; the address is that of `held`"
    HEADS = (
        28,
        "with HEADS_CHAINED, `heads` is not what the previous layer keeps, `stored_heads` not what"
        " it chose from, or `kv_heads` not `heads`; without it, `stored_heads` is not 0",
    )
    KEEP_HEADS = 29, "`keep_heads` is above `heads`, or 0 with HEAD_REPORT"
    PROGRESSIVE = (
        30,
        "with PROGRESSIVE, the rows of a head are more than the register `rows`, or heads share K"
        " and V without GROUPED",
    )
    BIAS_HEADS = (
        31,
        "with KEY_BIAS and GROUPED, `heads / kv_heads` exceeds the register `bias_heads`",
    )
    CHOSEN_VALUES = (
        32,
        "with CHOSEN_VALUES, the rows of a head are more than the register `rows`, or heads share K"
        " and V without GROUPED",
    )


@dataclass(frozen=True)
class Register:
    """A register of ``bits`` (32, or 64 as two words, low first) at byte ``offset``."""

    name: str
    offset: int
    access: Access
    meaning: str
    bits: int = 32
    #: Writes are ignored while the machine is busy.
    locked: bool = False
    #: Value after reset.
    init: int = 0
    #: Bits that may be written as 1; a write with another bit set is refused. None: all bits.
    flags: type[DescribedFlag] | None = None
    #: Names of the bits that software reads, or of the values; if None, those of ``flags``.
    shows: type[DescribedFlag] | type[DescribedInt] | None = None


_R, _W, _P, _C = Access.READ, Access.WRITE, Access.PULSE, Access.CLEAR

REGISTERS: tuple[Register, ...] = (
    Register("id", 0x000, _R, f"{IDENTIFIER:#010x}, `DTQA`"),
    Register("version", 0x004, _R, "layout version of registers and descriptors"),
    Register("rows", 0x008, _R, "PEs: query tokens of a tile"),
    Register("cols", 0x00C, _R, "PEs: key tokens of a tile"),
    Register("depth", 0x010, _R, "4-bit products per PE and cycle"),
    Register("d_head", 0x014, _R, "channels of a head"),
    Register("n_max", 0x018, _R, "most queries, and most keys, of a layer"),
    Register("heads", 0x01C, _R, "most query heads"),
    Register("bus_bits", 0x020, _R, "width of the AXI data bus"),
    Register("flags", 0x024, _R, "descriptor flags that this build knows", shows=Flag),
    Register("flags_required", 0x028, _R, "flags of these that every layer must set", shows=Flag),
    Register("planes", 0x02C, _R, "nibbles of a weight of P x V"),
    Register("value_depth", 0x030, _R, "tokens that P x V reduces in a cycle: a tile of V"),
    Register("address_bits", 0x034, _R, "width of the AXI addresses"),
    Register("capacity", 0x038, _R, "most places of a cache, and positions of queries"),
    Register("merge_rows", 0x03C, _R, "most `heads * queries` of a layer in segments; 0: none"),
    Register("control", 0x040, _P, "`Control` bits", flags=Control),
    Register("status", 0x044, _R, "`Status` bits", shows=Status),
    Register(
        "interrupt_enable",
        0x048,
        _W,
        "`Interrupt` bits that drive the interrupt line",
        flags=Interrupt,
    ),
    Register("interrupt", 0x04C, _C, "`Interrupt` bits that have occurred", flags=Interrupt),
    Register("error_code", 0x050, _R, "`ErrorCode` of the last chain", shows=ErrorCode),
    Register("layers_done", 0x054, _R, "complete layers since START"),
    Register("error_address", 0x058, _R, "address of the error", 64),
    Register("descriptor", 0x060, _W, "first descriptor of the chain", 64, locked=True),
    Register("current", 0x068, _R, "descriptor that was read last", 64),
    *(
        Register(
            f"{kind}_{end}",
            offset + at,
            _W,
            f"{what} byte of the {kind} window, a page's; none is open after reset",
            64,
            locked=True,
            init=init,
        )
        for kind, offset in (("read", 0x070), ("write", 0x080))
        for end, at, what, init in (
            ("base", 0, "first", PAGE_BYTES),
            ("limit", 8, "last", PAGE_BYTES - 1),
        )
    ),
    Register("bias_heads", 0x090, _R, "most query heads of a group with KEY_BIAS; 0: none"),
    Register("cycles", 0x100, _R, "cycles with BUSY"),
    Register("read_bursts", 0x104, _R, "read bursts issued"),
    Register("read_beats", 0x108, _R, "words of the bus read"),
    Register("read_stalls", 0x10C, _R, "cycles in which a read address waited for the bus"),
    Register("write_bursts", 0x110, _R, "write bursts issued"),
    Register("write_beats", 0x114, _R, "words of the bus written"),
    Register("write_bytes", 0x118, _R, "bytes written"),
    Register("write_stalls", 0x11C, _R, "cycles in which written data waited for the bus"),
    Register("read_bytes", 0x120, _R, "bytes of the words read"),
    Register("tried_heads", 0x124, _R, "heads of K computed in 4 bits first"),
    Register("flat_heads", 0x128, _R, "those of them with a flat row, computed again in 8 bits"),
    Register("flat_rows", 0x12C, _R, "rows that were flat in 4 bits"),
    *(
        Register(
            f"{unit}_{what}",
            0x140 + 8 * i + at,
            _R,
            f"cycles in which `{unit}` {meaning}",
        )
        for i, unit in enumerate(Unit)
        for what, at, meaning in (("busy", 0, "worked"), ("stalls", 4, "waited with a result"))
    ),
)

_OFFSETS = {register.name: register.offset for register in REGISTERS}


def offset_of(name: str) -> int:
    """Return a register's byte offset.

    Raises
    ------
    KeyError
        If there is no such register.
    """
    return _OFFSETS[name]
