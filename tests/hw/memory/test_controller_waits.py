"""A descriptor that is not ready: the controller waits, reads it again, and takes it whole."""

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
    expected_results,
    expected_start,
)
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts, descriptor_reads
from dtqatten.interface.descriptor import HEAD_BYTES, SIZE, pack
from dtqatten.interface.registers import ErrorCode


def test_a_descriptor_that_is_not_ready_is_waited_for_and_read_again() -> None:
    for unready in range(3):
        # What else it says does not count yet.
        layers = [dict(layer) for layer in LAYERS]
        layers[unready] |= {"ready": 0, "heads": 0}
        at = 0x80 + 320 * unready
        b, found, port = bench(chain(0x80, *layers), unready, 0.2, 5)

        async def testbench(ctx, b=b, at=at, unready=unready, found=found) -> None:
            await b.begin(ctx, 0x80)
            for _ in range(2):  # resumed too early, it waits again
                while not ctx.get(b.dut.waiting):
                    await ctx.tick()
                await ctx.tick().repeat(60)
                assert ctx.get(b.dut.waiting)
                assert ctx.get(b.dut.busy)
                assert ctx.get(b.dut.current) == at
                assert len(b.starts) == unready == ctx.get(b.dut.layers_done)
                ctx.set(b.dut.resume, 1)
                await ctx.tick()
                ctx.set(b.dut.resume, 0)
                assert not ctx.get(b.dut.waiting)
            while not ctx.get(b.dut.waiting):
                await ctx.tick()
            assert len(b.pulses["stopped"]) == 3
            following = at + 320 if unready < 2 else 0
            b.memory.data[at : at + SIZE] = pack({"next": following} | LAYERS[unready])
            ctx.set(b.dut.resume, 1)
            await ctx.tick()
            ctx.set(b.dut.resume, 0)
            await b.end(ctx)
            assert ctx.get(b.dut.layers_done) == 3
            assert b.results == [
                expected_results(layer, four_bit[1])
                for layer, four_bit in zip(LAYERS, FOUR_BIT, strict=True)
            ]
            # Until it is ready its head is read, and nothing else of it.
            head = next(bursts(SYSTEM, at, HEAD_BYTES))
            assert len(found) == 3 + 3 * len(descriptor_reads(SYSTEM, 0))
            assert found.count(head) == 4

        b.run(testbench, port)


@pytest.mark.parametrize("bus_bits", [64, 128])
@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_a_descriptor_completed_in_any_cycle_is_taken_whole(bus_bits: int, stall: float) -> None:
    system = SystemConfig(
        core=CORE, bus_bits=bus_bits, burst_beats=4, buffer_bursts=2, address_bits=20
    )
    at = 0x80
    b, _, port = bench(b"", 7, stall, 0, system)
    b.memory.ahead = 0.5
    complete = pack(LAYERS[0])
    phases, waited = (40 if stall else 15), 0

    async def testbench(ctx) -> None:
        nonlocal waited
        for phase in range(phases):
            b.memory.data[:] = chain(at, {"ready": 0})
            # The host writes words of 32 bits, one a cycle, `ready` last, in cycle `phase`.
            order = [*b.rng.permutation([i for i in range(SIZE // 4) if i != 1]).tolist(), 1]
            for cycle, word in enumerate(order, phase - SIZE // 4 + 1):
                if cycle == 0:
                    await b.begin(ctx, at)
                elif cycle > 0:
                    await ctx.tick()
                b.memory.data[at + 4 * word : at + 4 * word + 4] = complete[4 * word :][:4]
            ctx.set(b.dut.resume, 1)
            await ctx.tick()
            ctx.set(b.dut.resume, 0)
            await b.end(ctx)
            assert not ctx.get(b.dut.failed), phase
            assert b.starts == [expected_start(LAYERS[0], 0, FOUR_BIT[0])], phase
            assert ctx.get(b.dut.layers_done) == 1
            waited += len(b.pulses.get("stopped", ()))

    b.run(testbench, port)
    assert 0 < waited < phases


def test_resume_is_kept_until_a_head_is_not_ready() -> None:
    at = 0x80
    b, found, port = bench(b"")
    heads = [next(bursts(SYSTEM, at, HEAD_BYTES))]
    stops: list[int] = []

    async def resume(ctx) -> None:
        ctx.set(b.dut.resume, 1)
        await ctx.tick()
        ctx.set(b.dut.resume, 0)

    async def testbench(ctx) -> None:
        for phase in range(12):
            b.memory.data[:] = chain(at, LAYERS[0] | {"ready": 0})
            found.clear()
            await b.begin(ctx, at)
            for _ in range(phase):
                await ctx.tick()
            b.memory.data[at + 4] = 1
            await resume(ctx)
            await b.end(ctx)
            assert ctx.get(b.dut.layers_done) == 1
            reads = len(found) - len(descriptor_reads(SYSTEM, at))
            assert found[: reads + 1] == heads * (reads + 1)
            stops.append(len(b.pulses.get("stopped", ())))
            assert reads == int(phase > 4)
        # Before the head was read nothing happens, then it is read again, then that ends a wait.
        assert stops == [0] * 10 + [1] * 2
        # One is used up by one head, and none is left to the next chain.
        for resumes in (1, 0):
            b.memory.data[:] = chain(at, {"ready": 0})
            found.clear()
            await b.begin(ctx, at)
            if resumes:
                await resume(ctx)
            await ctx.tick().repeat(60)
            assert ctx.get(b.dut.waiting)
            assert len(b.pulses["stopped"]) == 1
            assert found == heads * (1 + resumes)
            ctx.set(b.dut.abort, 1)
            await ctx.tick()
            ctx.set(b.dut.abort, 0)
            await resume(ctx)
            await b.end(ctx)

    b.run(testbench, port)


@pytest.mark.parametrize("code", [ErrorCode.NONE, ErrorCode.READ_RESPONSE])
def test_an_end_while_waiting(code: ErrorCode) -> None:
    b, _, port = bench(chain(0x80, GOOD | {"ready": 0}))

    async def testbench(ctx) -> None:
        await b.begin(ctx, 0x80)
        while not ctx.get(b.dut.waiting):
            await ctx.tick()
        ctx.set(b.dut.abort, int(code == ErrorCode.NONE))
        ctx.set(b.dut.fault, code)
        await ctx.tick()
        ctx.set(b.dut.abort, 0)
        ctx.set(b.dut.fault, 0)
        await b.end(ctx)
        check_end(ctx, b, code, 0, 0)

    b.run(testbench, port)
