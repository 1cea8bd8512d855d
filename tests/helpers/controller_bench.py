"""All that is around the controller, its chains, and what it must say of them."""

from dataclasses import dataclass, field

import numpy as np

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.memory.controller import Controller
from dtqatten.interface.descriptor import SIZE, Flag, pack
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
        dut, left, ids, lists = self.dut, 0, 0, 0
        ctx.set(dut.fetched, 1)
        ctx.set(dut.lists_read, 1)
        while True:
            (
                *_,
                ahead,
                start,
                flush,
                layer,
                four_bit,
                query_four_bit,
                repeats,
            ) = await ctx.tick().sample(
                dut.ahead,
                dut.start,
                dut.flush,
                dut.layer.as_value(),
                dut.four_bit,
                dut.query_four_bit,
                dut.repeats,
            )
            if ahead:  # there is a place for its lists
                assert not self.starts or ids == 0
                lists -= 1
            if start:
                assert left == 0
                assert lists <= 0
                lists = self.wait()
                if self.starts:  # what the layer before keeps is known, and others have it
                    assert ids == 0
                    assert len(self.starts) == len(self.results) == len(self.commands)
                self.starts.append((layer, (four_bit, query_four_bit), repeats))
                # The ids come half-way through what is written.
                left, ids = 3 + self.wait(), 3 + self.writing // 2 + self.wait()
            left, ids = max(left - 1, 0), max(ids - 1, 0)
            if flush:
                left, ids = 0, 0
            if flush:
                lists = 0
            ctx.set(dut.lists_read, int(lists <= 0))
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
