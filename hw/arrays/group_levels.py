"""How much each group of keys weighs in a row block, by the highest bits of the sum."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed, reduced, reduction_latency
from dtqatten.hw.payloads.arrays import exponent_fields, weight_shape
from dtqatten.hw.payloads.choices import level_max, levels_layout
from dtqatten.hw.payloads.sums import top_code

__all__ = ["GroupLevels"]


class GroupLevels(wiring.Component):
    """Sum a tile's weights over the rows of a row block and the keys of each group.

    Of a sum the level is kept, ``2 * bit_length(w) + next bit``, 0 for 0, as of
    :func:`dtqatten.golden.numerics.local_values.level`.

    Latency: ``levels`` follow the tile's last row by ``latency(config)`` cycles,
    ``ceil(log2(keys of a group)) + 2``, of which there are the value array's depth or ``cols``, if
    that is less. Throughput one row a cycle, across tiles; never stalls.

    Parameters
    ----------
    config : Config
        With the value array's depth.

    Members
    -------
    valid, last_row : In(1)
        A row of weights of a tile; its last one.
    weights : In(ArrayLayout(weight_shape(config), cols))
        Codes, 0 or more.
    exponent : In(EXPONENT_BITS)
        Where tiles have exponents: the row's weights count ``2**(3 - exponent)``.
    levels : Out(levels_layout(config))
        Of each group of the tile.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "valid": In(1),
                "last_row": In(1),
                "weights": In(data.ArrayLayout(weight_shape(config), config.cols)),
                "levels": Out(levels_layout(config)),
            }
            | {name: In(shape) for name, shape in exponent_fields(config).items()}
        )

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from a tile's last row to its levels."""
        return reduction_latency(min(config.depth, config.cols)) + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        wait = self.latency(config) - 2
        valid = delayed(m, self.valid, wait, "valid", reset_less=False)
        last_row = delayed(m, self.last_row, wait, "last_row")
        exponent = None
        if config.block_exponents:
            exponent = delayed(m, self.exponent, wait, "exponent")
        first = Signal(init=1)
        with m.If(valid):
            m.d.sync += first.eq(last_row)
        for part in range(config.parts):
            lanes = range(config.cols)[part * config.depth : (part + 1) * config.depth]
            # Weights are not negative: signed ones have a bit that is 0.
            bits = top_code(config).bit_length()
            codes = [self.weights[lane].as_unsigned()[:bits] for lane in lanes]
            # The last group of a tile may have fewer keys, and with them fewer levels of the tree.
            row = reduced(m, codes, lambda a, b: a + b, f"row_{part}")
            row = delayed(m, row, wait - reduction_latency(len(codes)), f"row_{part}_late")
            if exponent is not None:
                # The largest exponent less this one is its complement.
                row = row << ~exponent
            total = Signal(unsigned(level_max(config) // 2), name=f"total_{part}", reset_less=True)
            level = Signal(range(level_max(config) + 1), name=f"level_{part}", reset_less=True)
            with m.If(valid):
                m.d.sync += total.eq(Mux(first, 0, total) + row)
            self._rank(m, total, level)
            m.d.comb += self.levels[part].eq(level)
        return m

    @staticmethod
    def _rank(m: Module, total: Signal, level: Signal) -> None:
        """Register a sum's level: its length, and the bit below its highest one."""
        m.d.sync += level.eq(0)
        with m.If(total[0]):
            m.d.sync += level.eq(2)
        for place in range(1, len(total)):
            with m.If(total[place]):
                m.d.sync += level.eq(2 * (place + 1) + total[place - 1])
