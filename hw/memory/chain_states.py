"""The states of a chain: a descriptor is read, checked and started; the chain ends or fails."""

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import enum

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.memory.descriptor import chain_layout, flag, is_segment
from dtqatten.interface.descriptor import HEAD_BYTES, MAGIC, SIZE, VERSION, Flag
from dtqatten.interface.registers import ErrorCode

__all__ = ["ChainStates", "State"]


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
    #: Wait until lists are read and the fetcher can begin; it begins.
    START = 7
    STARTED = 8
    #: The last layer has begun: of the chain, or before a descriptor in which there is an error.
    FINISH = 9
    #: Something went wrong: the bus empties, the rest is reset.
    DRAIN = 10
    FLUSH = 11


class ChainStates:
    """State machine of the :class:`~dtqatten.hw.memory.controller.Controller`.

    A helper that adds statements to the controller's module: ports and parts are the controller's,
    only the registers that states share are its own.

    Parameters
    ----------
    system : SystemConfig
    ports : Controller
        Whose ports these are.
    reader, addresses, checker
        Its descriptor reader, address check and checker.

    Attributes
    ----------
    address : Signal
        Of the descriptor that is read.
    whole : Signal
        All of it is read, not only its head.
    before : Signal(chain_layout(config))
        What the layer started last leaves.
    given_core, given_writer, given_heads : Signal
        The layer is offered to the core, the writer, what ranks heads, and not taken yet.
    """

    def __init__(
        self, system: SystemConfig, ports: Any, *, reader: Any, addresses: Any, checker: Any
    ) -> None:
        self.system, self.ports = system, ports
        self.reader, self.addresses, self.checker = reader, addresses, checker
        self.address, self.whole = Signal(64), Signal()
        self.before = Signal(chain_layout(system.core))
        self.given_core, self.given_writer, self.given_heads = Signal(), Signal(), Signal()
        self._state = Signal(State)
        self._left = Signal(range(SIZE // HEAD_BYTES))
        self._resumed, self._asked_again = Signal(), Signal()
        self._checked = Signal()
        self._flushing = Signal(range(system.core.flush_cycles))
        # What is wrong with the descriptor, and is held until the layers before it have ended.
        self._error, self._error_address = Signal(8), Signal(64)
        self._held, self._held_address = Signal(8), Signal(64)
        self._finished = Signal()

    def add(self, m: Module) -> None:
        """Add all states and what leads out of any; last, since these override other statements."""
        m.d.comb += self._asked_again.eq(self._resumed | self.ports.resume)
        m.d.sync += self._resumed.eq(self._asked_again)
        with m.Switch(self._state):
            self._begin(m)
            self._read(m)
            self._check(m)
            self._start(m)
            self._end(m)
        self._fail(m)

    def _begin(self, m: Module) -> None:
        """Wait for a chain: forget all of the one before."""
        ports = self.ports
        with m.Case(State.IDLE), m.If(ports.begin):
            m.d.sync += [
                self.address.eq(ports.first),
                self.whole.eq(0),
                self.before.eq(0),
                self._resumed.eq(0),
                self._held.eq(ErrorCode.NONE),
                ports.failed.eq(0),
                ports.aborted.eq(0),
                ports.error_code.eq(ErrorCode.NONE),
                ports.error_address.eq(0),
                ports.layers_done.eq(0),
                ports.busy.eq(1),
            ]
            m.d.sync += self._state.eq(State.ASK)

    def _read(self, m: Module) -> None:
        """Read the head, again until it is ready; then all of the descriptor."""
        ports, reader, addresses = self.ports, self.reader, self.addresses
        error, error_address = self._error, self._error_address
        # The address has been checked from the second cycle on.
        m.d.sync += self._checked.eq((self._state == State.ASK) & ~reader.asked)
        with m.Case(State.ASK), m.If(self._checked):
            m.d.comb += [error.eq(addresses.error), error_address.eq(addresses.error_address)]
            m.d.comb += reader.ask.eq(error == 0)
            with m.If(reader.asked):
                m.d.sync += self._left.eq(Mux(self.whole, SIZE // HEAD_BYTES - 1, 0))
                m.d.sync += self._state.eq(State.READ)
        with m.Case(State.READ), m.If(reader.word):
            m.d.sync += self._left.eq(self._left - 1)
            with m.If(self._left == 0):
                m.d.sync += self._state.eq(Mux(self.whole, State.CHECK, State.HEAD))
        with m.Case(State.HEAD):
            with m.If((reader.head.magic != MAGIC) | (reader.head.version != VERSION)):
                m.d.comb += [error.eq(ErrorCode.VERSION), error_address.eq(self.address)]
            with m.Elif(reader.head.ready != 0):
                m.d.sync += self.whole.eq(1)
                m.d.sync += self._state.eq(State.ASK)
            with m.Elif(self._asked_again):
                m.d.sync += self._resumed.eq(0)
                m.d.sync += self._state.eq(State.ASK)
            with m.Else():
                m.d.comb += ports.stopped.eq(1)
                m.d.sync += [ports.waiting.eq(1), self._state.eq(State.WAIT)]
        with m.Case(State.WAIT), m.If(ports.resume):
            m.d.sync += [ports.waiting.eq(0), self._resumed.eq(0)]
            m.d.sync += self._state.eq(State.ASK)

    def _check(self, m: Module) -> None:
        """Have the descriptor checked."""
        checker = self.checker
        with m.Case(State.CHECK):
            m.d.comb += checker.start.eq(1)
            m.d.sync += self._state.eq(State.CHECKING)
        with m.Case(State.CHECKING), m.If(checker.done):
            m.d.comb += [
                self._error.eq(checker.error),
                self._error_address.eq(checker.error_address),
            ]
            m.d.sync += self._state.eq(State.START)

    def _start(self, m: Module) -> None:
        """Start the layer and go on to the next descriptor."""
        ports, before, descriptor = self.ports, self.before, self.reader.descriptor
        kept_four_bit = before.k0 - before.k1
        with m.Case(State.START):
            # The layer before has been read, and what it keeps is known.
            free = ~self.given_core & ~self.given_writer & ~self.given_heads
            known = ~before.valid | ports.ids_complete
            segment = Const(0)
            if self.system.core.merge_rows:
                # Segments keep no ids.
                known |= before.segment
                segment = is_segment(descriptor)
                holds = flag(descriptor, Flag.HOLDS)
            chained = flag(descriptor, Flag.CHAINED) | flag(descriptor, Flag.QUERY_CHAINED)
            m.d.comb += [ports.ahead.eq(known | ~chained), ports.unused.eq(~chained)]
            ranked = self._ranked() if self.system.core.head_pruning else Const(1)
            with m.If(ports.fetched & free & known & ranked & ports.lists_read):
                if self.system.core.merge_rows:
                    m.d.sync += [before.segment.eq(segment), before.holds.eq(holds)]
                    m.d.sync += [
                        before[name].eq(descriptor[name])
                        for name in ("heads", "kv_heads", "queries")
                    ]
                    if self.system.core.grouped:
                        m.d.sync += before.grouped.eq(flag(descriptor, Flag.GROUPED))
                m.d.sync += [
                    ports.layer.eq(descriptor),
                    ports.repeats.eq(self.checker.repeats),
                    *([ports.rows.eq(self.checker.rows)] if self.system.core.grouped else []),
                    *(
                        boundary.eq(Mux(flag(descriptor, chained), kept_four_bit, given))
                        for boundary, chained, given in (
                            (ports.four_bit, Flag.CHAINED, descriptor.four_bit),
                            (
                                ports.query_four_bit,
                                Flag.QUERY_CHAINED,
                                descriptor.query_four_bit,
                            ),
                        )
                    ),
                    before.valid.eq(1),
                    before.tokens.eq(descriptor.tokens),
                    before.k0.eq(descriptor.k0),
                    before.k1.eq(descriptor.k1),
                    before.cumulative.eq(flag(descriptor, Flag.CUMULATIVE)),
                    self.given_core.eq(~segment),
                    self.given_writer.eq(1),
                ]
                if self.system.core.head_pruning:
                    self._choose_heads(m)
                m.d.sync += self._state.eq(State.STARTED)
        with m.Case(State.STARTED):
            m.d.comb += ports.start.eq(1)
            m.d.sync += [self.address.eq(ports.layer.next), self.whole.eq(0)]
            m.d.sync += self._state.eq(State.ASK)
            with m.If(ports.layer.next == 0):
                m.d.sync += self.address.eq(ports.current)
                m.d.sync += self._state.eq(State.FINISH)

    @property
    def _all_heads_stay(self) -> Value:
        return self.before.keep_heads == self.ports.layer.heads

    def _ranked(self) -> Value:
        """Return whether the layer's heads are known: ranked, or all that the one before has."""
        chained = flag(self.reader.descriptor, Flag.HEADS_CHAINED)
        return ~chained | self._all_heads_stay | self.ports.ranked

    def _choose_heads(self, m: Module) -> None:
        """Choose the heads of the layer that starts."""
        ports, before, descriptor = self.ports, self.before, self.reader.descriptor
        chained = flag(descriptor, Flag.HEADS_CHAINED)
        left = Mux(self._all_heads_stay, ports.kept_heads, ports.kept)
        m.d.sync += [
            ports.kept_heads.eq(Mux(chained, left, ~Const(0, len(ports.kept_heads)))),
            before.heads.eq(Mux(chained, descriptor.stored_heads, descriptor.heads)),
            before.keep_heads.eq(descriptor.keep_heads),
            self.given_heads.eq(1),
        ]

    def _end(self, m: Module) -> None:
        """Wait until all layers are written; or empty the bus and reset the rest."""
        ports = self.ports
        with m.Case(State.FINISH):
            m.d.comb += [
                ports.unused.eq(1),
                self._finished.eq(ports.fetched & ~self.given_writer & ports.written),
            ]
            with m.If(self._finished):
                m.d.comb += ports.ended.eq(1)
                m.d.sync += [ports.busy.eq(0), self._state.eq(State.IDLE)]
        with m.Case(State.DRAIN):
            m.d.comb += ports.stop.eq(1)
            with m.If(ports.drained):
                m.d.sync += self._flushing.eq(self.system.core.flush_cycles - 1)
                m.d.sync += self._state.eq(State.FLUSH)
        with m.Case(State.FLUSH):
            m.d.comb += [ports.stop.eq(1), ports.flush.eq(1)]
            m.d.sync += [
                self._flushing.eq(self._flushing - 1),
                self.given_core.eq(0),
                self.given_writer.eq(0),
                self.given_heads.eq(0),
                ports.waiting.eq(0),
            ]
            with m.If(self._flushing == 0):
                m.d.comb += ports.ended.eq(1)
                m.d.sync += ports.busy.eq(0)
                m.d.sync += self._state.eq(State.IDLE)

    def _fail(self, m: Module) -> None:
        """Leave any state for what goes wrong."""
        ports = self.ports
        with m.If(ports.busy & ~ports.stop):
            # An error in a descriptor is held until the layers before it have ended.
            with m.If(ports.fault_ahead):
                m.d.comb += [
                    self._error.eq(ports.fault),
                    self._error_address.eq(ports.fault_address),
                ]
            with m.If((self._error != 0) & (self._held == 0)):
                m.d.sync += [
                    self._held.eq(self._error),
                    self._held_address.eq(self._error_address),
                    self._state.eq(State.FINISH),
                ]
            # Anything else that goes wrong ends the chain at once.
            fatal = (ports.fault != 0) & ~ports.fault_ahead
            # `_finished` comes late, from all units: it does no more than select.
            failing = fatal | (self._finished & (self._held != 0))
            with m.If(failing | ports.abort):
                m.d.sync += [
                    self._state.eq(State.DRAIN),
                    ports.failed.eq(failing),
                    ports.aborted.eq(~failing),
                ]
                for shown, found, held in (
                    (ports.error_code, ports.fault, self._held),
                    (ports.error_address, ports.fault_address, self._held_address),
                ):
                    m.d.sync += shown.eq(Mux(fatal, found, Mux(failing, held, 0)))
                m.d.comb += ports.ended.eq(0)
                m.d.sync += ports.busy.eq(1)
