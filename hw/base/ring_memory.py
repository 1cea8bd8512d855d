"""Memory of a ring, written and read word after word, in banks of one port each."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS
from dtqatten.hw.base.pipeline import delayed

__all__ = ["RingMemory"]


class RingMemory(wiring.Component):
    """Ring of words, even ones in one bank, odd ones in another: neither needs a second port.

    Writes alternate between the banks, and so do reads. A word that arrives while its bank is read
    waits in a register for one cycle, in which both a read and a write go to the other bank.

    Latency: a word can be read from the cycle after its write on; ``data`` follows ``read`` by two
    cycles and holds until the next read. Throughput one write and one read a cycle; never stalls.

    Parameters
    ----------
    width, depth : int
        Bits of a word, words held; an odd depth is rounded up.

    Members
    -------
    write, word : In
        Write the next word.
    read : In(1)
        Read the next word, which has been written before.
    data : Out(width)
        The word read.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.depth = -(-depth // BANKS)
        super().__init__({"write": In(1), "word": In(width), "read": In(1), "data": Out(width)})

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def turns(moves: Signal, name: str) -> tuple[Signal, Signal]:
            bank, address = Signal(name=f"{name}_bank"), Signal(range(self.depth), name=name)
            with m.If(moves):
                m.d.sync += bank.eq(~bank)
                with m.If(bank):
                    m.d.sync += address.eq(Mux(address == self.depth - 1, 0, address + 1))
            return bank, address

        write_bank, write_address = turns(self.write, "write_address")
        read_bank, read_address = turns(self.read, "read_address")
        meets = Signal()
        waiting, waiting_bank = Signal(), Signal()
        late, late_address = Signal.like(self.word, reset_less=True), Signal.like(write_address)
        m.d.comb += meets.eq(self.write & self.read & (write_bank == read_bank))
        m.d.sync += waiting.eq(meets)
        with m.If(meets):
            m.d.sync += [
                waiting_bank.eq(write_bank),
                late.eq(self.word),
                late_address.eq(write_address),
            ]
        read_before = Signal()
        with m.If(self.read):
            m.d.sync += read_before.eq(read_bank)
        words = []
        for bank in range(BANKS):
            m.submodules[f"bank_{bank}"] = store = memory.Memory(
                shape=unsigned(len(self.word)), depth=self.depth, init=[]
            )
            write, read = store.write_port(), store.read_port()
            reads, follows = Signal(name=f"reads_{bank}"), Signal(name=f"follows_{bank}")
            address = Signal.like(write_address, name=f"address_{bank}")
            m.d.comb += [
                reads.eq(self.read & (read_bank == bank)),
                follows.eq(waiting & (waiting_bank == bank)),
                address.eq(Mux(reads, read_address, Mux(follows, late_address, write_address))),
                write.en.eq(~reads & (follows | (self.write & (write_bank == bank)))),
                write.addr.eq(address),
                write.data.eq(Mux(follows, late, self.word)),
                read.en.eq(reads),
                read.addr.eq(address),
            ]
            words.append(delayed(m, read.data, 1, f"word_{bank}"))
        late_bank = delayed(m, read_before, 1, "late_bank")
        m.d.comb += self.data.eq(Mux(late_bank, words[1], words[0]))
        return m
