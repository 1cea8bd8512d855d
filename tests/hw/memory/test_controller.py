"""The controller: chains in order, waiting, and an end without loose ends whatever happens."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts, descriptor_reads
from dtqatten.hw.memory.controller import Controller
from dtqatten.interface.descriptor import HEAD_BYTES, SIZE, Flag, pack
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.engines.native import run
from dtqatten.sim.lockstep.port_memory import PortMemory

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=12, heads=4, cumulative=True)
SYSTEM = SystemConfig(core=CORE, bus_bits=64, burst_beats=4, buffer_bursts=2, address_bits=20)
#: First and last byte that may be read, and written.
WINDOWS = {
    "read_base": 0, "read_limit": 0x3FFF, "write_base": 0x10000, "write_limit": 0x13FFF,
}  # fmt: skip
GOOD = {
    "ready": 1, "heads": 4, "kv_heads": 2, "queries": 11, "query_four_bit": 3, "query_start": 1,
    "stored": 12, "capacity": 12, "tokens": 12, "four_bit": 5,
    "output_shift": 0, "k0": 9, "k1": 4, "q": 0, "k": 0, "v": 0, "head_table": 0,
    "q_gains": 0, "output": 0x10000, "ids": 0x11000, "importance": 0x12000,
}  # fmt: skip
#: Each layer on the tokens that the one before keeps.
LAYERS = (
    GOOD | {"flags": Flag.IDS | Flag.CUMULATIVE | Flag.FRESH},
    GOOD | {"flags": Flag.CHAINED | Flag.QUERY_CHAINED | Flag.REPORT | Flag.CUMULATIVE | Flag.CODES,
            "queries": 9, "query_four_bit": 0, "query_start": 0, "tokens": 9,
            "ready": 1 << 31, "heads": 3, "kv_heads": 1, "k0": 5, "k1": 5, "four_bit": 0,
            "output_shift": 3},
    GOOD | {"flags": Flag.CHAINED, "stored": 9, "tokens": 5, "k0": 2, "k1": 0, "ready": 2,
            "four_bit": 0},
)  # fmt: skip
#: Layer by layer the keys of the 4-bit class, and the queries: the descriptor's, or what is kept in
#: 4 bits.
FOUR_BIT = ((5, 3), (5, 5), (0, 3))


def chain(first: int, *layers: dict) -> bytes:
    """Return a memory with the layers' descriptors, 320 bytes apart from ``first`` on."""
    memory = bytearray(0x4000)
    for i, layer in enumerate(layers):
        at = first + 320 * i
        following = {"next": at + 320 if i < len(layers) - 1 else 0}
        memory[at : at + SIZE] = pack(following | layer)
    return bytes(memory)


@dataclass
class Bench:
    """All that is around the controller, each part as slow as chance has it."""

    dut: Controller
    memory: PortMemory
    rng: np.random.Generator
    delay: int = 0
    #: Fields of the layers started, and what writer and core were given.
    starts: list[tuple] = field(default_factory=list)
    results: list[tuple] = field(default_factory=list)
    commands: list[tuple] = field(default_factory=list)
    #: Cycles of pulses by name.
    pulses: dict[str, list[int]] = field(default_factory=dict)
    cycle: int = 0
    #: Cycles until the bus is empty, with ``stop``; and more of them that each layer is written.
    drain: int = 0
    writing: int = 0
    #: Writer and core take no layer.
    held: bool = False
    #: Ends of the windows that are others than :data:`WINDOWS`.
    windows: dict[str, int] = field(default_factory=dict)

    def wait(self) -> int:
        return int(self.rng.integers(0, self.delay + 1))

    async def fetcher(self, ctx) -> None:
        dut, left, ids = self.dut, 0, 0
        ctx.set(dut.fetched, 1)
        while True:
            *_, start, flush, layer, four_bit, query_four_bit, repeats = await ctx.tick().sample(
                dut.start,
                dut.flush,
                dut.layer.as_value(),
                dut.four_bit,
                dut.query_four_bit,
                dut.repeats,
            )
            if start:
                assert left == 0
                if self.starts:  # what the layer before keeps is known, and others have it
                    assert ids == 0
                    assert len(self.starts) == len(self.results) == len(self.commands)
                self.starts.append((layer, (four_bit, query_four_bit), repeats))
                # The ids come half-way through what is written.
                left, ids = 3 + self.wait(), 3 + self.writing // 2 + self.wait()
            left, ids = max(left - 1, 0), max(ids - 1, 0)
            if flush:
                left, ids = 0, 0
            ctx.set(dut.fetched, int(left == 0))
            ctx.set(dut.ids_complete, int(ids == 0 and bool(self.starts)))

    async def writer(self, ctx) -> None:
        dut, left = self.dut, 0
        ctx.set(dut.written, 1)
        while True:
            ctx.set(dut.results.ready, int(left == 0 and not self.held))
            ctx.set(dut.layer_done, int(left == 1))
            *_, valid, ready, payload, flush = await ctx.tick().sample(
                dut.results.valid, dut.results.ready, dut.results.p, dut.flush
            )
            # The core has the layer before its last output is out.
            if left != 2 or len(self.commands) >= len(self.results):
                left = max(left - 1, 0)
            if valid and ready:
                p = payload
                self.results.append(
                    (p.output, p.form.codes, p.form.shift, p.heads, p.queries,
                     p.query_four_bit, p.tokens, p.ids, p.write_ids,
                     p.k0, p.importance, p.report)
                )  # fmt: skip
                left = 2 + self.writing + self.wait()
            if flush:
                left = 0
            ctx.set(dut.written, int(left == 0))

    async def core(self, ctx) -> None:
        dut = self.dut
        while True:
            ctx.set(dut.layers.ready, int(self.wait() <= self.delay // 2 and not self.held))
            *_, valid, ready, p = await ctx.tick().sample(
                dut.layers.valid, dut.layers.ready, dut.layers.p
            )
            if valid and ready:
                self.commands.append((p.heads, p.k0, p.k1, p.report, p.cumulative, p.fresh))

    async def observe(self, ctx) -> None:
        dut = self.dut
        names = ("start", "completed", "ended", "stopped", "stop", "flush", "busy", "waiting",
                 "failed", "aborted", "drained")  # fmt: skip
        quiet = 0
        while True:
            ctx.set(dut.drained, int(self.memory.unread == 0 and quiet >= self.drain))
            (*_,) = values = (await ctx.tick().sample(*(getattr(dut, n) for n in names)))[2:]
            now = dict(zip(names, values, strict=True))
            for name in names[:6]:
                if now[name]:
                    self.pulses.setdefault(name, []).append(self.cycle)
            quiet = quiet + 1 if now["stop"] else 0
            assert now["busy"] or not (now["stop"] or now["start"] or now["ended"])
            assert not (now["stop"] and (now["start"] or now["completed"]))
            assert now["stop"] >= now["flush"]
            assert not (now["failed"] and now["aborted"])
            assert now["busy"] or not now["waiting"]
            self.cycle += 1

    async def begin(self, ctx, first: int) -> None:
        """Command a chain, everything noted so far forgotten."""
        dut = self.dut
        for log in (self.starts, self.results, self.commands):
            log.clear()
        self.pulses.clear()
        for name, value in (WINDOWS | self.windows).items():
            ctx.set(getattr(dut, name), value)
        ctx.set(dut.first, first)
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        assert ctx.get(dut.busy)
        assert not ctx.get(dut.failed)
        assert not ctx.get(dut.aborted)
        assert ctx.get(dut.error_code) == ctx.get(dut.error_address) == 0
        assert ctx.get(dut.layers_done) == 0

    async def end(self, ctx) -> None:
        while ctx.get(self.dut.busy):
            await ctx.tick()
        assert len(self.pulses["ended"]) == 1

    def run(self, testbench, *around, deadline: int = 20_000) -> None:
        background = [*around, self.fetcher, self.writer, self.core, self.observe]
        run(self.dut, testbench, background=background, deadline=deadline)


def bench(
    memory: bytes, seed: int = 0, stall: float = 0.0, delay: int = 0, system: SystemConfig = SYSTEM
):
    """Return a bench, the read bursts that it sees, and the testbench behind the read port."""
    dut, rng = Controller(system), np.random.default_rng(seed)
    store = PortMemory(system, memory, rng, stall)
    found, port = store.reads(dut.port, dut.stop)
    return Bench(dut, store, rng, delay), found, port


def expected_start(layer: dict, following: int, four_bit: tuple[int, int]) -> tuple:
    raw = int.from_bytes(pack({"next": following} | layer), "little")
    return raw, four_bit, layer["heads"] // layer["kv_heads"]


def expected_results(layer: dict, query_four_bit: int) -> tuple:
    flags = Flag(layer["flags"])
    bits = [int(f in flags) for f in (Flag.CODES, Flag.IDS, Flag.REPORT)]
    return (layer["output"], bits[0], layer["output_shift"], layer["heads"], layer["queries"],
            query_four_bit, layer["tokens"], layer["ids"], bits[1], layer["k0"],
            layer["importance"], bits[2])  # fmt: skip


def expected_command(layer: dict) -> tuple:
    flags = Flag(layer["flags"])
    bits = [int(f in flags) for f in (Flag.REPORT, Flag.CUMULATIVE, Flag.FRESH)]
    return (layer["heads"], layer["k0"], layer["k1"], *bits)


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
    assert requested[0] == 2
    assert requested[per_descriptor] == b.pulses["start"][0] + 2
    # Words of 64 bits follow the memory's and the stream's cycles: the head's, and 3 cycles later
    # the next request; then those of the whole; then the check.
    for i, repeats in enumerate((2, 3, 2)):
        head, asked = requested[i * per_descriptor :][:2]
        assert asked == head + (1 + 3 + 1) - 1 + 3
        assert b.pulses["start"][i] == asked + (1 + 3 + 32) - 1 + repeats + 48


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
            assert reads == int(phase > 1)
        # Before the head was read nothing happens, then it is read again, then that ends a wait.
        assert stops == [0] * 8 + [1] * 4
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


def check_end(ctx, b: Bench, code: ErrorCode, address: int, layers_done: int) -> None:
    """Check status and the reset of what is around, after a chain that did not end well."""
    dut = b.dut
    assert ctx.get(dut.error_code) == code
    assert ctx.get(dut.error_address) == address
    assert ctx.get(dut.failed) == (code != ErrorCode.NONE)
    assert ctx.get(dut.aborted) == (code == ErrorCode.NONE)
    assert not ctx.get(dut.waiting)
    assert ctx.get(dut.layers_done) == layers_done
    stop, flush = b.pulses["stop"], b.pulses["flush"]
    # Without a gap: stopped until the bus is empty, then reset; the end comes with its last cycle.
    assert stop == list(range(stop[0], stop[-1] + 1))
    assert flush == stop[-CORE.flush_cycles :]
    assert b.pulses["ended"] == [stop[-1]]


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
