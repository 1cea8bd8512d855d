"""Layers whose heads are one row block: keys in 4 bits first, or values that are chosen."""

from checker_model import FULL, GOOD, TRIED, Case, check, field_failures
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.memory.checker import Checker
from dtqatten.interface.descriptor import Flag, pack
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.engines.native import run

FLAGS = GOOD["flags"] | Flag.PROGRESSIVE
#: Twelve heads of three queries on six heads of K and V.
GROUPED = GOOD | {
    "flags": FLAGS | Flag.GROUPED, "heads": 12, "kv_heads": 6, "queries": 20,
    "query_four_bit": 2, "flat_sum": 655350,
}  # fmt: skip
OWN = GROUPED | {"flags": FLAGS, "kv_heads": 12, "queries": 40}


def codes(cases: list[Case]) -> list[ErrorCode]:
    """Return what the checker says, whenever it does."""
    dut = Checker(SystemConfig(core=TRIED, address_bits=20))
    found = []

    async def testbench(ctx) -> None:
        for window, pages in ((dut.read_window, (2, 0x13)), (dut.write_window, (0x20, 0x2F))):
            ctx.set(window, {"base": pages[0], "limit": pages[1]})
        for case in cases:
            ctx.set(dut.descriptor.as_value(), int.from_bytes(pack(case.fields), "little"))
            ctx.set(dut.address, case.address)
            ctx.set(dut.before, case.before)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while not ctx.get(dut.done):
                await ctx.tick()
            found.append(ErrorCode(ctx.get(dut.error)))
            wanted = [*field_failures(TRIED, case), ErrorCode.NONE]
            assert found[-1] == wanted[0], case
            await ctx.tick()

    run(dut, testbench, deadline=200 * len(cases))
    return found


def test_heads_that_are_tried_are_one_row_block() -> None:
    good = [GROUPED, OWN, OWN | {"flat_sum": 0}, OWN | {"flat_sum": 0xFFFFFFFF}]
    # Without the flag, heads are as long as ever.
    good.append(OWN | {"flags": GOOD["flags"], "queries": 41, "flat_sum": 0})
    bad = [
        (ErrorCode.PROGRESSIVE, GROUPED | {"queries": 21}),
        (ErrorCode.PROGRESSIVE, OWN | {"queries": 41}),
        (ErrorCode.PROGRESSIVE, OWN | {"kv_heads": 6, "queries": 20}),
        (ErrorCode.TOO_MANY_TOKENS, GROUPED | {"queries": 51, "query_start": 0}),
        (ErrorCode.FLAGS, OWN | {"flags": GOOD["flags"]}),
    ]
    said = codes([Case(fields) for fields in (*good, *(fields for _, fields in bad))])
    assert said == [ErrorCode.NONE] * len(good) + [code for code, _ in bad]


def test_without_the_option_nothing_of_it_is_known() -> None:
    none = [Case(GOOD | {"flags": FLAGS, "queries": 2}), Case(GOOD | {"flat_sum": 1})]
    assert set(check(FULL, none)) == {ErrorCode.FLAGS}


def test_heads_that_choose_values_are_one_row_block() -> None:
    flags = GOOD["flags"] | Flag.LOCAL_VALUES | Flag.CHOSEN_VALUES
    none = {"flat_sum": 0, "value_share": 90}
    grouped = GROUPED | none | {"flags": flags | Flag.GROUPED}
    own = OWN | none | {"flags": flags}
    good = [grouped, own, own | {"value_share": 1}, own | {"flags": flags | Flag.PROGRESSIVE}]
    # Without the flag, heads are as long as ever.
    good.append(own | {"flags": flags & ~Flag.CHOSEN_VALUES, "queries": 41})
    bad = [
        (ErrorCode.CHOSEN_VALUES, grouped | {"queries": 21}),
        (ErrorCode.CHOSEN_VALUES, own | {"queries": 41}),
        (ErrorCode.CHOSEN_VALUES, own | {"kv_heads": 6, "queries": 20}),
        (ErrorCode.PROGRESSIVE, own | {"flags": flags | Flag.PROGRESSIVE, "queries": 41}),
        (ErrorCode.FLAGS, own | {"flags": flags & ~Flag.LOCAL_VALUES, "value_share": 0}),
        (ErrorCode.FLAGS, own | {"value_share": 0}),
    ]
    said = codes([Case(fields) for fields in (*good, *(fields for _, fields in bad))])
    assert said == [ErrorCode.NONE] * len(good) + [code for code, _ in bad]
    unknown = Case(GOOD | {"flags": flags, "value_share": 90, "queries": 2})
    assert check(FULL, [unknown]) == [ErrorCode.FLAGS]
