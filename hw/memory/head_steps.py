"""From head to head of a tensor: an address goes on, past those that are pruned."""

from amaranth.hdl import Const, Module, Signal, Value
from amaranth.lib import data

__all__ = ["head_steps"]


def head_steps(
    m: Module, plan: data.View, begins: Value, leaves: Value, base: Signal, pitch: Value
) -> Value:
    """Move ``base`` on by ``pitch`` when a head ends; return whether it is on its way.

    Where heads can be pruned, it passes one that is in a cycle, until it is at one that is left.
    Statements that set ``base`` to a layer's first head follow these.

    Parameters
    ----------
    m : Module
    plan : View of plan_layout(system)
        Says which heads are left, where they can be pruned.
    begins : Value
        ``base`` is set to the first head of the tensor.
    leaves : Value
        The head at which it is has ended; never while it is on its way.
    base : Signal
    pitch : Value
        Bytes of a head.
    """
    if "kept" not in dict(plan.shape()):
        with m.If(leaves):
            m.d.sync += base.eq(base + pitch)
        return Const(0)
    kept = plan.kept
    place, seeks = Signal(range(len(kept))), Signal()
    # Behind the last head that is left it goes on to the first one again, and rests.
    with m.If(leaves | seeks):
        m.d.sync += [
            base.eq(base + pitch),
            place.eq(place + 1),
            seeks.eq(~kept.bit_select((place + 1)[: len(place)], 1)),
        ]
    with m.If(begins):
        m.d.sync += [place.eq(0), seeks.eq(~kept[0])]
    return seeks
