"""The memory that a descriptor names: whether every byte of a region lies in its window."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.window import PAGE_BITS, contains, window_layout
from dtqatten.hw.memory.descriptor import ALIGNMENT_BITS, descriptor_layout, flag
from dtqatten.interface.descriptor import (
    BIAS_BYTES,
    ENTRY_BYTES,
    ID_BYTES,
    REPORT_BYTES,
    SIZE,
    Flag,
)

__all__ = ["RegionCheck", "regions_of"]


def regions_of(config: Config) -> int:
    """Regions of a descriptor, in the order in which they are checked."""
    return 14 + 2 * config.held_importance + config.head_pruning + (config.bias_heads > 0)


class RegionCheck(wiring.Component):
    """Compare one region of a descriptor with its window.

    A region is ``x * y`` elements of some bytes from ``base`` on: what is read comes first, in the
    order of the descriptor, then ``next``, then what is written; the output is a region for each
    of its two forms.

    Latency: ``inside`` follows ``index`` by 3 cycles, all else by one; ``index`` stays for 3.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    index : In(range(regions_of(config)))
        Which region.
    descriptor : In(descriptor_layout())
        Its descriptor.
    read_window, write_window : In(window_layout(system))
        Pages.
    base : Out(64)
        First byte.
    enabled : Out(1)
        The layer uses the region.
    written : Out(1)
        It is written, not read.
    misaligned : Out(1)
        ``base`` is not a multiple of the alignment.
    inside : Out(1)
        First and last byte lie in the window.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(
            {
                "index": In(range(regions_of(system.core))),
                "descriptor": In(descriptor_layout()),
                "read_window": In(window_layout(system)),
                "write_window": In(window_layout(system)),
                "base": Out(64),
                "enabled": Out(1),
                "written": Out(1),
                "misaligned": Out(1),
                "inside": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, core, d = self.system, self.system.core, self.descriptor
        codes = flag(d, Flag.CODES)
        # A segment that is held writes nothing.
        writes = ~flag(d, Flag.HOLDS) if core.merge_rows else Const(1)
        channels = core.d_head
        rows = Mux(flag(d, Flag.QUERY_CHAINED), d.stored, d.queries)
        heads, kv_heads = d.heads, d.kv_heads
        if core.head_pruning:
            # Those that are pruned are in memory, too.
            chained = flag(d, Flag.HEADS_CHAINED)
            heads = Mux(chained, d.stored_heads, d.heads)
            kv_heads = Mux(chained, d.stored_heads, d.kv_heads)
        report = (d.head_report, flag(d, Flag.HEAD_REPORT), heads, 1, REPORT_BYTES, True)
        biases = (d.key_bias, flag(d, Flag.KEY_BIAS), heads, d.capacity, BIAS_BYTES, False)
        held = [(d.held, flag(d, Flag.HELD), d.capacity, 1, 4)] if core.held_importance else []
        regions = (
            # address, enabled, x, y, bytes of an element, written
            (d.q, 1, heads, rows, channels, False),
            (d.k, 1, kv_heads, d.capacity, channels, False),
            (d.v, 1, kv_heads, d.capacity, channels, False),
            (d.head_table, 1, heads, 1, ENTRY_BYTES, False),
            (d.q_gains, flag(d, Flag.Q_GAINS), heads, rows, 1, False),
            (d.k_gains, flag(d, Flag.K_GAINS), kv_heads, d.capacity, 1, False),
            (d.v_gains, flag(d, Flag.V_GAINS), kv_heads, d.capacity, 1, False),
            (d.query_list, flag(d, Flag.QUERY_LIST), d.queries, 1, ID_BYTES, False),
            (d.key_list, flag(d, Flag.KEY_LIST), d.tokens, 1, ID_BYTES, False),
            *((*one, False) for one in held),
            *([biases] if core.bias_heads else []),
            (d.next, d.next != 0, 1, 1, SIZE, False),
            (d.output, ~codes & writes, d.heads, d.queries, 2 * channels, True),
            (d.output, codes & writes, d.heads, d.queries, channels, True),
            (d.ids, flag(d, Flag.IDS), d.k0, 1, ID_BYTES, True),
            (d.importance, flag(d, Flag.REPORT), d.tokens, 1, 4, True),
            *((*one, True) for one in held),
            *([report] if core.head_pruning else []),
        )
        assert len(regions) == regions_of(core)
        most = max(core.heads, core.n_max, core.positions if held else 0)
        x = Signal(range(most + 1))
        y = Signal(range(core.positions + 1))
        unit = Signal(range(2 * channels + SIZE))
        with m.Switch(self.index):
            for i, (at, wanted, first, second, size, write) in enumerate(regions):
                with m.Case(i):
                    m.d.sync += [
                        self.base.eq(at),
                        self.enabled.eq(wanted),
                        x.eq(first),
                        y.eq(second),
                        unit.eq(size),
                        self.written.eq(write),
                    ]

        # Multiply, then add: a cycle each.
        product, last = Signal(len(x) + len(y)), Signal(65)
        m.d.sync += [product.eq(x * y), last.eq(self.base + product * unit - 1)]
        window = data.View(
            window_layout(system),
            Mux(self.written, self.write_window.as_value(), self.read_window.as_value()),
        )
        m.d.comb += [
            self.misaligned.eq(self.base[:ALIGNMENT_BITS].any()),
            self.inside.eq(
                ~last[system.address_bits :].any()
                & contains(window, self.base[PAGE_BITS : system.address_bits])
                & contains(window, last[PAGE_BITS : system.address_bits])
            ),
        ]
        return m
