"""Memory in banks of one port each: one is read while the other is written."""

from amaranth.hdl import Array, Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import BANKS
from dtqatten.hw.pipeline import delayed

__all__ = ["BankedMemory"]


class BankedMemory(wiring.Component):
    """:data:`~dtqatten.config.BANKS` memories of ``depth`` words, each with a single port.

    A memory with one port takes two thirds of the area of one with two. Whoever fills one bank
    while the other is read needs no more: a read of the bank that is written is dropped, and
    ``data`` is undefined after it.

    Latency: ``data`` follows a read by ``1 + stages`` cycles and holds until the next, or until its
    bank is written. Throughput one write and one read a cycle; never stalls.

    Parameters
    ----------
    width, depth : int
        Bits of a word, words of a bank.
    granularity : int, optional
        Bits that are written together; a whole word by default.
    stages : int
        Registers between each memory and the choice of the bank.

    Members
    -------
    write : In(width // granularity)
        Parts of the word to write.
    write_bank, write_address, write_data : In
    read, read_bank, read_address : In
    data : Out(width)
        The word that was read.
    """

    def __init__(
        self, width: int, depth: int, granularity: int | None = None, *, stages: int = 0
    ) -> None:
        self.width, self.depth, self.stages = width, depth, stages
        self.granularity = granularity or width
        super().__init__(
            {
                "write": In(width // self.granularity),
                "write_bank": In(range(BANKS)),
                "write_address": In(range(depth)),
                "write_data": In(width),
                "read": In(1),
                "read_bank": In(range(BANKS)),
                "read_address": In(range(depth)),
                "data": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = []
        for bank in range(BANKS):
            m.submodules[f"bank_{bank}"] = store = memory.Memory(
                shape=unsigned(self.width), depth=self.depth, init=[]
            )
            write, read = store.write_port(granularity=self.granularity), store.read_port()
            here = Signal(len(self.write), name=f"write_{bank}")
            address = Signal.like(self.write_address, name=f"address_{bank}")
            m.d.comb += [
                here.eq(Mux(self.write_bank == bank, self.write, 0)),
                address.eq(Mux(here.any(), self.write_address, self.read_address)),
                write.en.eq(here),
                write.addr.eq(address),
                write.data.eq(self.write_data),
                read.en.eq(self.read & (self.read_bank == bank) & ~here.any()),
                read.addr.eq(address),
            ]
            words.append(delayed(m, read.data, self.stages, f"word_{bank}"))
        read_bank = Signal.like(self.read_bank)
        with m.If(self.read):
            m.d.sync += read_bank.eq(self.read_bank)
        read_bank = delayed(m, read_bank, self.stages, "read_bank")
        m.d.comb += self.data.eq(Array(words)[read_bank])
        return m
