"""Where a layer's outputs go: a run for each row block, or for each row of a channel pass."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.bursts import run_layout
from dtqatten.hw.memory.slots import RowBlocks

__all__ = ["OutputRuns"]


class OutputRuns(wiring.Component):
    """Addresses of a layer's outputs ``[head][slot][d_head]``, in the order in which they come.

    With one channel pass, a row block is one run; with more, every row has a run in each pass.
    Row blocks come in the order of :class:`~dtqatten.hw.memory.slots.RowBlocks`.

    Latency: 4 cycles from ``start`` to the first run. Throughput one run a cycle.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    start : In(1)
        Begin with ``base``, ``heads``, ``queries``, ``four_bit`` and ``codes``, which stay until
        ``idle``.
    base : In(address_bits)
        First byte.
    heads, queries : In(16), In(range(n_max + 1))
        Both at least 1.
    four_bit : In(range(n_max + 1))
        Queries of the 4-bit class.
    codes : In(1)
        A value has 1 byte in place of 2.
    idle : Out(1)
        All runs are out.
    o : Out(stream.Signature(run_layout(system)))
        Runs.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        count = range(system.core.n_max + 1)
        super().__init__(
            {
                "start": In(1),
                "base": In(system.address_bits),
                "heads": In(16),
                "queries": In(count),
                "four_bit": In(count),
                "codes": In(1),
                "idle": Out(1),
                "o": Out(stream.Signature(run_layout(system))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core = self.system.core
        passes, channels = core.channel_passes, core.d_head
        tail = channels - (passes - 1) * core.cols

        begun, active, block_end = Signal(), Signal(), Signal()
        head = Signal(16)
        head_base = Signal(self.system.address_bits)
        # A run on its way out: within its head, then as an address.
        within, within_free, free = Signal(), Signal(), Signal()
        blocks = place(m, platform, "blocks", RowBlocks, core)
        m.d.comb += [
            blocks.restart.eq(self.start),
            blocks.tokens.eq(self.queries),
            blocks.four_bit.eq(self.four_bit),
            blocks.next.eq(active & within_free & block_end),
            free.eq(~self.o.valid | self.o.ready),
            within_free.eq(~within | free),
            self.idle.eq(~begun & ~active & ~within & ~self.o.valid),
        ]

        def bytes_of(values: Value | int) -> Value:
            return Mux(self.codes, values, values << 1)

        # Channels of the head before the run, and in it.
        before = Signal(range(core.n_max * channels))
        length = Signal(range(core.rows * channels + 1))
        if passes == 1:
            m.d.comb += [
                before.eq(blocks.first * channels),
                length.eq(blocks.size * channels),
                block_end.eq(1),
            ]
        else:
            row, channel_pass = Signal(range(core.rows)), Signal(range(passes))
            last_row, last_pass = Signal(), Signal()
            m.d.comb += [
                last_row.eq(row == blocks.size - 1),
                last_pass.eq(channel_pass == passes - 1),
                before.eq((blocks.first + row) * channels + channel_pass * core.cols),
                length.eq(Mux(last_pass, tail, core.cols)),
                block_end.eq(last_row & last_pass),
            ]
            with m.If(active & within_free):
                m.d.sync += row.eq(Mux(last_row, 0, row + 1))
                with m.If(last_row):
                    m.d.sync += channel_pass.eq(Mux(last_pass, 0, channel_pass + 1))
        head_size, ends = Signal(self.system.address_bits), Signal()
        place_in_head, size = Signal(len(before) + 1), Signal(len(length) + 1)
        m.d.sync += head_size.eq(bytes_of(self.queries * channels))
        with m.If(within_free):
            m.d.sync += [
                within.eq(active),
                ends.eq(blocks.next & blocks.last),
                place_in_head.eq(bytes_of(before)),
                size.eq(bytes_of(length)),
            ]
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(within),
                self.o.p.address.eq(head_base + place_in_head),
                self.o.p.size.eq(size),
            ]
            with m.If(within & ends):
                m.d.sync += head_base.eq(head_base + head_size)
        with m.If(blocks.next & blocks.last):
            m.d.sync += [head.eq(head + 1), active.eq(head + 1 != self.heads)]
        # The first row block takes a cycle.
        m.d.sync += begun.eq(self.start)
        with m.If(begun):
            m.d.sync += active.eq(1)
        with m.If(self.start):
            m.d.sync += [head.eq(0), head_base.eq(self.base)]
        return m
