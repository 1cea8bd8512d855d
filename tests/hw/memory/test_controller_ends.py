"""The controller ends without loose ends, whatever happens and whenever."""

import pytest

from controller_bench import (
    FOUR_BIT,
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
from dtqatten.interface.descriptor import HEAD_BYTES, SIZE, pack
from dtqatten.interface.registers import ErrorCode


@pytest.mark.parametrize("bad", [0, 1, 2])
@pytest.mark.parametrize(
    ("code", "fields"),
    [(ErrorCode.K1, {"k1": 10}), (ErrorCode.VERSION, {"magic": 0}), (ErrorCode.READ_RESPONSE, {})],
)
@pytest.mark.parametrize("writing", [0, 300])
def test_an_error_in_a_descriptor_lets_the_layers_before_it_end(
    bad: int, code: ErrorCode, fields: dict[str, int], writing: int
) -> None:
    layers = [dict(layer) for layer in LAYERS]
    layers[bad] |= fields
    at = 0x80 + 320 * bad
    b, found, port = bench(chain(0x80, *layers), bad, 0.3, 3)
    b.writing = writing
    fails = next(bursts(SYSTEM, at, HEAD_BYTES)) if writing else descriptor_reads(SYSTEM, at)[-1]

    async def fault(ctx) -> None:
        while code == ErrorCode.READ_RESPONSE:
            await ctx.tick()
            if fails in found:
                ctx.set(b.dut.fault, code)
                ctx.set(b.dut.fault_address, at)
                ctx.set(b.dut.fault_ahead, 1)
                await ctx.tick()
                ctx.set(b.dut.fault, 0)
                ctx.set(b.dut.fault_ahead, 0)
                return

    async def testbench(ctx) -> None:
        await b.begin(ctx, 0x80)
        await b.end(ctx)
        assert len(b.starts) == bad
        assert b.results == [
            expected_results(layer, four_bit[1])
            for layer, four_bit in zip(LAYERS[:bad], FOUR_BIT, strict=False)
        ]
        assert len(b.pulses.get("completed", ())) == bad
        check_end(ctx, b, code, at, bad)

    b.run(testbench, port, fault)


@pytest.mark.parametrize("code", [ErrorCode.NONE, ErrorCode.WRITE_RESPONSE])
def test_what_runs_may_fail_while_an_error_ahead_is_held(code: ErrorCode) -> None:
    b, _, port = bench(chain(0x80, LAYERS[0], {"magic": 0}))
    b.writing = 300

    async def testbench(ctx) -> None:
        await b.begin(ctx, 0x80)
        await ctx.tick().repeat(200)
        assert ctx.get(b.dut.busy)
        assert not ctx.get(b.dut.stop)
        ctx.set(b.dut.fault, code)
        ctx.set(b.dut.fault_address, 0x10040)
        ctx.set(b.dut.abort, int(code == ErrorCode.NONE))
        await ctx.tick()
        ctx.set(b.dut.fault, 0)
        ctx.set(b.dut.abort, 0)
        assert ctx.get(b.dut.stop)
        await b.end(ctx)
        check_end(ctx, b, code, 0x10040 if code else 0, 0)
        # It is not held for the next chain.
        b.writing = 0
        b.memory.data[:] = chain(0x80, LAYERS[0])
        await b.begin(ctx, 0x80)
        await b.end(ctx)
        assert not ctx.get(b.dut.failed)
        assert ctx.get(b.dut.layers_done) == 1

    b.run(testbench, port)


@pytest.mark.parametrize("what", ["fault", "abort", "both"])
def test_whenever_something_goes_wrong(what: str) -> None:
    b, _, port = bench(chain(0x80, *LAYERS), 5, 0.3, 15)
    b.memory.data[0x2000 : 0x2000 + SIZE] = pack({"next": 0} | LAYERS[0])
    code = ErrorCode.NONE if what == "abort" else ErrorCode.WRITE_RESPONSE
    ended_well = 0

    async def testbench(ctx) -> None:
        nonlocal ended_well
        for round_ in range(16):
            b.drain = int(b.rng.integers(0, 20))
            await b.begin(ctx, 0x80)
            # From the first cycle to beyond the last.
            at = round_ if round_ < 5 else int(b.rng.integers(0, 400))
            for _ in range(at):
                await ctx.tick()
            busy = ctx.get(b.dut.busy)
            done_before = ctx.get(b.dut.layers_done)
            if what != "abort":
                ctx.set(b.dut.fault, code)
                ctx.set(b.dut.fault_address, 0x12340)
            ctx.set(b.dut.abort, int(what != "fault"))
            done_now = ctx.get(b.dut.completed)
            await ctx.tick()
            ctx.set(b.dut.fault, 0)
            ctx.set(b.dut.abort, 0)
            if not busy:
                ended_well += 1
                assert not ctx.get(b.dut.busy)
                assert not ctx.get(b.dut.failed)
                assert not ctx.get(b.dut.aborted)
                continue
            assert ctx.get(b.dut.stop)
            # Another fault on the way out changes nothing.
            ctx.set(b.dut.fault, ErrorCode.READ_RESPONSE)
            ctx.set(b.dut.fault_address, 0x777)
            await b.end(ctx)
            ctx.set(b.dut.fault, 0)
            address = 0 if what == "abort" else 0x12340
            check_end(ctx, b, code, address, done_before + done_now)
            assert b.memory.unread == 0
            # Nothing of it is left to the next chain.
            await b.begin(ctx, 0x2000)
            await b.end(ctx)
            assert b.starts == [expected_start(LAYERS[0], 0, FOUR_BIT[0])]
            assert b.results == [expected_results(LAYERS[0], FOUR_BIT[0][1])]
            assert b.commands == [expected_command(LAYERS[0])]

    b.run(testbench, port)
    assert ended_well < 12


def test_a_fault_in_the_very_cycle_of_the_end_counts() -> None:
    b, _, port = bench(chain(0x80, LAYERS[0]))

    async def testbench(ctx) -> None:
        await b.begin(ctx, 0x80)
        while not ctx.get(b.dut.ended):
            await ctx.tick()
        ctx.set(b.dut.fault, ErrorCode.WRITE_RESPONSE)
        assert not ctx.get(b.dut.ended)
        await ctx.tick()
        ctx.set(b.dut.fault, 0)
        assert ctx.get(b.dut.busy)
        await b.end(ctx)
        check_end(ctx, b, ErrorCode.WRITE_RESPONSE, 0, 1)

    b.run(testbench, port)


def test_a_layer_whose_last_answer_is_an_error_is_not_complete() -> None:
    b, _, port = bench(chain(0x80, LAYERS[0]), delay=50)

    async def testbench(ctx) -> None:
        await b.begin(ctx, 0x80)
        while not b.results:
            await ctx.tick()
        b.drain = 100
        ctx.set(b.dut.fault, ErrorCode.WRITE_RESPONSE)
        await ctx.tick()
        ctx.set(b.dut.fault, 0)
        await b.end(ctx)
        assert ctx.get(b.dut.layers_done) == 0
        assert "completed" not in b.pulses

    b.run(testbench, port)


def test_a_layer_that_nobody_has_taken_yet_is_withdrawn() -> None:
    b, _, port = bench(chain(0x80, LAYERS[0]))
    b.held = True

    async def testbench(ctx) -> None:
        await b.begin(ctx, 0x80)
        while not b.starts:
            await ctx.tick()
        await ctx.tick().repeat(20)
        assert ctx.get(b.dut.results.valid)
        assert ctx.get(b.dut.layers.valid)
        assert ctx.get(b.dut.busy)
        ctx.set(b.dut.abort, 1)
        await ctx.tick()
        ctx.set(b.dut.abort, 0)
        await b.end(ctx)
        check_end(ctx, b, ErrorCode.NONE, 0, 0)
        assert not ctx.get(b.dut.results.valid)
        assert not ctx.get(b.dut.layers.valid)

    b.run(testbench, port)
