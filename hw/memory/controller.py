"""The controller: walks a chain of descriptors, starts layers, ends in order or in an error."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.bus.window import misplaced, pages, window_layout
from dtqatten.hw.memory.checker import Checker, chain_layout, descriptor_layout, flag
from dtqatten.hw.memory.writer import results_layout
from dtqatten.hw.payloads.ranking import layer_layout
from dtqatten.interface.descriptor import ADDRESS_ALIGNMENT, HEAD_BYTES, MAGIC, SIZE, VERSION, Flag
from dtqatten.interface.registers import ErrorCode

__all__ = ["Controller"]

#: Address bits that are 0 by alignment.
ALIGNMENT_BITS = ADDRESS_ALIGNMENT.bit_length() - 1


class State(enum.Enum, shape=4):  # type: ignore[call-arg]
    """What the controller does."""

    IDLE = 0
    #: Request the descriptor's head, or all of it, and take its words.
    ASK = 1
    READ = 2
    #: The head is here: is the rest ready?
    HEAD = 3
    #: Everything is here and has to be checked.
    CHECK = 4
    CHECKING = 5
    #: Its inputs are not ready.
    WAIT = 6
    #: Wait until the fetcher can begin; it begins.
    START = 7
    STARTED = 8
    #: The last layer has begun: of the chain, or before a descriptor in which there is an error.
    FINISH = 9
    #: Something went wrong: the bus empties, the rest is reset.
    DRAIN = 10
    FLUSH = 11


class Controller(wiring.Component):
    """Run a chain: read, check and start layer after layer.

    A descriptor is read while the layer before is still being computed; its layer starts as soon
    as the fetcher has nothing more to read and has the ids that the layer before keeps. So layers
    overlap.

    Of a descriptor the head comes first, alone: the rest is requested once ``ready`` has come as
    not 0. A host that writes ``ready`` last may therefore do so at any time. While ``ready`` is 0
    the chain waits for ``resume``, upon which the head is read again. A ``resume`` that finds no
    chain waiting is kept, until a head is not ready or another chain begins.

    An error in a descriptor, or in reading it, lets the layers before it end and then ends the
    chain; any other ``fault``, and ``abort``, end it at once. The masters stop issuing; when all
    that is on the bus has been answered, core, fetcher and writer are reset (``flush``) for as long
    as the core needs, and the chain has ended.

    Latency: 2 cycles from ``begin``, or a layer's ``start``, to the request of the next head, whose
    2 words take a cycle each; 3 from the last of them to the request of the whole descriptor, whose
    32 words take a cycle each; ``group`` + 42 cycles from the last one to ``start``, if nothing
    else is waited for. So the first layer of a chain waits twice for the memory. ``stop`` in the
    cycle after what goes wrong; ``flush`` for ``flush_cycles`` from the cycle after ``drained`` on,
    ``ended`` with the last of them.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    begin, resume, abort : In(1)
        Commands, pulses.
    first : In(64)
        First descriptor.
    read_base, read_limit, write_base, write_limit : In(64)
        First and last byte that may be read, and written; constant while ``busy``.
    read_window, write_window : Out(window_layout(system))
        Their pages. A chain that begins with an end that is none of a page ends in an error.
    busy, waiting, failed, aborted : Out(1)
        Status.
    completed, ended, stopped : Out(1)
        Pulses: a layer is complete, the chain has ended, or waits.
    error_code, error_address : Out(8), Out(64)
        Of the last chain.
    current : Out(64)
        Descriptor that was read last.
    layers_done : Out(32)
        Complete layers of the chain.
    port
        Read port.
    start : Out(1)
        The fetcher begins with ``layer``, ``narrow`` and ``group``.
    fetched, ids_complete : In(1)
        The fetcher is idle; has the ids of the layer started last.
    results : Out(stream.Signature(results_layout(system)))
        Layers for the writer.
    layer_done, written : In(1)
        The writer has completed a layer; has none.
    layers : Out(stream.Signature(layer_layout(system.core)))
        Layers for the core.
    fault : In(8), fault_address : In(address_bits)
        ``ErrorCode`` of what a master or the fetcher reports; 0 is nothing.
    fault_ahead : In(1)
        It is about a descriptor: a read of ``port`` was answered with an error.
    stop : Out(1)
        Masters issue no burst.
    drained : In(1)
        Nothing is on the bus.
    flush : Out(1)
        Reset of core, fetcher, writer and of this block's own reader.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(
            {
                "begin": In(1),
                "resume": In(1),
                "abort": In(1),
                "first": In(64),
                "read_base": In(64),
                "read_limit": In(64),
                "write_base": In(64),
                "write_limit": In(64),
                "read_window": Out(window_layout(system)),
                "write_window": Out(window_layout(system)),
                "busy": Out(1),
                "waiting": Out(1),
                "failed": Out(1),
                "aborted": Out(1),
                "completed": Out(1),
                "ended": Out(1),
                "stopped": Out(1),
                "error_code": Out(8),
                "error_address": Out(64),
                "current": Out(64),
                "layers_done": Out(32),
                "port": Out(read_port(system)),
                "start": Out(1),
                "layer": Out(descriptor_layout()),
                "narrow": Out(range(system.core.n_max + 1)),
                "group": Out(16),
                "fetched": In(1),
                "ids_complete": In(1),
                "results": Out(stream.Signature(results_layout(system))),
                "layer_done": In(1),
                "written": In(1),
                "layers": Out(stream.Signature(layer_layout(system.core))),
                "fault": In(8),
                "fault_address": In(system.address_bits),
                "fault_ahead": In(1),
                "stop": Out(1),
                "drained": In(1),
                "flush": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system = self.system
        channel = place(
            m,
            platform,
            "channel",
            ReadChannel,
            system,
            8,
            HEAD_BYTES,
            reset=self.flush,
        )
        checker = place(m, platform, "checker", Checker, system, reset=self.flush)
        connect(m, channel.port, flipped(self.port))

        # The descriptor read, word by word from the top; and the layer that is being fetched.
        descriptor, layer = Signal(descriptor_layout()), self.layer
        address = Signal(64)
        whole = Signal()
        left = Signal(range(SIZE // 4))
        before = Signal(chain_layout(system.core))
        started = before.valid
        m.d.comb += [
            self.current.eq(address),
            channel.runs.p.address.eq(address),
            channel.runs.p.size.eq(Mux(whole, SIZE, HEAD_BYTES)),
            channel.o.ready.eq(1),
            checker.descriptor.eq(descriptor),
            checker.address.eq(address),
            checker.before.eq(before),
            checker.read_window.eq(self.read_window),
            checker.write_window.eq(self.write_window),
        ]
        with m.If(channel.o.valid):
            m.d.sync += descriptor.eq(Cat(descriptor.as_value()[32:], channel.o.p.as_value()))
        rest = Const(0, 8 * (SIZE - HEAD_BYTES))
        head = data.View(descriptor_layout(), Cat(descriptor.as_value()[len(rest) :], rest))
        windows: list[tuple[Value, Value]] = []
        for kind in ("read", "write"):
            ends = [getattr(self, f"{kind}_{end}") for end in ("base", "limit")]
            m.d.comb += getattr(self, f"{kind}_window").eq(pages(system, *ends))
            windows += zip(misplaced(system, *ends), ends, strict=True)

        # What is wrong with the descriptor; and what ends the chain at once.
        error, error_address = Signal(8), Signal(64)
        fatal, fatal_address = Signal(8), Signal(64)
        held, held_address = Signal(8), Signal(64)
        resumed, asked_again = Signal(), Signal()
        m.d.comb += asked_again.eq(resumed | self.resume)
        state = Signal(State)
        flush_cycles = system.core.flush_cycles
        flushing = Signal(range(flush_cycles))
        given_core, given_writer = Signal(), Signal()
        m.d.comb += [
            self.results.p.output.eq(layer.output),
            self.results.p.form.codes.eq(flag(layer, Flag.CODES)),
            self.results.p.form.shift.eq(layer.output_shift),
            self.results.p.heads.eq(layer.heads),
            self.results.p.tokens.eq(layer.tokens),
            self.results.p.narrow.eq(self.narrow),
            self.results.p.ids.eq(layer.ids),
            self.results.p.write_ids.eq(flag(layer, Flag.IDS)),
            self.results.p.k0.eq(layer.k0),
            self.results.p.importance.eq(layer.importance),
            self.results.p.report.eq(flag(layer, Flag.REPORT)),
            self.results.valid.eq(given_writer),
            self.layers.p.heads.eq(layer.heads),
            self.layers.p.k0.eq(layer.k0),
            self.layers.p.k1.eq(layer.k1),
            self.layers.p.report.eq(flag(layer, Flag.REPORT)),
            self.layers.valid.eq(given_core),
        ]
        optional = {"cumulative": Flag.CUMULATIVE, "fresh": Flag.FRESH, "count": Flag.COUNT}
        for name, which in optional.items():
            if name in dict(layer_layout(system.core)):
                m.d.comb += self.layers.p[name].eq(flag(layer, which))
        with m.If(self.results.ready):
            m.d.sync += given_writer.eq(0)
        with m.If(self.layers.ready):
            m.d.sync += given_core.eq(0)
        # A layer whose last acknowledgement is an error is not complete.
        m.d.comb += self.completed.eq(self.layer_done & ~self.stop)
        with m.If(self.completed):
            m.d.sync += self.layers_done.eq(self.layers_done + 1)

        m.d.sync += resumed.eq(asked_again)
        with m.Switch(state):
            with m.Case(State.IDLE), m.If(self.begin):
                m.d.sync += [
                    address.eq(self.first),
                    whole.eq(0),
                    before.eq(0),
                    resumed.eq(0),
                    held.eq(ErrorCode.NONE),
                    self.failed.eq(0),
                    self.aborted.eq(0),
                    self.error_code.eq(ErrorCode.NONE),
                    self.error_address.eq(0),
                    self.layers_done.eq(0),
                    self.busy.eq(1),
                ]
                m.d.sync += state.eq(State.ASK)
            with m.Case(State.ASK):
                checks = [
                    *((ErrorCode.WINDOW, *window) for window in windows),
                    (ErrorCode.ALIGNMENT, address[:ALIGNMENT_BITS].any(), address),
                    (ErrorCode.READ_WINDOW, address[system.address_bits :].any(), address),
                ]
                # Later statements override: the first failing check counts.
                for code, fails, where in reversed(checks):
                    with m.If(fails):
                        m.d.comb += [error.eq(code), error_address.eq(where)]
                m.d.comb += channel.runs.valid.eq(error == 0)
                with m.If(channel.runs.valid & channel.runs.ready):
                    m.d.sync += left.eq(Mux(whole, SIZE // 4 - 1, HEAD_BYTES // 4 - 1))
                    m.d.sync += state.eq(State.READ)
            with m.Case(State.READ), m.If(channel.o.valid):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.d.sync += state.eq(Mux(whole, State.CHECK, State.HEAD))
            with m.Case(State.HEAD):
                with m.If((head.magic != MAGIC) | (head.version != VERSION)):
                    m.d.comb += [error.eq(ErrorCode.VERSION), error_address.eq(address)]
                with m.Elif(head.ready != 0):
                    m.d.sync += whole.eq(1)
                    m.d.sync += state.eq(State.ASK)
                with m.Elif(asked_again):
                    m.d.sync += resumed.eq(0)
                    m.d.sync += state.eq(State.ASK)
                with m.Else():
                    m.d.comb += self.stopped.eq(1)
                    m.d.sync += [self.waiting.eq(1), state.eq(State.WAIT)]
            with m.Case(State.WAIT), m.If(self.resume):
                m.d.sync += [self.waiting.eq(0), resumed.eq(0)]
                m.d.sync += state.eq(State.ASK)
            with m.Case(State.CHECK):
                m.d.comb += checker.start.eq(1)
                m.d.sync += state.eq(State.CHECKING)
            with m.Case(State.CHECKING), m.If(checker.done):
                m.d.comb += [error.eq(checker.error), error_address.eq(checker.error_address)]
                m.d.sync += state.eq(State.START)
            with m.Case(State.START):
                # The layer before has been read, and what it keeps is known.
                free = ~given_core & ~given_writer
                with m.If(self.fetched & free & (~started | self.ids_complete)):
                    m.d.sync += [
                        layer.eq(descriptor),
                        self.group.eq(checker.group),
                        self.narrow.eq(
                            Mux(
                                flag(descriptor, Flag.CHAINED),
                                before.k0 - before.k1,
                                descriptor.four_bit,
                            )
                        ),
                        before.valid.eq(1),
                        before.tokens.eq(descriptor.tokens),
                        before.k0.eq(descriptor.k0),
                        before.k1.eq(descriptor.k1),
                        before.cumulative.eq(flag(descriptor, Flag.CUMULATIVE)),
                        given_core.eq(1),
                        given_writer.eq(1),
                    ]
                    m.d.sync += state.eq(State.STARTED)
            with m.Case(State.STARTED):
                m.d.comb += self.start.eq(1)
                m.d.sync += [address.eq(layer.next), whole.eq(0)]
                m.d.sync += state.eq(State.ASK)
                with m.If(layer.next == 0):
                    m.d.sync += address.eq(self.current)
                    m.d.sync += state.eq(State.FINISH)
            with m.Case(State.FINISH), m.If(self.fetched & ~given_writer & self.written):
                m.d.comb += [self.ended.eq(1), fatal.eq(held), fatal_address.eq(held_address)]
                m.d.sync += [self.busy.eq(0), state.eq(State.IDLE)]
            with m.Case(State.DRAIN):
                m.d.comb += self.stop.eq(1)
                with m.If(self.drained):
                    m.d.sync += flushing.eq(flush_cycles - 1)
                    m.d.sync += state.eq(State.FLUSH)
            with m.Case(State.FLUSH):
                m.d.comb += [self.stop.eq(1), self.flush.eq(1)]
                m.d.sync += [
                    flushing.eq(flushing - 1),
                    given_core.eq(0),
                    given_writer.eq(0),
                    self.waiting.eq(0),
                ]
                with m.If(flushing == 0):
                    m.d.comb += self.ended.eq(1)
                    m.d.sync += self.busy.eq(0)
                    m.d.sync += state.eq(State.IDLE)

        with m.If(self.busy & ~self.stop):
            # An error in a descriptor is held until the layers before it have ended.
            with m.If(self.fault_ahead):
                m.d.comb += [error.eq(self.fault), error_address.eq(self.fault_address)]
            with m.If((error != 0) & (held == 0)):
                m.d.sync += [
                    held.eq(error),
                    held_address.eq(error_address),
                    state.eq(State.FINISH),
                ]
            # Anything else that goes wrong ends the chain at once.
            with m.If((self.fault != 0) & ~self.fault_ahead):
                m.d.comb += [fatal.eq(self.fault), fatal_address.eq(self.fault_address)]
            with m.If((fatal != 0) | self.abort):
                m.d.sync += [
                    state.eq(State.DRAIN),
                    self.failed.eq(fatal != 0),
                    self.aborted.eq(fatal == 0),
                    self.error_code.eq(fatal),
                    self.error_address.eq(fatal_address),
                ]
                m.d.comb += self.ended.eq(0)
                m.d.sync += self.busy.eq(1)
        return m
