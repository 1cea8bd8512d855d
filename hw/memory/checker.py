"""Layer descriptors: layout of their bytes, and the checks that each must pass."""

from amaranth.hdl import Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.window import contains, window_layout
from dtqatten.interface.descriptor import (
    ADDRESS_ALIGNMENT,
    FIELDS,
    PAGE_BYTES,
    SIZE,
    Flag,
)
from dtqatten.interface.registers import ErrorCode

__all__ = ["Checker", "chain_layout", "descriptor_layout", "flag", "known_flags", "required_flags"]


def descriptor_layout() -> data.FlexibleLayout:
    """Return a descriptor's fields over its bytes, little endian."""
    return data.FlexibleLayout(
        8 * SIZE, {f.name: data.Field(unsigned(f.bits), 8 * f.offset) for f in FIELDS}
    )


def chain_layout(config: Config) -> data.StructLayout:
    """What a layer leaves to the next one: ``tokens`` slots, of which ``k0`` are kept.

    ``valid``: there is a layer before; ``cumulative``: its importance is carried on.
    """
    count = range(config.n_max + 1)
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "tokens": count,
            "k0": count,
            "k1": count,
            "cumulative": unsigned(1),
        }
    )


def known_flags(config: Config) -> Flag:
    """Return the flags that a build can serve."""
    flags = ~Flag(0)
    for possible, needing in (
        (config.v_gains, Flag.V_GAINS),
        (config.cumulative, Flag.CUMULATIVE | Flag.FRESH),
        (config.count_normalize, Flag.COUNT),
    ):
        if not possible:
            flags &= ~needing
    return flags


def flag(layer: data.View, which: Flag) -> Signal:
    """Return one flag of a descriptor."""
    return layer.flags[which.bit_length() - 1]


def required_flags(config: Config) -> Flag:
    """Return the flags that every layer of a build must have.

    Where values have gains, rows are divided otherwise: no gain stands for having none.
    """
    return Flag.V_GAINS if config.v_gains else Flag(0)


class Checker(wiring.Component):
    """Check a descriptor whose head is good, before anything that it names is touched.

    Fields first, all in one cycle; then, region by region, that every byte to be read or written
    lies in its window. The first failure counts: fields in the order of the error codes, then
    regions in the order of the descriptor, ``next`` between what is read and what is written.

    Latency from ``start`` to ``done``: ``group + 3`` cycles, and unless a field fails 3 for each of
    the twelve regions, as far as the one that fails; ``heads // kv_heads`` is found by
    subtraction, a cycle each, and not at all for too many heads.

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
    group : Out(16)
        ``heads / kv_heads``, from ``done`` on.
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
                "group": Out(16),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, core, d = self.system, self.system.core, self.descriptor

        # The group by division in time: heads - kv_heads - kv_heads - ...
        rest = Signal(16)
        counts_match = Mux(
            flag(d, Flag.CHAINED),
            self.before.valid
            & (d.stored == self.before.tokens)
            & (d.tokens == self.before.k0)
            & (d.four_bit == 0),
            (d.tokens == d.stored) & (d.four_bit <= d.tokens),
        )
        unknown = d.flags & Const(~int(known_flags(core)) & 0xFFFFFFFF, 32)
        missing = ~d.flags & Const(int(required_flags(core)), 32)
        nothing_carried = (
            flag(d, Flag.CUMULATIVE)
            & ~flag(d, Flag.FRESH)
            & ~(flag(d, Flag.CHAINED) & self.before.valid & self.before.cumulative)
        )
        covered = sum((1 << f.bits) - 1 << 8 * f.offset for f in FIELDS)
        reserved = Const(~covered & (1 << 8 * SIZE) - 1, 8 * SIZE)
        field_checks = (
            (
                ErrorCode.FLAGS,
                (unknown != 0)
                | (missing != 0)
                | (d.as_value() & reserved).any()
                | (d.output_shift > Mux(flag(d, Flag.CODES), 7, 0))
                | nothing_carried,
            ),
            (ErrorCode.NO_HEADS, d.heads == 0),
            (ErrorCode.TOO_MANY_HEADS, d.heads > core.heads),
            (ErrorCode.KV_HEADS, (d.kv_heads == 0) | (rest != 0)),
            (ErrorCode.NO_TOKENS, (d.stored == 0) | (d.tokens == 0)),
            (ErrorCode.TOO_MANY_TOKENS, d.stored > core.n_max),
            (ErrorCode.TOKENS, ~counts_match),
            (ErrorCode.K0, (d.k0 == 0) | (d.k0 > d.tokens)),
            (ErrorCode.K1, d.k1 > d.k0),
            (ErrorCode.CHAIN, (d.next != 0) & (d.next <= self.address)),
        )

        # Regions: x * y elements of some bytes.
        codes = flag(d, Flag.CODES)
        channels = core.d_head
        regions = (
            # address, enabled, x, y, bytes of an element, written
            (d.q, 1, d.heads, d.stored, channels, False),
            (d.k, 1, d.kv_heads, d.stored, channels, False),
            (d.v, 1, d.kv_heads, d.stored, channels, False),
            (d.head_table, 1, d.heads, 1, 4, False),
            (d.q_gains, flag(d, Flag.Q_GAINS), d.heads, d.stored, 1, False),
            (d.k_gains, flag(d, Flag.K_GAINS), d.kv_heads, d.stored, 1, False),
            (d.v_gains, flag(d, Flag.V_GAINS), d.kv_heads, d.stored, 1, False),
            (d.next, d.next != 0, 1, 1, SIZE, False),
            (d.output, ~codes, d.heads, d.tokens, 2 * channels, True),
            (d.output, codes, d.heads, d.tokens, channels, True),
            (d.ids, flag(d, Flag.IDS), d.k0, 1, 2, True),
            (d.importance, flag(d, Flag.REPORT), d.tokens, 1, 4, True),
        )
        index = Signal(range(len(regions)))
        base, last = Signal(64), Signal(65)
        enabled, written = Signal(), Signal()
        x = Signal(range(max(core.heads, core.n_max) + 1))
        y = Signal(range(core.n_max + 1))
        unit = Signal(range(2 * channels + SIZE))
        with m.Switch(index):
            for i, (at, wanted, first, second, size, write) in enumerate(regions):
                with m.Case(i):
                    m.d.comb += [
                        base.eq(at),
                        enabled.eq(wanted),
                        x.eq(first),
                        y.eq(second),
                        unit.eq(size),
                        written.eq(write),
                    ]
        product = Signal(len(x) + len(y))
        m.d.sync += [product.eq(x * y), last.eq(base + product * unit - 1)]
        page_bits = PAGE_BYTES.bit_length() - 1
        window = data.View(
            window_layout(system),
            Mux(written, self.write_window.as_value(), self.read_window.as_value()),
        )
        high = last[system.address_bits :]
        inside = (
            ~high.any()
            & contains(window, base[page_bits : system.address_bits])
            & contains(window, last[page_bits : system.address_bits])
        )

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [self.done.eq(0), rest.eq(d.heads), index.eq(0)]
                with m.If(self.start):
                    m.d.sync += [
                        self.error.eq(ErrorCode.NONE),
                        self.error_address.eq(self.address),
                        self.group.eq(0),
                    ]
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.next = "FIELDS"
                with m.If((d.kv_heads != 0) & (rest >= d.kv_heads) & (d.heads <= core.heads)):
                    m.d.sync += [rest.eq(rest - d.kv_heads), self.group.eq(self.group + 1)]
                    m.next = "DIVIDE"
            with m.State("FIELDS"):
                m.next = "MULTIPLY"
                # Later statements override: the first failing check counts.
                for code, fails in reversed(field_checks):
                    with m.If(fails):
                        m.d.sync += [self.error.eq(code), self.done.eq(1)]
                        m.next = "IDLE"
            with m.State("MULTIPLY"):
                m.next = "ADD"
            with m.State("ADD"):
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.sync += index.eq(index + 1)
                m.next = "MULTIPLY"
                with m.If(index == len(regions) - 1):
                    m.d.sync += self.done.eq(1)
                    m.next = "IDLE"
                with m.If(enabled & (~inside | base[: ADDRESS_ALIGNMENT.bit_length() - 1].any())):
                    m.d.sync += [
                        self.error.eq(Mux(written, ErrorCode.WRITE_WINDOW, ErrorCode.READ_WINDOW)),
                        self.error_address.eq(base),
                        self.done.eq(1),
                    ]
                    with m.If(base[: ADDRESS_ALIGNMENT.bit_length() - 1].any()):
                        m.d.sync += self.error.eq(ErrorCode.ALIGNMENT)
                    m.next = "IDLE"
        return m
