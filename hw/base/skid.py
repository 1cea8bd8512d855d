"""Skid buffers: they keep the beat that a stalled consumer did not take."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream

__all__ = ["buffered", "skid"]


def skid(m: Module, source: Any, sink: Any, name: str) -> None:
    """Pass ``source`` on to ``sink``, of the same payload; ``source.ready`` is a register.

    A beat that ``sink`` does not take is kept aside, so that the logic behind ``source.ready`` does
    not wait for ``sink.ready``. No latency, one beat a cycle.

    Parameters
    ----------
    m : Module
    source, sink : stream interfaces
        ``sink`` as seen by its producer.
    name : str
        Prefix of the registers.
    """
    kept = Signal(name=f"{name}_kept")
    aside = Signal(source.p.shape(), name=f"{name}_aside", reset_less=True)
    m.d.comb += [
        source.ready.eq(~kept),
        sink.valid.eq(source.valid | kept),
        sink.p.eq(Mux(kept, aside, source.p)),
    ]
    m.d.sync += kept.eq(~sink.ready & sink.valid)
    with m.If(~kept):
        m.d.sync += aside.eq(source.p)


def buffered(m: Module, source: Any, sink: Any, name: str) -> None:
    """Pass ``source`` on to ``sink``; ``valid``, payload and ``ready`` are all registered.

    Latency one cycle, throughput one beat a cycle; holds two beats.

    Parameters
    ----------
    m, source, sink, name
        As of :func:`skid`.
    """
    before = stream.Signature(source.p.shape()).create(path=(f"{name}_before",))
    skid(m, source, before, name)
    m.d.comb += before.ready.eq(~sink.valid | sink.ready)
    with m.If(before.ready):
        m.d.sync += [sink.valid.eq(before.valid), sink.p.eq(before.p)]
