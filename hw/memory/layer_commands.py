"""What core and writer need to know of a layer, from its descriptor."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.memory.descriptor import descriptor_layout, flag, is_segment
from dtqatten.hw.memory.group_rows import rows_layout
from dtqatten.hw.memory.writer import results_layout
from dtqatten.hw.payloads.heads import heads_layout
from dtqatten.hw.payloads.ranking import layer_layout
from dtqatten.interface.descriptor import Flag

__all__ = ["LayerCommands"]


class LayerCommands(wiring.Component):
    """Pick the fields of a layer that core and writer need; combinational.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    layer : In(descriptor_layout())
        The layer.
    query_four_bit : In(range(n_max + 1))
        How many of its queries have 4 bits.
    rows : In(rows_layout(config))
        Where query heads are grouped: its rows, and those with 4 bits.
    for_writer : Out(results_layout(system))
        What the writer needs.
    for_core : Out(layer_layout(system.core))
        What the core needs.
    for_heads : Out(heads_layout(system.core))
        Where heads can be pruned: what ranks them needs.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(
            {
                "layer": In(descriptor_layout()),
                "query_four_bit": In(range(system.core.n_max + 1)),
                "for_writer": Out(results_layout(system)),
                "for_core": Out(layer_layout(system.core)),
            }
            | ({"rows": In(rows_layout(system.core))} if system.core.grouped else {})
            | ({"for_heads": Out(heads_layout(system.core))} if system.core.head_pruning else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layer, results, command = self.layer, self.for_writer, self.for_core
        m.d.comb += [
            results.output.eq(layer.output),
            results.form.codes.eq(flag(layer, Flag.CODES)),
            results.form.shift.eq(layer.output_shift),
            results.heads.eq(layer.heads),
            results.queries.eq(layer.queries),
            results.query_four_bit.eq(self.query_four_bit),
            results.tokens.eq(layer.tokens),
            results.ids.eq(layer.ids),
            results.write_ids.eq(flag(layer, Flag.IDS)),
            results.k0.eq(layer.k0),
            results.importance.eq(layer.importance),
            results.report.eq(flag(layer, Flag.REPORT)),
            command.heads.eq(layer.heads),
            command.k0.eq(layer.k0),
            command.k1.eq(layer.k1),
            command.report.eq(flag(layer, Flag.REPORT)),
        ]
        if self.system.core.merge_rows:
            m.d.comb += [
                results.holds.eq(flag(layer, Flag.HOLDS)),
                results.segment.eq(is_segment(layer)),
            ]
        if self.system.core.grouped:
            m.d.comb += [
                results.heads.eq(self.rows.heads),
                results.queries.eq(self.rows.rows),
                results.query_four_bit.eq(self.rows.four_bit),
                command.heads.eq(self.rows.heads),
            ]
        if self.system.core.head_pruning:
            chained, report = (flag(layer, f) for f in (Flag.HEADS_CHAINED, Flag.HEAD_REPORT))
            m.d.comb += [
                self.for_heads.heads.eq(Mux(chained, layer.stored_heads, layer.heads)),
                self.for_heads.keep.eq(layer.keep_heads),
                self.for_heads.chained.eq(chained),
                self.for_heads.report.eq(report),
                results.report_heads.eq(report),
                results.stored_heads.eq(self.for_heads.heads),
                results.head_report.eq(layer.head_report),
            ]
        if self.system.core.held_importance:
            held = flag(layer, Flag.HELD)
            m.d.comb += [
                results.held.eq(held),
                results.held_base.eq(layer.held),
                results.listed.eq(flag(layer, Flag.KEY_LIST)),
                results.four_bit.eq(layer.four_bit),
                results.protect_first.eq(layer.protect_first),
                results.protect_last.eq(layer.protect_last),
                command.held.eq(held),
                command.report.eq(flag(layer, Flag.REPORT) | held),
            ]
        optional = {"cumulative": Flag.CUMULATIVE, "fresh": Flag.FRESH, "count": Flag.COUNT}
        for name, which in optional.items():
            if name in dict(layer_layout(self.system.core)):
                m.d.comb += command[name].eq(flag(layer, which))
        return m
