"""The order of steps in a tile of scores: passes over pairs of planes, and operands."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config, Schedule
from dtqatten.hw.payloads.arrays import control_layout

__all__ = ["TileOrder"]


class TileOrder(wiring.Component):
    """Position in a tile: word, part of it, and the plane of each edge; all zero between tiles.

    Passes are high-high, high-low, low-high, low-low (query, key); those of a low plane are skipped
    where that edge of the tile is not wide. Plane-major, each pass goes over all operands;
    interleaved, each operand has all passes.

    Latency: the position is that of this cycle's step; it moves on in the cycle after ``issue``.

    Parameters
    ----------
    config : Config

    Members
    -------
    issue : In(1)
        There is a step.
    q_wide, k_wide : In(1)
        The tile's queries, its keys, have low planes.
    word : Out(range(words))
        Word of the step's operands.
    part : Out(range(load_nibbles // depth))
        Part of the word.
    q_low, k_low : Out(1)
        Plane of the queries, of the keys.
    first : Out(1)
        The step would be a tile's first.
    final : Out(1)
        The step is the tile's last.
    shift : Out(control_layout(config)["shift"])
        Shift of the accumulator (plane-major) or of the product (interleaved).
    lift : Out(range(3))
        Power of 16 by which the tile's scores are multiplied.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "issue": In(1),
                "q_wide": In(1),
                "k_wide": In(1),
                "word": Out(range(config.words)),
                "part": Out(range(config.load_nibbles // config.depth)),
                "q_low": Out(1),
                "k_low": Out(1),
                "first": Out(1),
                "final": Out(1),
                "shift": Out(control_layout(config)["shift"].shape),
                "lift": Out(range(3)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, issue = self.config, self.issue
        q_low, k_low, part, word = self.q_low, self.k_low, self.part, self.word
        parts = config.load_nibbles // config.depth
        final_part, final_word, final_pass = Signal(), Signal(), Signal()
        first_operands = (part == 0) & (word == 0)
        m.d.comb += [
            final_part.eq(part == parts - 1),
            final_word.eq(word == config.words - 1),
            final_pass.eq((q_low == self.q_wide) & (k_low == self.k_wide)),
            self.first.eq(first_operands & ~q_low & ~k_low),
            self.final.eq(issue & final_part & final_word & final_pass),
        ]

        def after(index: Value, count: int) -> Value:
            return Mux(index == count - 1, 0, index + 1)

        def next_pass() -> None:
            m.d.sync += [
                k_low.eq(Mux(final_pass, 0, self.k_wide & ~k_low)),
                q_low.eq(Mux(final_pass, 0, q_low | k_low | ~self.k_wide)),
            ]

        def next_operands() -> None:
            m.d.sync += part.eq(after(part, parts))
            with m.If(final_part):
                m.d.sync += word.eq(after(word, config.words))

        if config.schedule is Schedule.INTERLEAVED:
            with m.If(issue):
                next_pass()
                with m.If(final_pass):
                    next_operands()
            # Each product is shifted on its own, so sums need no lift.
            m.d.comb += self.shift.eq(2 - (q_low + k_low))
        else:
            with m.If(issue):
                next_operands()
                with m.If(final_part & final_word):
                    next_pass()
            # The weight falls by 16 from high-high to the mixed passes and from those to low-low.
            lighter = Mux(q_low, k_low | ~self.k_wide, k_low)
            m.d.comb += [
                self.shift.eq(first_operands & lighter),
                self.lift.eq(2 - (self.q_wide + self.k_wide)),
            ]
        return m
