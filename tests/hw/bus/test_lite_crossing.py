"""AXI4-Lite between clocks of many ratios and phases: nothing lost, doubled or changed."""

import numpy as np
import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from dtqatten.hw.bus.axi import LITE_DOMAIN, Response
from dtqatten.hw.bus.lite_crossing import LiteCrossing
from dtqatten.hw.bus.register_file import RegisterFile
from dtqatten.interface.registers import offset_of

NS = 1e-9
#: Periods of host and machine, and the host's first edge, in ns.
CLOCKS = [
    (10, 10, 0),
    (10, 10, 3),
    (10, 11, 1),
    (11, 10, 9),
    (4, 37, 2),
    (37, 4, 30),
    (3, 100, 1),
    (100, 3, 50),
    (20, 10, 10),
    (7, 21, 0),
]


class Bench:
    """A crossing on two clocks, with a host that pauses.

    Parameters
    ----------
    clocks : tuple of int
        As in :data:`CLOCKS`.
    stall : float
        Probability of a pause of host and registers.
    seed : int
    """

    def __init__(self, clocks: tuple[int, int, int], stall: float, seed: int = 0) -> None:
        self.host_period, self.machine_period, self.late = clocks
        self.stall, self.rng = stall, np.random.default_rng(seed)
        self.m = Module()
        self.machine = ClockDomain("sync")
        self.host = ClockDomain(LITE_DOMAIN)
        self.m.domains += [self.machine, self.host]
        self.m.submodules.crossing = self.dut = LiteCrossing()

    def run(self, *testbenches, background=(), cycles: int = 20_000) -> None:
        """Run testbenches until they return; the deadline is in cycles of the slower clock."""
        simulator = Simulator(self.m)
        simulator.add_clock(self.host_period * NS, phase=self.late * NS, domain=LITE_DOMAIN)
        simulator.add_clock(self.machine_period * NS, phase=0)
        slow = max(self.host_period, self.machine_period) * NS

        async def watchdog(ctx) -> None:
            await ctx.delay(cycles * slow)
            raise TimeoutError(f"no end after {cycles} cycles")

        for testbench in (*background, watchdog):
            simulator.add_testbench(testbench, background=True)
        for testbench in testbenches:
            simulator.add_testbench(testbench)
        simulator.run()

    async def pause(self, ctx, domain: str) -> None:
        while self.rng.random() < self.stall:
            await ctx.tick(domain)

    async def offer(self, ctx, *channels) -> None:
        """Offer payloads, one after the other with pauses, until the last one is taken with all."""
        for channel, payload in channels:
            await self.pause(ctx, LITE_DOMAIN)
            ctx.set(channel.p, payload)
            ctx.set(channel.valid, 1)
        last = channels[-1][0]
        while not (await ctx.tick(LITE_DOMAIN).sample(last.ready))[-1]:
            pass
        for channel, _ in channels:
            ctx.set(channel.valid, 0)

    async def answer(self, ctx, channel):
        """Return the next answer; it holds until it is taken."""
        offered = None
        while True:
            ctx.set(channel.ready, int(self.rng.random() >= self.stall))
            _, _, ready, valid, payload = await ctx.tick(LITE_DOMAIN).sample(
                channel.ready, channel.valid, channel.p
            )
            assert offered is None or (valid and payload == offered)
            if valid and ready:
                ctx.set(channel.ready, 0)
                return payload
            offered = payload if valid else None

    async def write(self, ctx, address: int, data: int, strobes: int = 15) -> Response:
        lite = self.dut.lite
        word = {"data": data, "strb": strobes}
        await self.offer(ctx, (lite.aw, address), (lite.w, word))
        return await self.answer(ctx, lite.b)

    async def read(self, ctx, address: int):
        await self.offer(ctx, (self.dut.lite.ar, address))
        return await self.answer(ctx, self.dut.lite.r)


class Registers:
    """Registers that note what reaches them and answer after a while, some with SLVERR."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        #: Accesses in the order in which they came, and how each was answered.
        self.taken: dict[str, list] = {"write": [], "read": []}
        self.given: dict[str, list] = {"write": [], "read": []}

    def process(self, kind: str):
        """Return the testbench of writes or reads."""
        bench, rng, port = self.bench, self.bench.rng, self.bench.dut.registers
        asked, answer = (port.aw, port.b) if kind == "write" else (port.ar, port.r)
        readies = (port.aw.ready, port.w.ready) if kind == "write" else (port.ar.ready,)

        async def testbench(ctx) -> None:
            while True:
                await bench.pause(ctx, "sync")
                for ready in readies:
                    ctx.set(ready, 1)
                while True:
                    _, reset, valid, also, address, word = await ctx.tick().sample(
                        asked.valid, port.w.valid, asked.p, port.w.p
                    )
                    if valid and not reset:
                        break
                if kind == "write":
                    assert also
                for ready in readies:
                    ctx.set(ready, 0)
                came = (address, word.data, word.strb) if kind == "write" else address
                self.taken[kind].append(came)
                resp = Response(int(rng.choice([0, 2])))
                gives = resp if kind == "write" else (int(rng.integers(1 << 32)), resp)
                if await self._reset_in(ctx, int(rng.integers(0, 4)) if bench.stall else 0):
                    self.given[kind].append(None)
                    continue
                ctx.set(answer.valid, 1)
                payload = gives if kind == "write" else {"data": gives[0], "resp": gives[1]}
                ctx.set(answer.p, payload)
                _, reset, ready = await ctx.tick().sample(answer.ready)
                assert ready
                ctx.set(answer.valid, 0)
                self.given[kind].append(None if reset else gives)

        return testbench

    async def _reset_in(self, ctx, cycles: int) -> bool:
        """Wait, and return whether a reset came; an access that it meets has no answer."""
        for _ in range(cycles):
            _, reset = await ctx.tick()
            if reset:
                return True
        return False


@pytest.mark.parametrize("stall", [0, 0.5])
@pytest.mark.parametrize("clocks", CLOCKS)
def test_every_access_arrives_once_and_has_its_answer(clocks, stall) -> None:
    bench = Bench(clocks, stall)
    registers = Registers(bench)
    rng = np.random.default_rng(1)
    writes = [tuple(map(int, rng.integers(0, (512, 1 << 32, 16)))) for _ in range(40)]
    reads = [int(address) for address in rng.integers(0, 512, 40)]
    found: dict[str, list] = {"write": [], "read": []}

    async def write(ctx) -> None:
        for access in writes:
            found["write"].append(await bench.write(ctx, *access))

    async def read(ctx) -> None:
        for address in reads:
            answer = await bench.read(ctx, address)
            found["read"].append((answer.data, answer.resp))

    bench.run(write, read, background=[registers.process(kind) for kind in ("write", "read")])
    assert registers.taken == {"write": writes, "read": reads}
    assert registers.given == found


@pytest.mark.parametrize("clocks", CLOCKS)
def test_a_reset_of_the_machine_alone_loses_nothing_and_repeats_nothing(clocks) -> None:
    """What it meets is answered with SLVERR, and what comes while it lasts; the rest as ever."""
    bench = Bench(clocks, 0.2)
    registers = Registers(bench)
    rng = np.random.default_rng(2)
    ended = []

    async def resets(ctx) -> None:
        while True:
            await ctx.delay(float(rng.integers(20, 400)) * bench.machine_period * NS / 10)
            for level, longest in ((1, 1 + 29 * (rng.random() < 0.2)), (0, 60)):
                ctx.set(bench.machine.rst, level)
                for _ in range(int(rng.integers(1, longest + 1))):
                    await ctx.tick()

    def accesses(kind: str):
        async def testbench(ctx) -> None:
            for number in range(1, 60):
                before = len(registers.taken[kind])
                if kind == "write":
                    answer = await bench.write(ctx, 4 * number, 1000 + number)
                    refused = answer is Response.SLVERR
                else:
                    found = await bench.read(ctx, 4 * number)
                    answer = (found.data, found.resp)
                    refused = answer == (0, Response.SLVERR)
                taken = registers.taken[kind][before:]
                expected = (4 * number, 1000 + number, 15) if kind == "write" else 4 * number
                assert taken in ([], [expected])
                given = registers.given[kind][before:]
                # The registers may have answered what a reset then kept from the host: never.
                assert [answer] == given or (refused and given in ([], [None]))
                ended.append(not taken or given == [None])

        return testbench

    background = [resets, *(registers.process(kind) for kind in ("write", "read"))]
    bench.run(accesses("write"), accesses("read"), background=background)
    assert len(ended) == 118
    assert any(ended)
    assert not all(ended)


@pytest.mark.parametrize("clocks", CLOCKS)
def test_a_reset_of_both_in_the_middle_of_accesses_leaves_none(clocks) -> None:
    bench = Bench(clocks, 0)
    bench.m.submodules.registers = registers = RegisterFile()
    connect(bench.m, bench.dut.registers, registers.lite)
    slow = max(bench.host_period, bench.machine_period)
    lite = bench.dut.lite

    async def host(ctx) -> None:
        for number in range(12):
            ctx.set(lite.aw.valid, 1)
            ctx.set(lite.w.valid, 1)
            ctx.set(lite.aw.p, offset_of("descriptor"))
            ctx.set(lite.w.p, {"data": number, "strb": 15})
            await ctx.delay((number * 0.7 + 0.1) * slow * NS)
            ctx.set(bench.host.rst, 1)
            ctx.set(bench.machine.rst, 1)
            for valid in (lite.aw.valid, lite.w.valid):
                ctx.set(valid, 0)
            await ctx.delay(9 * slow * NS)
            ctx.set(bench.host.rst, 0)
            ctx.set(bench.machine.rst, 0)
            await ctx.tick(LITE_DOMAIN)
            assert not ctx.get(lite.b.valid)
            found = await bench.read(ctx, offset_of("descriptor"))
            assert (found.data, found.resp) == (0, Response.OKAY)
            assert await bench.write(ctx, offset_of("descriptor"), 77) is Response.OKAY
            assert (await bench.read(ctx, offset_of("descriptor"))).data == 77

    bench.run(host)


@pytest.mark.parametrize("clocks", CLOCKS)
def test_the_interrupt_is_low_when_the_write_that_clears_it_is_answered(clocks) -> None:
    bench = Bench(clocks, 0)
    bench.m.submodules.registers = registers = RegisterFile()
    connect(bench.m, bench.dut.registers, registers.lite)
    bench.m.d.comb += bench.dut.pending.eq(registers.interrupt.any())

    async def host(ctx) -> None:
        for _ in range(5):
            ctx.set(registers.interrupt_set, 1)
            await ctx.tick()
            ctx.set(registers.interrupt_set, 0)
            while not (await ctx.tick(LITE_DOMAIN).sample(bench.dut.irq))[-1]:
                pass
            ctx.set(bench.dut.lite.b.ready, 0)
            await bench.offer(
                ctx,
                (bench.dut.lite.aw, offset_of("interrupt")),
                (bench.dut.lite.w, {"data": 7, "strb": 15}),
            )
            while not ctx.get(bench.dut.lite.b.valid):
                await ctx.tick(LITE_DOMAIN)
            assert not ctx.get(bench.dut.irq)
            assert await bench.answer(ctx, bench.dut.lite.b) is Response.OKAY

    bench.run(host)


@pytest.mark.parametrize(("clocks", "cycles"), [((10, 10, 5), 7), ((100, 10, 5), 3)])
def test_latency(clocks, cycles) -> None:
    """From the edge that takes a read of the registers to its answer, in cycles of the host."""
    bench = Bench(clocks, 0)
    bench.m.submodules.registers = registers = RegisterFile()
    connect(bench.m, bench.dut.registers, registers.lite)
    found = []

    async def host(ctx) -> None:
        for _ in range(3):
            await bench.offer(ctx, (bench.dut.lite.ar, offset_of("id")))
            passed = 0
            while not ctx.get(bench.dut.lite.r.valid):
                await ctx.tick(LITE_DOMAIN)
                passed += 1
            found.append(passed)
            await bench.answer(ctx, bench.dut.lite.r)

    bench.run(host)
    assert set(found) == {cycles}
