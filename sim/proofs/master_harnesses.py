"""Harnesses of the masters: streams with free inputs, and a bus that answers only what is due."""

from amaranth.hdl import Assume, Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.hw.bus.arbiter import BurstChooser
from dtqatten.hw.bus.axi import (
    address_layout,
    read_data_layout,
    response_layout,
    write_data_layout,
)
from dtqatten.hw.bus.bursts import run_layout
from dtqatten.hw.bus.read_channel import ReadChannel
from dtqatten.hw.bus.read_master import ReadMaster
from dtqatten.hw.bus.write_channel import WriteChannel
from dtqatten.hw.bus.write_master import WriteMaster
from dtqatten.sim.proofs.harness import (
    PAGE,
    STREAMS,
    SYSTEM,
    Harness,
    assume_runs,
    held,
    in_window,
    legal,
    one_page,
)

__all__ = ["ReadHarness", "WriteHarness"]


def burst_sound(place: Value, burst: data.View, *, narrow_transfers: bool) -> Value:
    """Return that a burst has words, none behind its block, and is whole or one narrow beat.

    Parameters
    ----------
    place : Value
        Of its first word in its block.
    burst : View
        Has ``beats`` and ``width``.
    narrow_transfers : bool
        Whether it may be narrow.
    """
    word = (SYSTEM.bus_bytes - 1).bit_length()
    fits = (burst.beats != 0) & (place + burst.beats <= SYSTEM.burst_beats)
    narrow = (burst.width < word) & (burst.beats == 1) & narrow_transfers
    return fits & ((burst.width == word) | narrow)


def bursts_sound(channel: ReadChannel | WriteChannel, *, narrow_transfers: bool) -> Value:
    """Return that all bursts of a channel are sound: what its registers hold, so from any state.

    Parameters
    ----------
    channel : ReadChannel or WriteChannel
    narrow_transfers : bool
    """
    blocks = (SYSTEM.burst_beats - 1).bit_length()
    burster, buffer = channel.burster, channel.buffer
    result = burster.sound
    for valid, burst in (
        (burster.o.valid, burster.o.p),
        (buffer.o.valid, buffer.o.p),
        *zip(buffer.full, buffer.behind, strict=True),
    ):
        sound = burst_sound(burst.word[:blocks], burst, narrow_transfers=narrow_transfers)
        aligned = (burst.offset & ((1 << burst.width) - 1)) == 0
        result = result & (~valid | (sound & aligned))
    second, third = buffer.full
    return result & (buffer.o.valid | ~second) & (second | ~third)


def chosen_sound(chooser: BurstChooser, *, narrow_transfers: bool) -> Value:
    """Return that the burst that a master has chosen is sound, and so is what it chooses from.

    Parameters
    ----------
    chooser : BurstChooser
    narrow_transfers : bool
    """
    burst, byte = chooser.o.p, (SYSTEM.bus_bytes - 1).bit_length()
    place = burst.address[byte : byte + (SYSTEM.burst_beats - 1).bit_length()]
    aligned = (burst.address & ((1 << burst.width) - 1)) == 0
    sound = aligned & burst_sound(place, burst, narrow_transfers=narrow_transfers)
    # A turn is of a stream with a request.
    asking = Cat(request.valid for request in chooser.requests)
    turns = [chooser.turn == 1 << i for i in range(STREAMS)]
    return (
        (~chooser.held | sound)
        & ((chooser.turn & ~asking) == 0)
        & ((chooser.turn == 0) | Cat(turns).any())
    )


def checked(master: ReadMaster | WriteMaster) -> Value:
    """Return that a master knows whether the burst that it has chosen begins in its window."""
    chooser, window = master.chooser, master.window
    page = chooser.o.p.address // PAGE
    inside = (page >= window.base) & (page <= window.limit)
    return ~chooser.held | (chooser.inside == inside)


class ReadHarness(Harness):
    """Read master and two read streams; answers come only for what is due."""

    def __init__(self, wanted: str) -> None:
        beat = data.ArrayLayout(unsigned(4), 2 * SYSTEM.bus_bytes)
        super().__init__(
            wanted,
            {
                "runs": In(stream.Signature(run_layout(SYSTEM))).array(STREAMS),
                "o": Out(stream.Signature(beat)).array(STREAMS),
                "late": In(STREAMS),
                "ar": Out(stream.Signature(address_layout(SYSTEM))),
                "r": In(stream.Signature(read_data_layout(SYSTEM))),
            },
        )

    def elaborate(self, platform: object) -> Module:
        """Return the read master, its assumptions and the assertion."""
        m = self._start()
        m.submodules.master = master = ReadMaster(SYSTEM, STREAMS)
        connect(m, master.ar, flipped(self.ar))
        connect(m, flipped(self.r), master.r)
        m.d.comb += [
            master.window.eq(self.window),
            master.stop.eq(self.stop),
            master.late.eq(self.late),
        ]
        requests = [port.request for port in master.ports]
        # Turns are decided a cycle ahead: those with a request that was not the last one taken.
        first, was_late = Signal(STREAMS), Signal(STREAMS)
        gone = Cat(port.request.ready & ~port.more for port in master.ports)
        asking = Cat(request.valid for request in requests)
        m.d.sync += [first.eq(asking & ~gone & ~self.late), was_late.eq(self.late)]
        second = Cat(request.valid & request.ready for request in requests) & was_late
        taken = self.ar.valid & self.ar.ready
        bits = range(4 * STREAMS * SYSTEM.buffer_beats)
        total, room = Signal(bits), Const(1, 1)
        sound = chosen_sound(master.chooser, narrow_transfers=True)
        for i in range(STREAMS):
            channel = ReadChannel(SYSTEM, 2 * SYSTEM.bus_bytes, SYSTEM.bus_bytes)
            m.submodules[f"channel_{i}"] = channel
            connect(m, flipped(self.runs[i]), channel.runs)
            connect(m, channel.port, master.ports[i])
            connect(m, channel.o, flipped(self.o[i]))
            assume_runs(m, self.runs[i])
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
            sound = sound & bursts_sound(channel, narrow_transfers=True)
        m.d.sync += total.eq(total + Mux(taken, self.ar.p.len + 1, 0) - self.r.valid)
        m.d.comb += Assume(self.r.p.id < STREAMS)
        self._assert(
            m,
            read_stable=held(m, self.ar, "ar"),
            read_legal=sound & legal(self.ar, narrow_transfers=True),
            read_page=sound & one_page(self.ar),
            read_window=sound & checked(master) & in_window(self.window, self.ar),
            read_always_taken=self.r.ready,
            read_reserved=room,
            read_late=~(first.any() & second.any()),
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
        """Return the write master, its assumptions and the assertion."""
        m = self._start()
        m.submodules.master = master = WriteMaster(SYSTEM, STREAMS)
        connect(m, master.aw, flipped(self.aw))
        connect(m, master.w, flipped(self.w))
        connect(m, flipped(self.b), master.b)
        m.d.comb += [master.window.eq(self.window), master.stop.eq(self.stop)]
        sound = chosen_sound(master.chooser, narrow_transfers=False)
        for i in range(STREAMS):
            channel = WriteChannel(SYSTEM, SYSTEM.bus_bytes, SYSTEM.bus_bytes)
            m.submodules[f"channel_{i}"] = channel
            connect(m, flipped(self.runs[i]), channel.runs)
            connect(m, flipped(self.i[i]), channel.i)
            connect(m, channel.port, master.ports[i])
            assume_runs(m, self.runs[i])
            m.d.comb += [
                Assume((self.runs[i].p.address | self.runs[i].p.size)[:3] == 0),
                Assume(self.i[i].p.count == SYSTEM.bus_bytes),
            ]
            sound = sound & bursts_sound(channel, narrow_transfers=False)
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
            write_stable=held(m, self.aw, "aw") & held(m, self.w, "w"),
            write_legal=sound & legal(self.aw, narrow_transfers=False),
            write_page=sound & one_page(self.aw),
            write_window=sound & checked(master) & in_window(self.window, self.aw),
            write_last=~self.w.valid | (last == (word == self.aw.p.len)),
            write_data_ready=~under_way | self.w.valid,
            write_counted=~master.idle
            | ((answers == addresses) & (answers == ends) & ~self.aw.valid & ~self.w.valid),
        )
        return m
