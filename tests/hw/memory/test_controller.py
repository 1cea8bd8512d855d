"""The controller: chains in order, and what it refuses before it reads."""

import pytest

from controller_bench import (
    CORE,
    FOUR_BIT,
    GOOD,
    LAYERS,
    SYSTEM,
    bench,
    chain,
    check_end,
    expected_command,
    expected_results,
    expected_start,
)
from dtqatten.golden.memory import bursts, descriptor_reads
from dtqatten.interface.descriptor import HEAD_BYTES
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize(
    ("stall", "delay", "writing"), [(0.0, 0, 0), (0.5, 5, 0), (0.3, 100, 0), (0.0, 3, 300)]
)
@pytest.mark.parametrize("count", [1, 3])
def test_a_chain_in_its_order(count: int, stall: float, delay: int, writing: int) -> None:
    first = 4096 - 64  # across a page
    layers = LAYERS[:count]
    b, found, port = bench(chain(first, *layers), count, stall, delay)
    b.writing = writing

    async def testbench(ctx) -> None:
        for _ in range(2):  # the second time as the first
            found.clear()
            await b.begin(ctx, first)
            await b.end(ctx)
            last = first + 320 * (count - 1)
            assert found == [
                burst for i in range(count) for burst in descriptor_reads(SYSTEM, first + 320 * i)
            ]
            assert b.starts == [
                expected_start(layer, at and first + 320 * at, four_bit)
                for layer, at, four_bit in zip(
                    layers, [*range(1, count), 0], FOUR_BIT, strict=False
                )
            ]
            assert b.results == [
                expected_results(layer, four_bit[1])
                for layer, four_bit in zip(layers, FOUR_BIT, strict=False)
            ]
            assert b.commands == [expected_command(layer) for layer in layers]
            assert ctx.get(b.dut.layers_done) == count == len(b.pulses["completed"])
            assert ctx.get(b.dut.current) == last
            assert b.pulses.keys() == {"start", "completed", "ended"}
            assert b.pulses["completed"][-1] < b.pulses["ended"][0]

    b.run(testbench, port)


def test_latency_and_the_next_descriptor_is_read_meanwhile() -> None:
    b, found, port = bench(chain(0x40, *LAYERS))
    requested: list[int] = []

    async def requests(ctx) -> None:
        request = b.dut.port.request
        while True:
            *_, valid, ready = await ctx.tick().sample(request.valid, request.ready)
            if valid and ready:
                requested.append(b.cycle)

    async def testbench(ctx) -> None:
        await b.begin(ctx, 0x40)
        await b.end(ctx)

    run(
        b.dut, testbench,
        background=[requests, port, b.fetcher, b.writer, b.core, b.observe],
    )  # fmt: skip
    per_descriptor = len(found) // 3
    # From the command, in cycle 0, to the first request; from a start to the next one.
    assert requested[0] == 5
    assert requested[per_descriptor] == b.pulses["start"][0] + 5
    # Words of 64 bits follow the memory's and the stream's cycles: the head's, and 6 cycles later
    # the next request; then those of the whole; then the check.
    for i, repeats in enumerate((2, 3, 2)):
        head, asked = requested[i * per_descriptor :][:2]
        assert asked == head + (1 + 3 + 1) - 1 + 6
        assert b.pulses["start"][i] == asked + (1 + 3 + 32) - 1 + repeats + 49


def test_memory_that_nobody_has_written_is_no_descriptor() -> None:
    b, found, port = bench(bytes(0x4000))

    async def testbench(ctx) -> None:
        await b.begin(ctx, 0x80)
        await b.end(ctx)
        check_end(ctx, b, ErrorCode.VERSION, 0x80, 0)
        assert found == list(bursts(SYSTEM, 0x80, HEAD_BYTES))

    b.run(testbench, port)


@pytest.mark.parametrize(
    "windows",
    [
        {"read_base": 1},
        {"read_base": 0x800},
        {"read_base": 1 << 20},
        {"read_base": 1 << 63},
        {"read_limit": 0x3FFE},
        {"read_limit": 0x37FF},
        {"read_limit": 0},
        {"read_limit": (1 << 20) + 0x3FFF},
        {"read_limit": (1 << 64) - 1},
        {"write_base": 0x10001},
        {"write_base": (1 << 40) + 0x10000},
        {"write_limit": 0x13FFE},
        {"write_limit": (1 << 63) + 0x13FFF},
    ],
)
def test_windows_are_pages_of_the_address_space(windows: dict[str, int]) -> None:
    b, found, port = bench(chain(0x80, LAYERS[0]))
    b.windows = windows

    async def testbench(ctx) -> None:
        await b.begin(ctx, 0x80)
        await b.end(ctx)
        check_end(ctx, b, ErrorCode.WINDOW, *windows.values(), 0)
        assert not found
        b.windows = {}
        await b.begin(ctx, 0x80)
        await b.end(ctx)
        assert ctx.get(b.dut.layers_done) == 1

    b.run(testbench, port)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_nothing_lies_in_an_empty_window(kind: str) -> None:
    b, _, port = bench(chain(0x80, LAYERS[0]))
    b.windows = {f"{kind}_base": 0x1000, f"{kind}_limit": 0xFFF}
    code, where = {
        "read": (ErrorCode.READ_WINDOW, GOOD["q"]),
        "write": (ErrorCode.WRITE_WINDOW, GOOD["output"]),
    }[kind]

    async def testbench(ctx) -> None:
        await b.begin(ctx, 0x80)
        await b.end(ctx)
        check_end(ctx, b, code, where, 0)

    b.run(testbench, port)


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (0x81, ErrorCode.ALIGNMENT),
        (0xA0, ErrorCode.ALIGNMENT),
        (1 << 20, ErrorCode.READ_WINDOW),
        ((1 << 63) + 64, ErrorCode.READ_WINDOW),
        ((1 << 64) - 1, ErrorCode.ALIGNMENT),
    ],
)
def test_a_first_address_that_cannot_be_is_never_asked_for(first: int, code: ErrorCode) -> None:
    b, found, port = bench(chain(0x80, *LAYERS))
    b.drain = 7

    async def testbench(ctx) -> None:
        await b.begin(ctx, first)
        await b.end(ctx)
        check_end(ctx, b, code, first, 0)
        assert len(b.pulses["stop"]) == 7 + 1 + CORE.flush_cycles
        assert not found
        await b.begin(ctx, 0x80)  # and the next chain is as good as any
        await b.end(ctx)
        assert ctx.get(b.dut.layers_done) == 3

    b.run(testbench, port)


def test_commands_out_of_turn_are_ignored() -> None:
    b, found, port = bench(chain(0x80, LAYERS[0]), delay=20)

    async def testbench(ctx) -> None:
        for command in ("abort", "resume"):
            ctx.set(getattr(b.dut, command), 1)
            await ctx.tick()
            ctx.set(getattr(b.dut, command), 0)
            assert not ctx.get(b.dut.busy)
            assert not ctx.get(b.dut.aborted)
        await b.begin(ctx, 0x80)
        ctx.set(b.dut.first, 0x2000)
        for command in ("begin", "resume"):
            ctx.set(getattr(b.dut, command), 1)
        while ctx.get(b.dut.busy) and not b.starts:
            await ctx.tick()
        for command in ("begin", "resume"):
            ctx.set(getattr(b.dut, command), 0)
        await b.end(ctx)
        assert found == descriptor_reads(SYSTEM, 0x80)
        assert ctx.get(b.dut.layers_done) == 1

    b.run(testbench, port)
