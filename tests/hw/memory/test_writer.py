"""Results of layers: every byte where it belongs, and complete only when acknowledged."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts
from dtqatten.golden.numerics.order import aligned, alternate
from dtqatten.hw.memory.output_runs import OutputRuns
from dtqatten.hw.memory.writer import Writer
from dtqatten.sim.engines.native import collect, offer, run, watch
from dtqatten.sim.lockstep.port_memory import PortMemory
from dtqatten.sim.lockstep.row_table import id_beats

CORES = {
    "one pass": Config(rows=3, cols=8, depth=2, d_head=8, n_max=10, heads=4, topk_lanes=4),
    "full passes": Config(rows=2, cols=4, depth=2, d_head=16, n_max=7, heads=4, topk_lanes=2),
    "a tail": Config(rows=3, cols=6, depth=2, d_head=16, n_max=7, heads=3, topk_lanes=8),
    "a channel a beat": Config(rows=1, cols=1, depth=1, d_head=8, n_max=4, topk_lanes=1),
}


def row_blocks(core: Config, tokens: int, four_bit: int) -> list[list[int]]:
    """Return the slots of each row block, in the order in which they come."""
    order = alternate(aligned(four_bit, tokens, core.rows), tokens, core.rows).tolist()
    return [order[at : at + core.rows] for at in range(0, tokens, core.rows)]


def places(
    core: Config, base: int, heads: int, tokens: int, four_bit: int, size: int
) -> list[tuple[int, int]]:
    """Return runs of an output ``[heads][tokens][d_head]`` of ``size`` bytes a value."""
    row = core.d_head * size
    found = []
    for head in range(heads):
        for slots in row_blocks(core, tokens, four_bit):
            if core.channel_passes == 1:
                found.append((base + (head * tokens + slots[0]) * row, len(slots) * row))
                continue
            found += [
                (
                    base + (head * tokens + slot) * row + first * size,
                    (min(first + core.cols, core.d_head) - first) * size,
                )
                for first in range(0, core.d_head, core.cols)
                for slot in slots
            ]
    return found


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", CORES)
def test_runs_of_outputs(name: str, stall: float) -> None:
    core = CORES[name]
    system = SystemConfig(core=core, bus_bits=64, address_bits=20)
    rng = np.random.default_rng(0)
    dut = OutputRuns(system)
    most, block = core.n_max, core.rows
    shapes = [(1, 1, 0, 0), (1, most, most, 1), (core.heads, most, most // 2, 0), (2, block, 0, 1)]
    shapes += [(2, min(block + 1, most), block, 0)]
    layers = [(4096 * i + 64, *shape) for i, shape in enumerate(shapes)]
    expected = [places(core, base, h, n, n4, 2 - codes) for base, h, n, n4, codes in layers]
    count = sum(map(len, expected))
    taken, sink = collect(dut.o, count, rng, stall, lambda p: (p.address, p.size))
    passed, monitor = watch(dut.o)
    started = []

    async def testbench(ctx) -> None:
        cycle = 0
        for base, heads, tokens, four, codes in layers:
            assert ctx.get(dut.idle)
            four_bit = aligned(four, tokens, core.rows)
            for port, value in ((dut.base, base), (dut.heads, heads), (dut.queries, tokens),
                                (dut.four_bit, four_bit), (dut.codes, codes),
                                (dut.start, 1)):  # fmt: skip
                ctx.set(port, value)
            started.append(cycle)
            await ctx.tick()
            cycle += 1
            ctx.set(dut.start, 0)
            while not ctx.get(dut.idle):
                await ctx.tick()
                cycle += 1

    run(dut, testbench, sink, background=[monitor])
    assert taken == [given for each in expected for given in each]
    if not stall:
        cycles = iter(cycle for cycle, _ in passed)
        for start, each in zip(started, expected, strict=True):
            assert [next(cycles) for _ in each] == [start + 4 + i for i in range(len(each))]


def output_beats(core: Config, values: np.ndarray, four_bit: int) -> list[dict]:
    """Return the beats of ``values [heads, tokens, d_head]``, as the normalizer gives them."""
    lanes = core.output_lanes
    beats = []
    for head in values:
        for slots in row_blocks(core, len(head), four_bit):
            for first in range(0, core.d_head, core.cols):
                for row in head[slots, first : first + core.cols]:
                    parts = (row[i : i + lanes].tolist() for i in range(0, len(row), lanes))
                    beats += [{"values": part, "channels": len(part)} for part in parts]
    return beats


def importance_beats(core: Config, values: np.ndarray) -> list[dict]:
    lanes = core.topk_lanes
    beats = [
        {"scores": part.tolist(), "tokens": len(part)}
        for part in (values[i : i + lanes] for i in range(0, len(values), lanes))
    ]
    beats[-1]["last"] = 1
    return beats


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(
    ("name", "bits"),
    [("one pass", 64), ("full passes", 128), ("a tail", 512), ("a channel a beat", 64)],
)
def test_results_of_layers(name: str, bits: int, stall: float) -> None:
    core = CORES[name]
    system = SystemConfig(core=core, bus_bits=bits, burst_beats=4, buffer_bursts=2, address_bits=20)
    rng = np.random.default_rng(bits)
    memory = PortMemory(system, rng.bytes(1 << 16), rng, stall)
    expected = bytearray(memory.data)
    wanted: list[list] = [[], [], []]
    beats: dict[str, list] = {"outputs": [], "ids": [], "importance": []}
    layers = []
    full = core.n_max
    # heads, tokens, kept, codes, ids, report
    shapes = [(1, 1, 1, 0, 1, 1), (2, full, full, 1, 0, 0), (core.heads % 5, full, 1, 0, 1, 0)]
    for i, (heads, tokens, k0, codes, write_ids, report) in enumerate(
        [*shapes, (2, full - 1, full - 1, 1, 1, 1), (1, 2, 1, 0, 0, 1)]
    ):
        base = 8192 * i + 4096 - 64  # the outputs cross a page
        places_ = {"output": base, "ids": base + 6144, "importance": base + 6144 + 256}
        # Queries and keys are as many, or not.
        queries = tokens if i % 2 else int(rng.integers(1, full + 1))
        four_bit = int(rng.integers(0, queries + 1))
        layers.append({**places_, "form": {"codes": codes, "shift": 0}, "heads": heads or 1,
                       "queries": queries, "query_four_bit": four_bit, "write_ids": write_ids,
                       "k0": k0, "tokens": tokens, "report": report})  # fmt: skip
        limit = 128 if codes else 1 << 15
        values = rng.integers(-limit, limit, (heads or 1, queries, core.d_head))
        ids = np.sort(rng.permutation(tokens)[:k0])
        shares = rng.integers(0, 1 << 32, tokens, np.uint32)
        beats["outputs"] += output_beats(core, values, four_bit)
        beats["ids"] += id_beats(ids.tolist(), int(rng.integers(0, k0 + 1)), core.topk_lanes)
        raw = values.astype("<i1" if codes else "<i2").tobytes()
        expected[base : base + len(raw)] = raw
        for given in places(core, base, heads or 1, queries, four_bit, 2 - codes):
            wanted[0] += bursts(system, *given, narrow_transfers=False)
        halves, words = ids.astype("<u2"), shares.astype("<u4")
        for number, which, asked, data in (
            (1, "ids", write_ids, halves),
            (2, "importance", report, words),
        ):
            if asked:
                at = places_[which]
                expected[at : at + data.nbytes] = data.tobytes()
                wanted[number] += bursts(system, at, data.nbytes, narrow_transfers=False)
        if report:
            beats["importance"] += importance_beats(core, shares)
    dut = Writer(system)
    found, ports = zip(*map(memory.writes, dut.ports), strict=True)
    accepted, layer_monitor = watch(dut.layer)
    done: list[int] = []

    async def bus(ctx) -> None:
        """Answer some cycles after the last word; note when a layer is done."""
        cycle, quiet = 0, 0
        while True:
            # Words of a burst just requested are still to come.
            ctx.set(dut.answered, int(memory.unwritten == 0 and quiet >= 3))
            quiet = 0 if memory.unwritten else quiet + 1
            *_, finished, answered = await ctx.tick().sample(dut.done, dut.answered)
            assert not finished or answered
            if finished:
                done.append(cycle)
            cycle += 1

    async def last(ctx) -> None:
        while len(done) < len(layers):
            await ctx.tick()
        await ctx.tick()
        assert ctx.get(dut.idle)

    sources = [offer(getattr(dut, which), beats[which], rng, stall) for which in beats]
    run(
        dut, offer(dut.layer, layers, rng, stall), last, *sources,
        background=[*ports, layer_monitor, bus], deadline=30_000,
    )  # fmt: skip
    assert list(found) == wanted
    assert memory.data == expected
    starts = [cycle for cycle, _ in accepted]
    if not stall:  # the next layer waits at the door
        assert starts[1:] == [cycle + 1 for cycle in done[:-1]]


@pytest.mark.parametrize("missing", ["outputs", "ids", "importance", "answered"])
def test_a_layer_is_not_done_while_anything_is_missing(missing: str) -> None:
    core = CORES["one pass"]
    system = SystemConfig(core=core, bus_bits=64, burst_beats=4, address_bits=20)
    rng = np.random.default_rng(0)
    memory = PortMemory(system, bytes(8192), rng)
    layer = {"output": 0, "form": {"codes": 0}, "heads": 1, "queries": 3, "tokens": 3,
             "ids": 4096, "write_ids": 0, "k0": 2, "importance": 5120, "report": 1}  # fmt: skip
    given = {
        "outputs": output_beats(core, np.ones((1, 3, 8), int), 0),
        "ids": id_beats([0, 2], 1, 4),
        "importance": importance_beats(core, np.arange(3)),
    }
    dut = Writer(system)

    async def testbench(ctx) -> None:
        ctx.set(dut.answered, int(missing != "answered"))
        await offer(dut.layer, [layer], rng)(ctx)
        for name, beats in given.items():
            # All but the last beat of what is missing; ids that nobody wants are waited for, too.
            await offer(getattr(dut, name), beats[: len(beats) - (name == missing)], rng)(ctx)
        for _ in range(40):
            assert not ctx.get(dut.done)
            assert not ctx.get(dut.idle)
            assert not ctx.get(dut.layer.ready)
            await ctx.tick()
        if missing == "answered":
            ctx.set(dut.answered, 1)
        else:
            await offer(getattr(dut, missing), given[missing][-1:], rng)(ctx)
        while not ctx.get(dut.done):
            await ctx.tick()
        await ctx.tick()
        assert not ctx.get(dut.done)
        assert ctx.get(dut.idle)
        assert ctx.get(dut.layer.ready)

    run(dut, testbench, background=[bench for _, bench in map(memory.writes, dut.ports)])
