"""Layers whose keys have biases: as many query heads a group as have room, in the read window."""

import pytest

from checker_model import BIASED, FULL, GOOD, READ, Case, check, field_failures, regions
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.memory.checker import Checker
from dtqatten.interface.descriptor import Flag, pack
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.engines.native import run

FLAGS = GOOD["flags"] | Flag.KEY_BIAS
OWN = GOOD | {"flags": FLAGS, "key_bias": 0x2000}
#: Twelve heads, three a group.
GROUPED = OWN | {"flags": FLAGS | Flag.GROUPED, "heads": 12, "kv_heads": 4, "queries": 20}
GROUPS = FULL.replace(grouped=True, count_normalize=False, bias_heads=3)


def codes(cases: list[Case]) -> list[ErrorCode]:
    """Return what the checker of grouped heads says, whenever it does."""
    dut = Checker(SystemConfig(core=GROUPS, address_bits=20))
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
            assert found[-1] == [*field_failures(GROUPS, case), ErrorCode.NONE][0], case
            await ctx.tick()

    run(dut, testbench, deadline=200 * len(cases))
    return found


def test_a_group_has_as_many_query_heads_with_biases_as_there_is_room_for() -> None:
    good = [GROUPED, GROUPED | {"kv_heads": 6}, GROUPED | {"kv_heads": 12}]
    # Heads of the core that are not grouped have one each; without the flag there is no limit.
    good += [GROUPED | {"flags": FLAGS, "kv_heads": 1}]
    good += [GROUPED | {"flags": GOOD["flags"] | Flag.GROUPED, "kv_heads": 2, "queries": 9}]
    bad = [GROUPED | {"kv_heads": 3}, GROUPED | {"kv_heads": 2, "queries": 10},
           GROUPED | {"kv_heads": 1, "queries": 3, "query_four_bit": 3}]  # fmt: skip
    said = codes([Case(fields) for fields in (*good, *bad)])
    assert said == [ErrorCode.NONE] * len(good) + [ErrorCode.BIAS_HEADS] * len(bad)


def test_without_the_option_nothing_of_it_is_known() -> None:
    none = [Case(GOOD | {"flags": FLAGS}), Case(GOOD | {"key_bias": 0x2000}), Case(OWN)]
    assert set(check(FULL, none)) == {ErrorCode.FLAGS}


@pytest.mark.parametrize(("heads", "capacity"), [(36, 104), (36, 100), (18, 110)])
def test_two_bytes_of_each_query_head_and_place_are_read(heads: int, capacity: int) -> None:
    fields = OWN | {"heads": heads, "kv_heads": 18, "capacity": capacity}
    (size,) = [size for name, size, _ in regions(BIASED, fields) if name == "key_bias"]
    assert size == 2 * heads * capacity
    first, end = READ
    last = (end - size) // 64 * 64
    cases = {
        first: ErrorCode.NONE,
        last: ErrorCode.NONE,
        last + 64: ErrorCode.READ_WINDOW,
        first - 64: ErrorCode.READ_WINDOW,
        (1 << 64) - 64: ErrorCode.READ_WINDOW,
        first + 2: ErrorCode.ALIGNMENT,
    }
    assert check(BIASED, [Case(fields | {"key_bias": at}) for at in cases]) == [*cases.values()]
    # What its flag does not ask for may be anywhere.
    unused = fields | {"flags": GOOD["flags"], "key_bias": 1}
    assert check(BIASED, [Case(unused)]) == [ErrorCode.NONE]
