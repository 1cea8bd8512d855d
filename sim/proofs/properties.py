"""What is proved of masters and registers: harnesses with free inputs, and an assertion each."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import (
    Assert,
    Assume,
    Cat,
    Const,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
    unsigned,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.axi import (
    address_layout,
    lite_members,
    read_data_layout,
    response_layout,
    write_data_layout,
)
from dtqatten.hw.bus.bursts import run_layout
from dtqatten.hw.bus.read_channel import ReadChannel
from dtqatten.hw.bus.read_master import ReadMaster
from dtqatten.hw.bus.register_file import RegisterFile
from dtqatten.hw.bus.window import window_layout
from dtqatten.hw.bus.write_channel import WriteChannel
from dtqatten.hw.bus.write_master import WriteMaster

__all__ = ["PROPERTIES", "SYSTEM", "Property"]

#: Small sizes, so that buffers fill and wrap within few cycles. The logic is the same in all.
SYSTEM = SystemConfig(
    core=Config(rows=1, cols=1, depth=1, d_head=8, n_max=4),
    bus_bits=64,
    address_bits=16,
    burst_beats=2,
    buffer_bursts=2,
)

STREAMS = 2

#: Bytes that no burst of AXI4 may cross a multiple of, and in which windows are counted.
PAGE = 4096


@dataclass(frozen=True)
class Property:
    """A statement, the harness that asserts it, and how it is proved.

    Parameters
    ----------
    name : str
    statement : str
    harness : function
        Gives, for the name, a component with an assertion called ``name``.
    cycles : int
        Depth of the induction, or of the bounded check.
    inductive : bool
        Proved by induction, for runs of any length; else for ``cycles`` cycles from reset.
    """

    name: str
    statement: str
    harness: Callable[[str], "Harness"]
    cycles: int
    inductive: bool


class Harness(wiring.Component):
    """A master and its streams with free inputs, of which ``wanted`` is asserted."""

    assertions: dict[str, Value]

    def __init__(self, wanted: str, ports: dict) -> None:
        self.wanted = wanted
        super().__init__({"window": In(window_layout(SYSTEM)), "stop": In(1), **ports})

    def _start(self) -> Module:
        """Return a module that assumes what does not change: the window; and no reset."""
        m = Module()
        window = Signal(window_layout(SYSTEM))
        begun = Signal()
        m.d.sync += [window.eq(self.window), begun.eq(1)]
        m.d.comb += [
            Assume(~ResetSignal()),
            Assume(~begun | (window.as_value() == self.window.as_value())),
        ]
        return m

    def _assert(self, m: Module, **assertions: Value) -> None:
        m.d.comb += Assert(assertions[self.wanted])


def _held(m: Module, channel: wiring.PureInterface, name: str) -> Value:
    """Return that a stream keeps what it offered and was not taken."""
    waited = Signal(name=f"{name}_waited")
    payload = Signal(len(Value.cast(channel.p)), name=f"{name}_payload")
    m.d.sync += [waited.eq(channel.valid & ~channel.ready), payload.eq(channel.p)]
    return ~waited | (channel.valid & (Value.cast(channel.p) == payload))


def _legal(channel: wiring.PureInterface, *, narrow: bool) -> Value:
    """Return that a burst is of whole words, as many as a burst may have, or one narrow beat."""
    word = (SYSTEM.bus_bytes - 1).bit_length()
    whole, part = (channel.p.size == word), (channel.p.size < word) & (channel.p.len == 0)
    aligned = (channel.p.addr & ((1 << channel.p.size) - 1)) == 0
    fits = (whole | part) if narrow else whole
    return ~channel.valid | (aligned & fits & (channel.p.len < SYSTEM.burst_beats))


def _last_byte(channel: wiring.PureInterface) -> Value:
    return channel.p.addr + ((channel.p.len + 1) << channel.p.size) - 1


def _one_page(channel: wiring.PureInterface) -> Value:
    """Return that a burst's last byte comes before the end of its first one's page."""
    end = (channel.p.addr // PAGE + 1) * PAGE
    return ~channel.valid | (_last_byte(channel) < end)


def _in_window(window: data.View, channel: wiring.PureInterface) -> Value:
    """Return that no byte of a burst is outside the window, by addresses, as a bus sees them."""
    begin, end = window.base * PAGE, (window.limit + 1) * PAGE
    return ~channel.valid | ((channel.p.addr >= begin) & (_last_byte(channel) < end))


def _assume_runs(m: Module, runs: wiring.PureInterface) -> None:
    """Assume runs of some bytes that end within the address space."""
    end = runs.p.address + runs.p.size
    m.d.comb += Assume((runs.p.size != 0) & (end <= 1 << SYSTEM.address_bits))


class ReadHarness(Harness):
    """Read master and two read streams; answers come only for what is due."""

    def __init__(self, wanted: str) -> None:
        beat = data.ArrayLayout(unsigned(4), 2 * SYSTEM.bus_bytes)
        super().__init__(
            wanted,
            {
                "runs": In(stream.Signature(run_layout(SYSTEM))).array(STREAMS),
                "o": Out(stream.Signature(beat)).array(STREAMS),
                "ar": Out(stream.Signature(address_layout(SYSTEM))),
                "r": In(stream.Signature(read_data_layout(SYSTEM))),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = self._start()
        m.submodules.master = master = ReadMaster(SYSTEM, STREAMS)
        connect(m, master.ar, flipped(self.ar))
        connect(m, flipped(self.r), master.r)
        m.d.comb += [master.window.eq(self.window), master.stop.eq(self.stop)]
        taken = self.ar.valid & self.ar.ready
        bits = range(4 * STREAMS * SYSTEM.buffer_beats)
        total, room = Signal(bits), Const(1, 1)
        for i in range(STREAMS):
            channel = ReadChannel(SYSTEM, 2 * SYSTEM.bus_bytes, SYSTEM.bus_bytes)
            m.submodules[f"channel_{i}"] = channel
            connect(m, flipped(self.runs[i]), channel.runs)
            connect(m, channel.port, master.ports[i])
            connect(m, channel.o, flipped(self.o[i]))
            _assume_runs(m, self.runs[i])
            # Whole words, so that a word is a beat.
            m.d.comb += Assume((self.runs[i].p.address | self.runs[i].p.size)[:3] == 0)
            due, reserved = Signal(bits, name=f"due_{i}"), Signal(bits, name=f"reserved_{i}")
            mine, answer = taken & (self.ar.p.id == i), self.r.valid & (self.r.p.id == i)
            request = channel.port.request
            m.d.sync += [
                due.eq(due + Mux(mine, self.ar.p.len + 1, 0) - answer),
                reserved.eq(
                    reserved
                    + Mux(request.valid & request.ready, request.p.beats, 0)
                    - (self.o[i].valid & self.o[i].ready)
                ),
            ]
            m.d.comb += Assume(~answer | (due != 0))
            # Besides the buffer, one word is in the width converter.
            room = room & (reserved <= SYSTEM.buffer_beats + 1)
        m.d.sync += total.eq(total + Mux(taken, self.ar.p.len + 1, 0) - self.r.valid)
        m.d.comb += Assume(self.r.p.id < STREAMS)
        self._assert(
            m,
            read_stable=_held(m, self.ar, "ar"),
            read_legal=_legal(self.ar, narrow=True),
            read_page=_one_page(self.ar),
            read_window=_in_window(self.window, self.ar),
            read_always_taken=self.r.ready,
            read_reserved=room,
            read_counted=~master.idle | ((total == 0) & ~self.ar.valid),
        )
        return m


class WriteHarness(Harness):
    """Write master and two write streams; answers come only for bursts that are out."""

    def __init__(self, wanted: str) -> None:
        beat = data.StructLayout(
            {"data": unsigned(SYSTEM.bus_bits), "count": range(SYSTEM.bus_bytes + 1)}
        )
        super().__init__(
            wanted,
            {
                "runs": In(stream.Signature(run_layout(SYSTEM))).array(STREAMS),
                "i": In(stream.Signature(beat)).array(STREAMS),
                "aw": Out(stream.Signature(address_layout(SYSTEM))),
                "w": Out(stream.Signature(write_data_layout(SYSTEM))),
                "b": In(stream.Signature(response_layout())),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = self._start()
        m.submodules.master = master = WriteMaster(SYSTEM, STREAMS)
        connect(m, master.aw, flipped(self.aw))
        connect(m, master.w, flipped(self.w))
        connect(m, flipped(self.b), master.b)
        m.d.comb += [master.window.eq(self.window), master.stop.eq(self.stop)]
        for i in range(STREAMS):
            channel = WriteChannel(SYSTEM, SYSTEM.bus_bytes, SYSTEM.bus_bytes)
            m.submodules[f"channel_{i}"] = channel
            connect(m, flipped(self.runs[i]), channel.runs)
            connect(m, flipped(self.i[i]), channel.i)
            connect(m, channel.port, master.ports[i])
            _assume_runs(m, self.runs[i])
            m.d.comb += [
                Assume((self.runs[i].p.address | self.runs[i].p.size)[:3] == 0),
                Assume(self.i[i].p.count == SYSTEM.bus_bytes),
            ]
        count = range(8 * WriteMaster.OUTSTANDING)
        addresses, ends, answers = (Signal(count, name=n) for n in ("addresses", "ends", "answers"))
        word = Signal(range(SYSTEM.burst_beats + 1))
        sent, taken = self.w.valid & self.w.ready, self.aw.valid & self.aw.ready
        last, answered = self.w.p.last, self.b.valid & self.b.ready
        under_way = Signal()
        m.d.sync += [
            addresses.eq(addresses + taken),
            ends.eq(ends + (sent & last)),
            answers.eq(answers + answered),
        ]
        with m.If(sent):
            m.d.sync += [word.eq(Mux(last, 0, word + 1)), under_way.eq(~last)]
        # An answer belongs to a burst whose address and data are out.
        m.d.comb += Assume(~self.b.valid | ((answers < addresses) & (answers < ends)))
        self._assert(
            m,
            write_stable=_held(m, self.aw, "aw") & _held(m, self.w, "w"),
            write_legal=_legal(self.aw, narrow=False),
            write_page=_one_page(self.aw),
            write_window=_in_window(self.window, self.aw),
            write_last=~self.w.valid | (last == (word == self.aw.p.len)),
            write_data_ready=~under_way | self.w.valid,
            write_counted=~master.idle
            | ((answers == addresses) & (answers == ends) & ~self.aw.valid & ~self.w.valid),
        )
        return m


class LiteHarness(Harness):
    """The registers behind any host that keeps the rules."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted, lite_members())

    def elaborate(self, platform: object) -> Module:
        m = self._start()
        m.submodules.registers = registers = RegisterFile()
        for name in lite_members():
            inner, outer = getattr(registers.lite, name), getattr(self, name)
            source, sink = (inner, outer) if name in ("b", "r") else (outer, inner)
            m.d.comb += [
                sink.valid.eq(source.valid),
                sink.p.eq(source.p),
                source.ready.eq(sink.ready),
            ]
        moved = {
            name: getattr(self, name).valid & getattr(self, name).ready for name in lite_members()
        }
        # Answers that are owed: none more than one, none that nobody asked for.
        owed = {}
        for answer, request in (("b", "aw"), ("r", "ar")):
            owed[answer] = Signal(2, name=f"owed_{answer}")
            m.d.sync += owed[answer].eq(owed[answer] + moved[request] - moved[answer])
        self._assert(
            m,
            lite_stable=_held(m, self.b, "b") & _held(m, self.r, "r"),
            lite_together=moved["aw"] == moved["w"],
            lite_counted=(owed["b"] == self.b.valid) & (owed["r"] == self.r.valid),
        )
        return m


class LockHarness(Harness):
    """The registers while the machine is busy."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted, {**lite_members(), "busy": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = self._start()
        m.submodules.registers = registers = RegisterFile()
        for name in ("aw", "w", "ar"):
            inner, outer = getattr(registers.lite, name), getattr(self, name)
            m.d.comb += [inner.valid.eq(outer.valid), inner.p.eq(outer.p)]
        for name in ("b", "r"):
            m.d.comb += getattr(registers.lite, name).ready.eq(getattr(self, name).ready)
        m.d.comb += registers.busy.eq(self.busy)
        windows = Cat(
            getattr(registers, f"{kind}_{end}")
            for kind in ("read", "write")
            for end in ("base", "limit")
        )
        before, was_busy = Signal.like(windows), Signal()
        m.d.sync += [before.eq(windows), was_busy.eq(self.busy)]
        self._assert(m, windows_locked=~was_busy | (windows == before))
        return m


#: All that ``make formal`` proves.
PROPERTIES: tuple[Property, ...] = tuple(
    Property(name, statement, harness, cycles, cycles <= 3)
    for harness, name, statement, cycles in (
        (ReadHarness, "read_stable", "AR stays as it is until it is accepted", 3),
        (
            ReadHarness,
            "read_legal",
            "reads are of whole words, at most burst_beats, or of one aligned part",
            3,
        ),
        (ReadHarness, "read_page", "no read crosses 4 KiB", 3),
        (ReadHarness, "read_window", "no read leaves the read window", 3),
        (ReadHarness, "read_always_taken", "R never waits", 3),
        (ReadHarness, "read_reserved", "no read is issued whose data has no room", 16),
        (ReadHarness, "read_counted", "idle means that every word read has come", 16),
        (WriteHarness, "write_stable", "AW and W stay as they are until accepted", 3),
        (WriteHarness, "write_legal", "writes are of whole words, at most burst_beats", 3),
        (WriteHarness, "write_page", "no write crosses 4 KiB", 3),
        (WriteHarness, "write_window", "no write leaves the write window", 3),
        (WriteHarness, "write_last", "WLAST marks a burst's last word and no other", 20),
        (WriteHarness, "write_data_ready", "a burst's data never waits for the core", 20),
        (LiteHarness, "lite_stable", "B and R of the registers stay until accepted", 3),
        (LiteHarness, "lite_together", "a write is taken with address and data at once", 3),
        (LiteHarness, "lite_counted", "every access of a register is answered once", 3),
        (LockHarness, "windows_locked", "windows do not change while the machine is busy", 3),
        (WriteHarness, "write_counted", "idle means every burst is out and answered", 20),
    )
)
