"""The checker: what each layer's descriptor must be before anything that it names is touched."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.window import window_layout
from dtqatten.hw.memory.descriptor import chain_layout, descriptor_layout, flag
from dtqatten.hw.memory.field_checks import field_checks
from dtqatten.hw.memory.group_rows import GroupRows, rows_layout
from dtqatten.hw.memory.region_check import RegionCheck, regions_of
from dtqatten.interface.descriptor import Flag
from dtqatten.interface.registers import ErrorCode

__all__ = ["Checker"]


class Checker(wiring.Component):
    """Check a descriptor whose head is good, before anything that it names is touched.

    Fields first, all at once; then, region by region, that every byte to be read or written
    lies in its window. The first failure counts: fields in the order of the error codes, then
    regions in the order of the descriptor, ``next`` between what is read and what is written.

    Latency from ``start`` to ``done``: ``repeats + 4`` cycles, and unless a field fails 3 for each
    of the regions, as far as the one that fails; ``heads // kv_heads`` is found by subtraction, a
    cycle each, and not at all for too many heads. Where query heads are grouped,
    :class:`~dtqatten.hw.memory.group_rows.GroupRows` takes up to ``rows`` cycles more.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    start : In(1)
        Begin; ``descriptor``, ``address``, ``before`` and windows stay until ``done``.
    descriptor : In(descriptor_layout())
        What to check.
    address : In(address_bits)
        Where it is.
    before : In(chain_layout(config))
        What the layer before leaves.
    read_window, write_window : In(window_layout(system))
        Pages.
    done : Out(1)
        Checked, for one cycle.
    error : Out(8)
        ``ErrorCode``, with ``done``; 0 if it passes.
    error_address : Out(64)
        The address that does not fit, or the descriptor's own.
    repeats : Out(16)
        ``heads / kv_heads``, from ``done`` on.
    rows : Out(rows_layout(config))
        Where query heads are grouped: the layer's rows, from ``done`` on.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(
            {
                "start": In(1),
                "descriptor": In(descriptor_layout()),
                "address": In(system.address_bits),
                "before": In(chain_layout(system.core)),
                "read_window": In(window_layout(system)),
                "write_window": In(window_layout(system)),
                "done": Out(1),
                "error": Out(8),
                "error_address": Out(64),
                "repeats": Out(16),
            }
            | ({"rows": Out(rows_layout(system.core))} if system.core.grouped else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core, d = self.system.core, self.descriptor
        # Division in time: heads - kv_heads - kv_heads - ...
        rest = Signal(16)
        dividing, divided = Signal(), Signal()
        counted, too_many = self._count_rows(m, dividing, divided) if core.grouped else (1, 0)
        checks = field_checks(
            core,
            d,
            self.before,
            address=self.address,
            remainder=rest,
            rows=self.rows.rows if core.grouped else d.queries,
            too_many_rows=too_many,
            group=self.rows.group if core.grouped else 1,
        )
        regions = regions_of(core)
        index, final = Signal(range(regions)), Signal()
        failing = Signal(len(checks))
        m.d.sync += failing.eq(Cat(fails for _, fails in checks))
        m.submodules.region = region = RegionCheck(self.system)
        m.d.comb += [
            region.index.eq(index),
            region.descriptor.eq(d),
            region.read_window.eq(self.read_window),
            region.write_window.eq(self.write_window),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [self.done.eq(0), rest.eq(d.heads), index.eq(0)]
                with m.If(self.start):
                    m.d.sync += [
                        self.error.eq(ErrorCode.NONE),
                        self.error_address.eq(self.address),
                        self.repeats.eq(0),
                    ]
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                with m.If((d.kv_heads != 0) & (rest >= d.kv_heads) & (d.heads <= core.heads)):
                    m.d.comb += dividing.eq(1)
                    m.d.sync += [rest.eq(rest - d.kv_heads), self.repeats.eq(self.repeats + 1)]
                with m.Else():
                    m.d.comb += divided.eq(1)
                    with m.If(counted):
                        m.next = "FIELDS"
            with m.State("FIELDS"):
                m.next = "FIRST"
            with m.State("FIRST"):
                m.next = "MULTIPLY"
                # Later statements override: the first failing check counts.
                for i, (code, _) in reversed([*enumerate(checks)]):
                    with m.If(failing[i]):
                        m.d.sync += [self.error.eq(code), self.done.eq(1)]
                        m.next = "IDLE"
            with m.State("MULTIPLY"):
                m.next = "ADD"
            # The next region is looked up while this one is compared.
            with m.State("ADD"):
                m.d.sync += [index.eq(index + 1), final.eq(index == regions - 1)]
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.next = "MULTIPLY"
                with m.If(final):
                    m.d.sync += self.done.eq(1)
                    m.next = "IDLE"
                with m.If(region.enabled & (~region.inside | region.misaligned)):
                    outside = Mux(region.written, ErrorCode.WRITE_WINDOW, ErrorCode.READ_WINDOW)
                    m.d.sync += [
                        self.error.eq(outside),
                        self.error_address.eq(region.base),
                        self.done.eq(1),
                    ]
                    with m.If(region.misaligned):
                        m.d.sync += self.error.eq(ErrorCode.ALIGNMENT)
                    m.next = "IDLE"
        return m

    def _count_rows(self, m: Module, dividing: Signal, divided: Signal) -> tuple[Value, Value]:
        """Count the rows of a group of query heads while the heads are divided.

        Parameters
        ----------
        m : Module
        dividing : Signal
            There is another query head for each head of K and V.
        divided : Signal
            There is none.

        Returns
        -------
        tuple of Value
            Whether rows are counted; whether they are too many.
        """
        d, before = self.descriptor, self.before
        m.submodules.group = group = GroupRows(self.system.core)
        grouped, chained = flag(d, Flag.GROUPED), flag(d, Flag.QUERY_CHAINED)
        m.d.comb += [
            group.start.eq(self.start),
            group.queries.eq(d.queries),
            group.four_bit.eq(Mux(chained, before.k0 - before.k1, d.query_four_bit)),
            group.step.eq(dividing & (grouped | (self.repeats == 0))),
            group.finish.eq(divided),
            self.rows.heads.eq(Mux(grouped, d.kv_heads, d.heads)),
            self.rows.repeats.eq(Mux(grouped, 1, self.repeats)),
            self.rows.group.eq(group.group),
            self.rows.rows.eq(group.rows),
            self.rows.four_bit.eq(group.row_four_bit),
            self.rows.edge.eq(group.edge),
        ]
        return group.done, group.over
