"""Around the choice of heads: when a layer starts, and with which; what is written of it."""

import numpy as np
import pytest

from controller_bench import CORE, GOOD, bench, chain
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts
from dtqatten.hw.memory.layer_commands import LayerCommands
from dtqatten.hw.memory.region_check import RegionCheck, regions_of
from dtqatten.hw.memory.writer import Writer
from dtqatten.interface.descriptor import Flag, pack
from dtqatten.sim.engines.native import offer, run
from dtqatten.sim.lockstep.port_memory import PortMemory

SYSTEM = SystemConfig(
    core=CORE.replace(head_pruning=True),
    bus_bits=64,
    burst_beats=4,
    buffer_bursts=2,
    address_bits=20,
)
FIRST = GOOD | {"flags": Flag(0), "kv_heads": 4, "keep_heads": 4}
#: All four heads stay; then three of them; then a layer of its own.
LAYERS = (
    FIRST,
    FIRST | {"flags": Flag.HEADS_CHAINED, "stored_heads": 4, "keep_heads": 3},
    FIRST | {"flags": Flag.HEADS_CHAINED, "stored_heads": 4, "heads": 3, "kv_heads": 3,
             "keep_heads": 1},
    FIRST | {"keep_heads": 0},
)  # fmt: skip


def test_a_layer_waits_for_its_heads_and_only_for_a_choice() -> None:
    b, _, port = bench(chain(0x40, *LAYERS), system=SYSTEM)
    dut = b.dut
    taken, starts = [], []

    async def ranker(ctx) -> None:
        """Take layers, each for long; between them say that heads 0, 2 and 3 are left."""
        left = 0
        while True:
            ctx.set(dut.ranked_layers.ready, int(left == 0))
            ctx.set(dut.ranked, int(left == 0))
            ctx.set(dut.kept, 0b1101 if left == 0 else 0)
            *_, valid, layer, start, kept = await ctx.tick().sample(
                dut.ranked_layers.valid, dut.ranked_layers.p, dut.start, dut.kept_heads
            )
            if start:
                starts.append((b.cycle, kept))
            if valid and left == 0:
                taken.append((layer.heads, layer.keep, layer.chained, layer.report))
                left = 400
                times.append(b.cycle)
            left = max(0, left - 1)

    times: list[int] = []

    async def testbench(ctx) -> None:
        await b.begin(ctx, 0x40)
        await b.end(ctx)

    b.run(testbench, port, ranker)
    # The chain does not wait for the last one to be ranked.
    assert taken == [(4, 4, 0, 0), (4, 3, 1, 0), (4, 1, 1, 0)]
    assert [kept for _, kept in starts] == [0b1111, 0b1111, 0b1101, 0b1111]
    cycles = [cycle for cycle, _ in starts]
    # The second one has all heads: it does not wait. The third waits for those of the second, which
    # are ranked after those of the first; the fourth for its place alone.
    assert cycles[1] < times[0] + 400
    assert times[1] + 400 <= cycles[2] <= times[1] + 410
    assert times[2] < cycles[3] < times[2] + 400


@pytest.mark.parametrize("chained", [0, Flag.HEADS_CHAINED])
@pytest.mark.parametrize("report", [0, Flag.HEAD_REPORT])
def test_fields_and_flags(chained: int, report: int) -> None:
    dut = LayerCommands(SYSTEM)
    fields = {"heads": 3, "stored_heads": 4, "keep_heads": 2, "head_report": 0x4440}

    async def testbench(ctx) -> None:
        raw = int.from_bytes(pack(fields | {"flags": chained | report}), "little")
        ctx.set(dut.layer.as_value(), raw)
        writer, heads = ctx.get(dut.for_writer), ctx.get(dut.for_heads)
        assert heads.heads == writer.stored_heads == (4 if chained else 3)
        assert (heads.keep, writer.head_report) == (2, 0x4440)
        assert (heads.chained, heads.report) == (bool(chained), bool(report))
        assert writer.report_heads == bool(report)
        assert writer.heads == 3

    run(dut, testbench)


@pytest.mark.parametrize("chained", [0, Flag.HEADS_CHAINED])
def test_regions_have_all_heads_in_memory(chained: int) -> None:
    """Those that are written have the ones that are computed; a report has all."""
    dut = RegionCheck(SYSTEM)
    fields = {"heads": 3, "kv_heads": 3, "stored_heads": 4, "queries": 8, "stored": 8}
    fields |= {"capacity": 8, "tokens": 8, "k0": 3}
    fields |= {"flags": chained | Flag.HEAD_REPORT | Flag.V_GAINS, "next": 0}
    heads = 4 if chained else 3
    last = regions_of(SYSTEM.core) - 1
    sizes = {0: ("q", heads * 64), 1: ("k", heads * 64), 2: ("v", heads * 64)}
    sizes |= {3: ("head_table", heads * 8), 6: ("v_gains", heads * 8)}
    sizes |= {10: ("output", 3 * 128), last: ("head_report", heads * 8)}

    async def testbench(ctx) -> None:
        for window in (dut.read_window, dut.write_window):
            ctx.set(window, {"base": 0, "limit": 0})
        for index, (name, size) in sizes.items():
            for at, inside in ((4096 - size, True), (4096 - size + 1, False)):
                raw = int.from_bytes(pack(fields | {name: at}), "little")
                ctx.set(dut.descriptor.as_value(), raw)
                ctx.set(dut.index, index)
                await ctx.tick().repeat(3)
                assert ctx.get(dut.enabled)
                assert ctx.get(dut.written) == (index >= 10)
                assert ctx.get(dut.inside) == inside, name

    run(dut, testbench)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_reports_of_heads(stall: float) -> None:
    """A layer is done when its report is written; one that asks for none gets none."""
    rng = np.random.default_rng(1)
    memory = PortMemory(SYSTEM, bytes(8192), rng, stall)
    report = [(0xFFFFFFFF, 1), (7, 0xFFFF), (0x12345678, 0), (3, 2)]
    layer = {"output": 0, "form": {"codes": 1}, "heads": 1, "queries": 1, "tokens": 1,
             "query_four_bit": 0, "ids": 0, "write_ids": 0, "k0": 1, "importance": 0, "report": 0,
             "report_heads": 1, "stored_heads": 4, "head_report": 4096 - 16}  # fmt: skip
    dut = Writer(SYSTEM)
    found, ports = zip(*map(memory.writes, dut.ports), strict=True)
    channels = {"channels": CORE.output_lanes, "values": [0] * CORE.output_lanes}
    beats = [
        {"importance": importance, "rank": rank, "last": i == 3}
        for i, (importance, rank) in enumerate(report)
    ]
    states = []

    async def testbench(ctx) -> None:
        for number, one in enumerate((layer, layer | {"report_heads": 0, "output": 64})):
            await offer(dut.layer, [one], rng)(ctx)
            await offer(dut.ids, [{"ids": [0], "count": 1, "precision": 0, "last": 1}], rng)(ctx)
            for _ in range(CORE.d_head // CORE.output_lanes):
                await offer(dut.outputs, [channels], rng)(ctx)
            if not number:
                await offer(dut.heads, beats[:3], rng, stall)(ctx)
                await ctx.tick().repeat(40)
                assert not ctx.get(dut.idle)
                await offer(dut.heads, beats[3:], rng, stall)(ctx)
            while not ctx.get(dut.idle):
                ctx.set(dut.answered, int(memory.unwritten == 0))
                await ctx.tick()
            states.append(number)

    run(dut, testbench, background=ports)
    raw = b"".join(i.to_bytes(4, "little") + r.to_bytes(4, "little") for i, r in report)
    assert bytes(memory.data[4096 - 16 : 4096 + 16]) == raw
    assert found[3] == list(bursts(SYSTEM, 4096 - 16, 32, narrow_transfers=False))
    assert states == [0, 1]
