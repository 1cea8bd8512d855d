"""The whole machine: core, memory system and registers, with AXI4 and AXI4-Lite ports."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect

from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.base.fork import fork
from dtqatten.hw.bus.axi import (
    connect_lite,
    connect_master,
    lite_ports,
    master_members,
    master_ports,
)
from dtqatten.hw.bus.read_master import ReadMaster
from dtqatten.hw.bus.register_file import RegisterFile
from dtqatten.hw.bus.write_master import WriteMaster
from dtqatten.hw.core import AttentionCore
from dtqatten.hw.memory.controller import Controller
from dtqatten.hw.memory.descriptor import known_flags, required_flags
from dtqatten.hw.memory.fetcher import Fetcher
from dtqatten.hw.memory.held_importance import HeldImportance
from dtqatten.hw.memory.writer import Writer, write_streams
from dtqatten.hw.ranking.head_pruning import HeadPruning
from dtqatten.interface.descriptor import VERSION
from dtqatten.interface.registers import IDENTIFIER, Control, ErrorCode
from dtqatten.interface.units import Unit

__all__ = ["System", "constants"]


def constants(system: SystemConfig) -> dict[str, int]:
    """Return the registers that never change, by name: what tells a driver the machine's sizes."""
    config = system.core
    return {
        "id": IDENTIFIER,
        "version": VERSION,
        "rows": config.rows,
        "cols": config.cols,
        "depth": config.depth,
        "d_head": config.d_head,
        "n_max": config.n_max,
        "heads": config.heads,
        "bus_bits": system.bus_bits,
        "planes": config.planes,
        "value_depth": config.group,
        "address_bits": system.address_bits,
        "capacity": config.positions,
        "merge_rows": config.merge_rows,
        "bias_heads": config.bias_heads,
        "flags": int(known_flags(config)),
        "flags_required": int(required_flags(config)),
    }


class System(wiring.Component):
    """The core on a bus: it runs chains of layers that descriptors in memory describe.

    Registers are those of :mod:`dtqatten.interface.registers`, descriptors those of
    :mod:`dtqatten.interface.descriptor`; ``docs/system.md`` describes their use.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    m_axi_*
        AXI4 master, see :func:`dtqatten.hw.bus.axi.master_ports`.
    s_axil_*
        AXI4-Lite subordinate, see :func:`dtqatten.hw.bus.axi.lite_ports`.
    irq : Out(1)
        An enabled interrupt is pending; level.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(master_ports(system) | lite_ports() | {"irq": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, config = self.system, self.system.core
        registers = place(m, platform, "registers", RegisterFile)
        control = place(m, platform, "controller", Controller, system)
        flush = control.flush
        fetcher = place(m, platform, "fetcher", Fetcher, system, reset=flush)
        core = place(m, platform, "core", AttentionCore, config, reset=flush)
        writer = place(m, platform, "writer", Writer, system, reset=flush)
        reads = place(m, platform, "read_master", ReadMaster, system, len(system.read_streams))
        writes = place(m, platform, "write_master", WriteMaster, system, write_streams(config))

        self._connect_bus(m, reads, writes)
        connect_lite(m, self, registers.lite)
        held = None
        if config.held_importance:
            held = place(m, platform, "held_importance", HeldImportance, system, reset=flush)
            self._hold(m, held, fetcher, core, writer)
        for number, port in enumerate(reads.ports):
            source = control.port if number == ReadStream.DESCRIPTOR else fetcher.ports[number]
            if number == ReadStream.IMPORTANCE and held is not None:
                source = held.port
            connect(m, source, port)
        for number, port in enumerate(writes.ports):
            connect(m, writer.ports[number], port)

        # Core. Its ids go both to the fetcher, for the next layer, and to the writer.
        for name in ("q", "k", "v", "queries", "keys", "heads"):
            connect(m, getattr(fetcher, name), getattr(core, name))
        if config.bias_heads:
            connect(m, fetcher.biases, core.biases)
        connect(m, control.layers, core.layers)
        if config.progressive:
            connect(m, core.verdicts, fetcher.verdicts)
        if config.chosen_values:
            connect(m, core.choices, fetcher.choices)
        if config.head_pruning:
            self._prune(m, platform, control, fetcher, core, writer)
        else:
            connect(m, core.outputs, writer.outputs)
        connect(m, core.report, writer.importance)
        fork(m, core.ids, [fetcher.ids, writer.ids], [1, 1], "ids")
        m.d.comb += [sink.p.eq(core.ids.p) for sink in (fetcher.ids, writer.ids)]

        # Faults are told a cycle late, so a layer is complete a cycle after its last answer.
        idle_before = Signal()
        m.d.sync += idle_before.eq(writes.idle)
        m.d.comb += [
            control.read_base.eq(registers.read_base),
            control.read_limit.eq(registers.read_limit),
            control.write_base.eq(registers.write_base),
            control.write_limit.eq(registers.write_limit),
            reads.window.eq(control.read_window),
            writes.window.eq(control.write_window),
            fetcher.ahead.eq(control.ahead),
            fetcher.next.eq(control.next),
            control.lists_read.eq(fetcher.lists_read),
            fetcher.unused.eq(control.unused),
            fetcher.start.eq(control.start),
            fetcher.layer.eq(control.layer),
            fetcher.four_bit.eq(control.four_bit),
            fetcher.query_four_bit.eq(control.query_four_bit),
            fetcher.repeats.eq(control.repeats),
            *([fetcher.rows.eq(control.rows)] if config.grouped else []),
            control.fetched.eq(fetcher.idle if held is None else fetcher.idle & held.idle),
            control.ids_complete.eq(fetcher.ids_complete),
            control.layer_done.eq(writer.done),
            control.written.eq(writer.idle),
            writer.answered.eq(writes.idle & idle_before),
            reads.late.eq(fetcher.late),
            reads.stop.eq(control.stop),
            writes.stop.eq(control.stop),
            control.drained.eq(reads.idle & writes.idle),
        ]
        if config.merge_rows:
            m.d.comb += writer.fetched.eq(fetcher.idle)
        connect(m, control.results, writer.layer)
        refused: tuple[Value, Value] = (Const(0), Const(0))
        if held is not None:
            refused = held.too_many, writer.current.held_base
        self._fault(m, control, fetcher, reads, writes, refused)

        self._count(m, registers, control, core, reads, writes)
        self._command(m, registers, control)
        return m

    @staticmethod
    def _fault(
        m: Module,
        control: Controller,
        fetcher: Fetcher,
        reads: ReadMaster,
        writes: WriteMaster,
        refused: tuple[Value, Value],
    ) -> None:
        """Tell the controller of faults, a cycle late.

        Parameters
        ----------
        m : Module
        control, fetcher, reads, writes : Controller, Fetcher, ReadMaster, WriteMaster
            Who is told, and who finds them.
        refused : tuple of Value
            Whether too many tokens are protected, and the address told then.
        """
        too_many, held_base = refused
        # Later statements take precedence. A master's address is that of a failed answer, if any.
        m.d.sync += control.fault.eq(ErrorCode.NONE)
        for failing, code, where in (
            (too_many, ErrorCode.PROTECTED, held_base),
            (fetcher.fault != ErrorCode.NONE, fetcher.fault, fetcher.fault_address),
            (reads.outside, ErrorCode.READ_WINDOW, reads.address),
            (writes.outside, ErrorCode.WRITE_WINDOW, writes.address),
            (reads.failed, ErrorCode.READ_RESPONSE, reads.address),
            (writes.failed, ErrorCode.WRITE_RESPONSE, writes.address),
        ):
            with m.If(failing):
                m.d.sync += [control.fault.eq(code), control.fault_address.eq(where)]
        m.d.sync += control.fault_ahead.eq(
            reads.failed & (reads.stream == ReadStream.DESCRIPTOR) & ~writes.failed
        )

    @staticmethod
    def _hold(
        m: Module, held: HeldImportance, fetcher: Fetcher, core: AttentionCore, writer: Writer
    ) -> None:
        """Connect what reads and writes importance by id.

        Parameters
        ----------
        m : Module
        held : HeldImportance
        fetcher, core, writer : Fetcher, AttentionCore, Writer
            Whose places, keys and layers they are.
        """
        connect(m, held.o, core.held)
        connect(m, held.runs, writer.held_runs)
        m.d.comb += [
            held.start.eq(writer.begin),
            held.layer.eq(writer.current),
            writer.held_idle.eq(held.idle),
            fetcher.asked.eq(held.asked),
            *(fetcher.index[i].eq(index) for i, index in enumerate(held.index)),
            held.granted.eq(fetcher.granted),
            held.entry.eq(fetcher.entry),
        ]

    def _prune(
        self,
        m: Module,
        platform: object,
        control: Controller,
        fetcher: Fetcher,
        core: AttentionCore,
        writer: Writer,
    ) -> None:
        """Rank heads by their outputs, on the way from core to writer.

        Parameters
        ----------
        m, platform
            As in ``elaborate``.
        control, fetcher, core, writer : Controller, Fetcher, AttentionCore, Writer
            Who gives and gets heads, weights, outputs, and reports.
        """
        config, flush = self.system.core, control.flush
        pruning = place(m, platform, "head_pruning", HeadPruning, config, reset=flush)
        connect(m, fetcher.weights, pruning.weights)
        connect(m, core.outputs, pruning.i)
        connect(m, pruning.o, writer.outputs)
        connect(m, control.ranked_layers, pruning.layer)
        connect(m, pruning.report, writer.heads)
        m.d.comb += [
            fetcher.kept.eq(control.kept_heads),
            control.ranked.eq(pruning.idle),
            control.kept.eq(pruning.kept),
        ]

    def _connect_bus(self, m: Module, reads: ReadMaster, writes: WriteMaster) -> None:
        """Make one AXI4 master of the one that reads and the one that writes."""
        master = wiring.Signature(master_members(self.system)).create(path=("axi",))
        for channel, unit in (
            ("ar", reads),
            ("r", reads),
            ("aw", writes),
            ("w", writes),
            ("b", writes),
        ):
            inner, outer = getattr(unit, channel), getattr(master, channel)
            source, sink = (outer, inner) if channel in ("r", "b") else (inner, outer)
            m.d.comb += [
                sink.valid.eq(source.valid),
                sink.p.eq(source.p),
                source.ready.eq(sink.ready),
            ]
        connect_master(m, self, master, self.system)

    def _command(self, m: Module, registers: RegisterFile, control: Controller) -> None:
        """Pass the host's commands on; show configuration, state and interrupts."""
        command = registers.control
        m.d.comb += [
            registers.busy.eq(control.busy | control.begin),
            control.begin.eq(
                command[Control.START.bit_length() - 1] & ~control.abort & ~control.busy
            ),
            control.resume.eq(command[Control.RESUME.bit_length() - 1]),
            control.abort.eq(command[Control.ABORT.bit_length() - 1]),
            control.first.eq(registers.descriptor),
            registers.interrupt_set.eq(Cat(control.completed, control.ended, control.stopped)),
            self.irq.eq((registers.interrupt & registers.interrupt_enable).any()),
        ]
        shown: dict[str, Value | int] = {
            **constants(self.system),
            "status": Cat(control.busy, control.waiting, control.failed, control.aborted),
            "error_code": control.error_code,
            "layers_done": control.layers_done,
            "error_address": control.error_address,
            "current": control.current,
        }
        m.d.comb += [getattr(registers, name).eq(value) for name, value in shown.items()]

    def _count(
        self,
        m: Module,
        registers: RegisterFile,
        control: Controller,
        core: AttentionCore,
        reads: ReadMaster,
        writes: WriteMaster,
    ) -> None:
        """Count what bus and units do, a cycle late, until the host clears the counters.

        Parameters
        ----------
        m : Module
        registers : RegisterFile
            Shows the counters; clears them.
        control, core, reads, writes : Controller, AttentionCore, ReadMaster, WriteMaster
            Whose events are counted.
        """
        counters = {
            "cycles": control.busy,
            "read_bursts": reads.issued,
            "read_beats": reads.came,
            "read_stalls": reads.stalled,
            "write_bursts": writes.issued,
            "write_beats": writes.sent,
            "write_bytes": writes.sent_bytes,
            "write_stalls": writes.stalled,
            "read_bytes": Mux(reads.issued, reads.asked_bytes, 0),
        }
        for unit in Unit:
            counters[f"{unit}_busy"] = core.activity.busy[unit.value]
            counters[f"{unit}_stalls"] = core.activity.stalled[unit.value]
        if self.system.core.progressive:
            verdict = core.verdicts
            told = verdict.valid & verdict.ready
            counters["tried_heads"] = told
            counters["flat_heads"] = told & verdict.p.flat
            counters["flat_rows"] = Mux(told, verdict.p.rows, 0)
        clear = registers.control[Control.CLEAR_COUNTERS.bit_length() - 1]
        for name, amount in counters.items():
            counter = Signal(32, name=name)
            event = Signal(Value.cast(amount).shape(), name=f"{name}_event")
            m.d.sync += [event.eq(amount), counter.eq(Mux(clear, 0, counter + event))]
            m.d.comb += getattr(registers, name).eq(counter)
