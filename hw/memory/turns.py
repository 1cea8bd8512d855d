"""Which streams let others go first: a head's keys come before its values."""

from amaranth.hdl import Cat, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["KeysFirst"]


class KeysFirst(wiring.Component):
    """Let the planes of K go before those of V of the same head, and V before K of the next one.

    So a head's scores and weights are computed while its values still come, and after the last
    byte of a layer only the weighted sums of its last head are left.

    Where values wait for a choice, the next head's keys go before them, too: so there is something
    to read while a head's row block chooses.

    Latency: a cycle.

    Parameters
    ----------
    chooses : bool
        There is ``chosen``.

    Members
    -------
    k_head, v_head : In(16).array(2)
        Head that each plane is at.
    k_busy, v_busy : In(2)
        There is something left of it to be requested.
    chosen : In(1)
        Values wait for a choice.
    late : Out(4)
        Both planes of K, and of V, let others go first.
    """

    def __init__(self, chooses: bool = False) -> None:
        self.chooses = chooses
        super().__init__(
            {
                "k_head": In(16).array(2),
                "k_busy": In(2),
                "v_head": In(16).array(2),
                "v_busy": In(2),
                "late": Out(4),
                **({"chosen": In(1)} if chooses else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        heads: list[Value] = list(self.v_head)
        if self.chooses:
            heads = [head + self.chosen for head in heads]
        ahead = [[v < k for v in heads] for k in self.k_head]
        k_late = [(Cat(row) & self.v_busy).any() for row in ahead]
        v_late = [(~Cat(row[i] for row in ahead) & self.k_busy).any() for i in range(2)]
        m.d.sync += self.late.eq(Cat(*k_late, *v_late))
        return m
