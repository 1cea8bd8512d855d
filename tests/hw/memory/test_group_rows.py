"""Rows of grouped query heads: how many, where their classes part, and what is refused."""

import itertools

import pytest

from checker_model import ADDRESS, ADDRESS_BITS, GOOD, READ, WRITE
from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.numerics.order import aligned, query_tile
from dtqatten.hw.memory.checker import Checker
from dtqatten.hw.memory.group_rows import GroupRows
from dtqatten.interface.descriptor import Flag, pack
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.engines.native import run

CORE = Config(
    rows=6,
    cols=2,
    depth=2,
    d_head=8,
    n_max=100,
    heads=36,
    capacity=110,
    grouped=True,
    cumulative=True,
    held_importance=True,
)
HELD = Flag.HELD
#: A place in both windows of the checker's tests, if there is one; else in neither.
OUTSIDE = {"held": 0x2000}


@pytest.mark.parametrize("rows", [1, 4, 6, 7])
def test_rows_fill_whole_row_blocks(rows: int) -> None:
    dut = GroupRows(CORE.replace(rows=rows))
    cases = [
        (group, queries, four_bit)
        for group, queries in itertools.product(range(1, 9), (1, 2, 7, 13))
        for four_bit in {0, 1, queries // 2, queries - 1, queries}
    ]

    async def testbench(ctx) -> None:
        for group, queries, four_bit in cases:
            ctx.set(dut.queries, queries)
            ctx.set(dut.four_bit, four_bit)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.step, 1)
            await ctx.tick().repeat(group)
            ctx.set(dut.step, 0)
            ctx.set(dut.finish, 1)
            cycles = 0
            while not ctx.get(dut.done):
                await ctx.tick()
                cycles += 1
            assert cycles < rows
            edge = aligned(four_bit, queries, query_tile(rows, group))
            assert edge == queries or edge * group % rows == 0
            found = [ctx.get(x) for x in (dut.group, dut.rows, dut.row_four_bit, dut.edge)]
            assert found == [group, queries * group, edge * group, edge]
            assert ctx.get(dut.over) == (queries * group > CORE.n_max)
            ctx.set(dut.finish, 0)

    run(dut, testbench)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"heads": 36, "kv_heads": 18, "queries": 50}, ErrorCode.NONE),
        ({"heads": 36, "kv_heads": 18, "queries": 51}, ErrorCode.TOO_MANY_TOKENS),
        ({"heads": 36, "kv_heads": 1, "queries": 2}, ErrorCode.NONE),
        (
            {"heads": 36, "kv_heads": 1, "queries": 3, "query_four_bit": 1},
            ErrorCode.TOO_MANY_TOKENS,
        ),
        ({"heads": 18, "kv_heads": 18, "queries": 100}, ErrorCode.NONE),
        ({"heads": 18, "kv_heads": 4, "queries": 1}, ErrorCode.KV_HEADS),
        ({"flags": 0, "heads": 36, "kv_heads": 18, "queries": 100}, ErrorCode.NONE),
        ({"flags": Flag.GROUPED | Flag.QUERY_CHAINED | Flag.CHAINED}, ErrorCode.FLAGS),
        ({"flags": 0, "protect_first": 1}, ErrorCode.FLAGS),
        ({"flags": 0, "protect_last": 1}, ErrorCode.FLAGS),
        ({"flags": HELD | Flag.REPORT} | OUTSIDE, ErrorCode.FLAGS),
        ({"flags": HELD | Flag.CUMULATIVE | Flag.FRESH} | OUTSIDE, ErrorCode.FLAGS),
        ({"flags": HELD | Flag.CHAINED} | OUTSIDE, ErrorCode.FLAGS),
        ({"flags": HELD, "held": 0x2004}, ErrorCode.ALIGNMENT),
        ({"flags": HELD, "held": 0x2000, "protect_first": 3}, ErrorCode.WRITE_WINDOW),
        ({"flags": HELD, "held": 0x2F000}, ErrorCode.READ_WINDOW),
    ],
)
def test_what_a_group_may_be(change: dict, code: ErrorCode) -> None:
    dut = Checker(SystemConfig(core=CORE, address_bits=ADDRESS_BITS))
    fields = GOOD | {"query_four_bit": 1, "flags": Flag.GROUPED} | change

    async def testbench(ctx) -> None:
        for window, (first, end) in ((dut.read_window, READ), (dut.write_window, WRITE)):
            ctx.set(window, {"base": first >> 12, "limit": (end - 1) >> 12})
        ctx.set(dut.descriptor.as_value(), int.from_bytes(pack(fields), "little"))
        ctx.set(dut.address, ADDRESS)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while not ctx.get(dut.done):
            await ctx.tick()
        assert ctx.get(dut.error) == code
        if code == ErrorCode.NONE:
            grouped = fields["flags"] & Flag.GROUPED
            group = fields["heads"] // fields["kv_heads"] if grouped else 1
            assert ctx.get(dut.rows.rows) == fields["queries"] * group
            assert ctx.get(dut.rows.heads) * group == fields["heads"]
            assert ctx.get(dut.rows.repeats) * fields["kv_heads"] == ctx.get(dut.rows.heads)

    run(dut, testbench)
