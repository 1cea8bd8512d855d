"""Memory in banks of one port each: one is read while the other is written."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS
from dtqatten.hw.base.pipeline import delayed

__all__ = ["BankedMemory"]


class BankedMemory(wiring.Component):
    """Banks (:data:`~dtqatten.configuration.core.BANKS`) of ``depth`` words with one port each.

    A memory with one port takes two thirds of the area of one with two. One port is enough where
    one bank is filled while the other is read: a read of the bank that is being written is dropped,
    and leaves ``data`` undefined.

    An FPGA's block RAM has two ports anyway, is slow, and is far from the logic it serves. With
    ``stages``, one memory holds both banks, and its ports connect to registers only.

    Latency: ``data`` follows a read by ``1 + stages`` cycles and holds until the next, or until its
    bank is written; a write counts after ``stages`` cycles more. Throughput one write and one read
    a cycle; never stalls.

    Parameters
    ----------
    width, depth : int
        Bits of a word, words of a bank.
    granularity : int, optional
        Bits that are written together; a whole word by default.
    stages : int
        Registers before the port that writes and behind the one that reads.

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
        if self.stages:
            self._two_ports(m)
        else:
            self._one_port_each(m)
        return m

    def _two_ports(self, m: Module) -> None:
        address_bits = len(self.read_address)
        m.submodules.store = store = memory.Memory(
            shape=unsigned(self.width), depth=BANKS << address_bits, init=[]
        )
        write, read = store.write_port(granularity=self.granularity), store.read_port()

        def late(value: Signal, name: str) -> Signal:
            return delayed(m, value, self.stages, name)

        m.d.comb += [
            write.en.eq(delayed(m, self.write, self.stages, "write", reset_less=False)),
            write.addr.eq(Cat(late(self.write_address, "address"), late(self.write_bank, "bank"))),
            write.data.eq(late(self.write_data, "word")),
            read.en.eq(self.read),
            read.addr.eq(Cat(self.read_address, self.read_bank)),
            self.data.eq(late(read.data, "data")),
        ]

    def _one_port_each(self, m: Module) -> None:
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
            words.append(read.data)
        read_bank = Signal.like(self.read_bank)
        with m.If(self.read):
            m.d.sync += read_bank.eq(self.read_bank)
        m.d.comb += self.data.eq(Array(words)[read_bank])
