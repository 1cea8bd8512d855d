"""One stream to several consumers."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Signal, Value

__all__ = ["fork"]


def fork(m: Module, source: Any, sinks: Sequence[Any], wanted: Sequence[Value], name: str) -> None:
    """Offer every beat of ``source`` to each sink that wants it; take it when all have.

    Sinks take a beat in any order, each once. No latency; the next beat follows in the next cycle.

    Parameters
    ----------
    m : Module
    source, sinks : stream interfaces
        ``sinks`` as seen by their producer. Payloads are connected by the caller.
    wanted : sequence of Value
        For each sink, whether it gets this beat; constant while the beat is offered.
    name : str
        Prefix of the registers.
    """
    done = [Signal(name=f"{name}_done_{i}") for i in range(len(sinks))]
    waits: Value = Value.cast(0)
    for sink, want, has in zip(sinks, wanted, done, strict=True):
        m.d.comb += sink.valid.eq(source.valid & want & ~has)
        waits = waits | (want & ~has & ~sink.ready)
    m.d.comb += source.ready.eq(~waits)
    for sink, want, has in zip(sinks, wanted, done, strict=True):
        m.d.sync += has.eq(source.valid & waits & (has | (want & sink.ready)))
