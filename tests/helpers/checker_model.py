"""What the checker must say of a descriptor, and when, and a bench that asks it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.memory.checker import Checker
from dtqatten.interface.descriptor import SIZE, Flag, pack
from dtqatten.interface.regions import region_sizes
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.engines.native import run

# Large enough that no region fits a step of its alignment.
PLAIN = Config(rows=2, cols=2, depth=2, d_head=8, n_max=100, heads=36, capacity=110)

OPTIONS = ("cumulative", "count_normalize", "windows", "sinks", "skip_tiles", "local_values")

FULL = PLAIN.replace(**dict.fromkeys(OPTIONS, True))
GAINED = FULL.replace(v_gains=True)
UNSIGNED = PLAIN.replace(unsigned_weights=True, block_exponents=True)
MERGED = FULL.replace(merge_rows=72)
BIASED = FULL.replace(bias_heads=1)
PRUNED = FULL.replace(head_pruning=True)
TRIED = FULL.replace(
    rows=40, cols=1, depth=1, grouped=True, progressive=True, chosen_values=True,
    count_normalize=False,
)  # fmt: skip
ADDRESS_BITS = 20
#: First byte and the one after the last, of what may be read and written.
READ, WRITE = (0x2000, 0x14000), (0x20000, 0x30000)


ADDRESS = 0x3000
NO_LAYER = {"valid": 0, "tokens": 5, "k0": 3, "k1": 1, "cumulative": 1}


BEFORE = {"valid": 1, "tokens": 12, "k0": 9, "k1": 4, "cumulative": 0}


GOOD = {
    "ready": 1,
    "flags": Flag.Q_GAINS | Flag.K_GAINS | Flag.REPORT | Flag.IDS,
    "next": 0x4000, "heads": 36, "kv_heads": 18, "queries": 100, "query_four_bit": 3,
    "query_start": 10, "stored": 100, "capacity": 104, "tokens": 100, "four_bit": 7,
    "output_shift": 0, "k0": 90, "k1": 90,
    "q": 0x2000, "k": 0x9100, "v": 0x9140, "head_table": 0x11000, "q_gains": 0x11200,
    "k_gains": 0x12080, "v_gains": 0x13000, "query_list": 0x2080, "key_list": 0x20C0,
    "output": 0x20000, "ids": 0x2F000,
    "importance": 0x2F400,
}  # fmt: skip


CHAINED = GOOD | {
    "flags": GOOD["flags"] | Flag.CHAINED | Flag.QUERY_CHAINED,
    "queries": 9,
    "query_four_bit": 0,
    "query_start": 0,
    "stored": 12,
    "tokens": 9,
    "four_bit": 0,
    "k0": 9,
    "k1": 9,
}


LISTED = GOOD | {
    "flags": GOOD["flags"] | Flag.QUERY_LIST | Flag.KEY_LIST,
    "query_start": 0,
    "tokens": 92,
}


#: Heads that the layer before keeps, of 36 in memory; it leaves 7 of its own.
CHOSEN = GOOD | {
    "flags": GOOD["flags"] | Flag.HEADS_CHAINED | Flag.HEAD_REPORT,
    "heads": 12,
    "kv_heads": 12,
    "queries": 40,
    "stored": 40,
    "capacity": 45,
    "tokens": 40,
    "k0": 30,
    "k1": 3,
    "stored_heads": 36,
    "keep_heads": 7,
    "head_report": 0x2F800,
}


#: What that layer leaves.
CHOOSING = {"valid": 1, "tokens": 40, "k0": 30, "k1": 3, "heads": 36, "keep_heads": 12}


#: The second of several segments, of as many rows as are held.
SEGMENT = GOOD | {
    "flags": Flag.Q_GAINS | Flag.CONTINUES | Flag.HOLDS,
    "queries": 2,
    "query_four_bit": 1,
    "tokens": 40,
    "key_start": 60,
    "k0": 0,
    "k1": 0,
}


#: What the first one leaves.
FIRST = {"valid": 1, "segment": 1, "holds": 1, "heads": 36, "kv_heads": 18, "queries": 2}


#: Regions in the order of the checker's cycles: position of the one that an address names.
PLACES = ("q", "k", "v", "head_table", "q_gains", "k_gains", "v_gains", "query_list", "key_list",
          "next")  # fmt: skip


@dataclass
class Case:
    """A descriptor, what was before it, and what the checker has to say."""

    fields: Mapping[str, int]
    before: Mapping[str, int] = field(default_factory=lambda: NO_LAYER)
    address: int = ADDRESS
    #: Bits set besides, which no field covers.
    reserved: int = 0


def served(config: Config) -> tuple[Flag, Flag]:
    """Return the flags that a build knows, and those that it needs."""
    known, needed = ~Flag(0), Flag(0)
    needing = ("v_gains", "unsigned_weights", "block_exponents", "signed_gains")
    codes = [(getattr(config, name), Flag[name.upper()]) for name in needing]
    for possible, flags in (
        *codes,
        (config.cumulative, Flag.CUMULATIVE | Flag.FRESH),
        (config.count_normalize, Flag.COUNT),
        (config.windows, Flag.WINDOW),
        (config.sinks, Flag.SINKS),
        (config.bias_heads, Flag.KEY_BIAS),
        (config.merge_rows, Flag.CONTINUES | Flag.HOLDS),
        (config.grouped, Flag.GROUPED),
        (config.held_importance, Flag.HELD),
        (config.local_values, Flag.LOCAL_VALUES),
        (config.progressive, Flag.PROGRESSIVE),
        (config.chosen_values, Flag.CHOSEN_VALUES),
        (config.head_pruning, Flag.HEADS_CHAINED | Flag.HEAD_REPORT),
    ):
        if not possible:
            known &= ~flags
    for has, flags in codes:
        if has:
            needed |= flags
    return known, needed


def field_failures(config: Config, case: Case) -> Iterator[ErrorCode]:
    f, before = case.fields, case.before
    known, needed = served(config)
    flags = f["flags"]
    chained = flags & Flag.CHAINED
    carried = chained and before["valid"] and before["cumulative"]
    query_chained = flags & Flag.QUERY_CHAINED
    twice = chained and flags & Flag.KEY_LIST
    twice |= query_chained and (not chained or flags & Flag.QUERY_LIST)
    twice |= query_chained and flags & Flag.GROUPED
    twice |= flags & Flag.CHOSEN_VALUES and not flags & Flag.LOCAL_VALUES
    protects = f.get("protect_first", 0) or f.get("protect_last", 0)
    if flags & Flag.HELD:
        twice |= flags & (Flag.CHAINED | Flag.CUMULATIVE | Flag.REPORT)
    else:
        twice |= bool(protects)
    if not config.held_importance:
        twice |= bool(f.get("held", 0))
    if not config.head_pruning:
        twice |= any(f.get(name, 0) for name in ("keep_heads", "stored_heads", "head_report"))
    if not config.bias_heads:
        twice |= bool(f.get("key_bias", 0))
    lost = flags & Flag.CUMULATIVE and not flags & Flag.FRESH and not carried
    shifted = f["output_shift"] > (7 if flags & Flag.CODES else 0)
    window = f.get("window", 0)
    windowed = 1 <= window <= 65536 if flags & Flag.WINDOW else not window
    share = f.get("value_share", 0)
    windowed &= 1 <= share <= 255 if flags & Flag.LOCAL_VALUES else not share
    windowed &= bool(flags & Flag.PROGRESSIVE) or not f.get("flat_sum", 0)
    begins = bool(f.get("key_start", 0))
    if config.merge_rows:
        begins = begins and bool(flags & (Flag.CHAINED | Flag.KEY_LIST))
    segment = flags & (Flag.CONTINUES | Flag.HOLDS) if config.merge_rows else 0
    unserved = flags & ~int(known) or needed & ~flags
    if unserved or case.reserved or shifted or lost or twice or begins or not windowed:
        yield ErrorCode.FLAGS
    if f["heads"] == 0:
        yield ErrorCode.NO_HEADS
    if f["heads"] > config.heads:
        yield ErrorCode.TOO_MANY_HEADS
    if f["kv_heads"] == 0 or f["heads"] % f["kv_heads"]:
        yield ErrorCode.KV_HEADS
    if not f["queries"] or not f["stored"] or not f["tokens"]:
        yield ErrorCode.NO_TOKENS
    rows = f["queries"]
    if flags & Flag.GROUPED and f["kv_heads"] and f["heads"] <= config.heads:
        rows *= f["heads"] // f["kv_heads"]
    if max(f["queries"], rows, f["tokens"]) > config.n_max:
        yield ErrorCode.TOO_MANY_TOKENS
    if chained:
        counts = (f["stored"], f["tokens"], f["four_bit"])
        fits = before["valid"] and counts == (before["tokens"], before["k0"], 0)
    else:
        end = f.get("key_start", 0) + f["tokens"]
        some = (flags & Flag.KEY_LIST or config.merge_rows) and end < f["stored"]
        fits = (some or end == f["stored"]) and f["four_bit"] <= f["tokens"]
    if not fits:
        yield ErrorCode.TOKENS
    if not segment and not 1 <= f["k0"] <= f["tokens"]:
        yield ErrorCode.K0
    if f["k1"] > f["k0"]:
        yield ErrorCode.K1
    if f["next"] and f["next"] <= case.address:
        yield ErrorCode.CHAIN
    if query_chained:
        fits = before["valid"] and (f["queries"], f["query_four_bit"]) == (before["k0"], 0)
    else:
        fits = f["query_four_bit"] <= f["queries"]
    if not fits:
        yield ErrorCode.QUERIES
    if not f["stored"] <= f["capacity"] <= config.positions:
        yield ErrorCode.CAPACITY
    if query_chained or flags & Flag.QUERY_LIST:
        if f["query_start"]:
            yield ErrorCode.POSITIONS
    elif f["query_start"] + f["queries"] > config.positions:
        yield ErrorCode.POSITIONS
    if config.head_pruning:
        yield from head_failures(case)
    if config.bias_heads and flags & Flag.KEY_BIAS and flags & Flag.GROUPED and f["kv_heads"]:
        group = f["heads"] // f["kv_heads"]
        yield from [ErrorCode.BIAS_HEADS] * (group > config.bias_heads)
    shares = f["heads"] != f["kv_heads"] and not flags & Flag.GROUPED
    if config.progressive and flags & Flag.PROGRESSIVE and (rows > config.rows or shares):
        yield ErrorCode.PROGRESSIVE
    if config.chosen_values and flags & Flag.CHOSEN_VALUES and (rows > config.rows or shares):
        yield ErrorCode.CHOSEN_VALUES
    if not config.merge_rows:
        return
    same = all(f[name] == before.get(name, 0) for name in ("heads", "kv_heads", "queries"))
    if config.grouped:
        same = same and bool(flags & Flag.GROUPED) == bool(before.get("grouped", 0))
    continues, holds = (bool(flags & which) for which in (Flag.CONTINUES, Flag.HOLDS))
    broken = continues != bool(before.get("holds", 0)) or (continues and not same)
    if broken or (holds and not f["next"]) or (segment and chained):
        yield ErrorCode.SEGMENT
    ranking = Flag.IDS | Flag.REPORT | Flag.CUMULATIVE | Flag.FRESH | Flag.COUNT
    if segment and (f["k0"] or flags & ranking):
        yield ErrorCode.SEGMENT_IMPORTANCE
    if segment and f["heads"] * f["queries"] > config.merge_rows:
        yield ErrorCode.MERGE_ROWS


def head_failures(case: Case) -> Iterator[ErrorCode]:
    f, before = case.fields, case.before
    stored, keep = f.get("stored_heads", 0), f.get("keep_heads", 0)
    fits = not stored
    if f["flags"] & Flag.HEADS_CHAINED:
        left = (before.get("heads", 0), before.get("keep_heads", 0))
        fits = before["valid"] and (stored, f["heads"]) == left and f["kv_heads"] == f["heads"]
    if not fits:
        yield ErrorCode.HEADS
    if keep > f["heads"] or (not keep and f["flags"] & Flag.HEAD_REPORT):
        yield ErrorCode.KEEP_HEADS


def regions(config: Config, fields: Mapping[str, int]) -> list[tuple[str, int, bool]]:
    """Return what is accessed, in the order in which it is checked."""
    found = list(region_sizes(fields, config.d_head))
    written = next((i for i, (_, _, write) in enumerate(found) if write), len(found))
    if fields["next"]:
        found.insert(written, ("next", SIZE, False))
    return found


def verdict(config: Config, case: Case) -> tuple[ErrorCode, int]:
    """Return the error and the address that it is about."""
    for code in field_failures(config, case):
        return code, case.address
    for name, size, write in regions(config, case.fields):
        first, end = WRITE if write else READ
        at = case.fields[name]
        if at % 64:
            return ErrorCode.ALIGNMENT, at
        if not first <= at <= at + size <= end:
            return ErrorCode.WRITE_WINDOW if write else ErrorCode.READ_WINDOW, at
    return ErrorCode.NONE, case.address


def latency(config: Config, case: Case) -> int:
    code, at = verdict(config, case)
    f = case.fields
    divides = f["kv_heads"] and f["heads"] <= config.heads
    cycles = 4 + (f["heads"] // f["kv_heads"] if divides else 0)
    if any(True for _ in field_failures(config, case)):
        return cycles
    if code == ErrorCode.NONE:
        return cycles + 3 * (14 + config.head_pruning + (config.bias_heads > 0))
    failing = next(name for name, *_ in regions(config, f) if f[name] == at)
    written = {
        "output": 11 if f["flags"] & Flag.CODES else 10,
        "ids": 12,
        "importance": 13,
        "head_report": 14,
    }
    more = config.bias_heads > 0
    places = [*PLACES[:-1], *(["key_bias"] if more else []), PLACES[-1]]
    place = places.index(failing) if failing in places else written[failing] + more
    return cycles + 3 * (place + 1)


def check(config: Config, cases: list[Case]) -> list[ErrorCode]:
    """Compare the checker with :func:`verdict`, case by case, and return what it says."""
    system = SystemConfig(core=config, address_bits=ADDRESS_BITS)
    dut = Checker(system)
    codes = []

    async def testbench(ctx) -> None:
        for window, (first, end) in ((dut.read_window, READ), (dut.write_window, WRITE)):
            ctx.set(window, {"base": first >> 12, "limit": (end - 1) >> 12})
        for case in cases:
            raw = int.from_bytes(pack(case.fields), "little") | case.reserved
            ctx.set(dut.descriptor.as_value(), raw)
            ctx.set(dut.address, case.address)
            ctx.set(dut.before, case.before)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for _ in range(latency(config, case) - 1):
                assert not ctx.get(dut.done), case
                await ctx.tick()
            assert ctx.get(dut.done), case
            code, address = verdict(config, case)
            assert (ctx.get(dut.error), ctx.get(dut.error_address)) == (code, address), case
            if code in (ErrorCode.NONE, ErrorCode.READ_WINDOW, ErrorCode.WRITE_WINDOW):
                group = case.fields["heads"] // case.fields["kv_heads"]
                assert ctx.get(dut.repeats) == group, case
            await ctx.tick()
            assert not ctx.get(dut.done), case
            codes.append(code)

    run(dut, testbench, deadline=90 * len(cases))
    return codes
