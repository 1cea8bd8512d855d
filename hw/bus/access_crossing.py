"""Accesses from one clock to another and their answers back, one at a time."""

from typing import Any

from amaranth.hdl import Module, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from dtqatten.hw.bus.axi import LITE_DOMAIN

__all__ = ["AccessCrossing"]


class AccessCrossing(wiring.Component):
    """Carry an access from clock ``s_axil`` to ``sync``, and its answer back.

    Two-phase handshake of whole words: only the bits ``asked`` and ``answered`` pass synchronizers,
    of two registers. Each toggles once an access, and the word that belongs to it is in
    a register that does not change until the other bit has followed. Clocks may have any ratio and
    phase.

    While ``sync`` is being reset nothing reaches the machine: an access that comes then, or is
    under way, is answered with ``refused``. So this reset alone loses no access and repeats none.
    That of ``s_axil`` has to come with it: both high at the same time for at least eight cycles of
    the slower clock.

    Latency: ``access.valid`` after the third edge of ``sync`` behind the one that takes ``i``;
    ``o.valid`` after the third edge of ``s_axil`` behind the one of ``sync`` that takes ``answer``.
    One access at a time: the next one is taken when ``o`` has been. A stall of ``o`` or ``access``
    adds itself.

    Parameters
    ----------
    access : ShapeLike
    answer : ShapeCastable
        Layout or enumeration.
    refused : const-castable
        The answer of a machine that is being reset.

    Members
    -------
    i : In(stream.Signature(access))
        Clock ``s_axil``.
    o : Out(stream.Signature(answer))
        Clock ``s_axil``: one for each of ``i``, in order.
    access : Out(stream.Signature(access))
        Clock ``sync``: the same, once each.
    answer : In(stream.Signature(answer))
        Clock ``sync``: one for each of ``access``; always ready.
    """

    def __init__(self, access: Any, answer: Any, *, refused: Any) -> None:
        self._refused = refused
        super().__init__(
            {
                "i": In(stream.Signature(access)),
                "o": Out(stream.Signature(answer)),
                "access": Out(stream.Signature(access)),
                "answer": In(stream.Signature(answer)),
            }
        )
        # What the machine's side has to know after its reset is free of that.
        self.asked, self.answered = Signal(), Signal(reset_less=True)
        self.waiting, self.due, self.under_way = Signal(), Signal(), Signal()
        self.word = Signal(access, reset_less=True)
        self.reply = Signal(answer, reset_less=True)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        host = m.d[LITE_DOMAIN]
        asked, answered = self.asked, self.answered
        asked_seen, answered_seen = Signal(), Signal()
        m.submodules.asked_synchronizer = FFSynchronizer(asked, asked_seen)
        m.submodules.answered_synchronizer = FFSynchronizer(
            answered, answered_seen, o_domain=LITE_DOMAIN
        )

        m.d.comb += self.i.ready.eq(~self.waiting & ~self.o.valid)
        with m.If(self.i.valid & self.i.ready):
            host += [self.word.eq(self.i.p), asked.eq(~asked), self.waiting.eq(1)]
        with m.If(self.waiting & (answered_seen == asked)):
            host += [self.o.p.eq(self.reply), self.o.valid.eq(1), self.waiting.eq(0)]
        with m.If(self.o.valid & self.o.ready):
            host += self.o.valid.eq(0)

        m.d.comb += [self.due.eq(asked_seen != answered), self.answer.ready.eq(1)]
        with m.If(self.due & ~self.under_way):
            m.d.sync += [
                self.access.p.eq(self.word),
                self.access.valid.eq(1),
                self.under_way.eq(1),
            ]
        with m.If(self.access.valid & self.access.ready):
            m.d.sync += self.access.valid.eq(0)
        with m.If(self.answer.valid):
            m.d.sync += [
                self.reply.eq(self.answer.p),
                answered.eq(asked_seen),
                self.under_way.eq(0),
            ]
        with m.If(ResetSignal()):
            m.d.sync += answered.eq(asked_seen)
            with m.If(self.due):
                m.d.sync += self.reply.eq(self._refused)
        return m
