"""One lane of an edge: its tokens' nibble planes."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import Config
from dtqatten.hw.layout import Plane, operand_layout

__all__ = ["LineBuffer", "read_layout", "tag_layout"]


def read_layout(config: Config, slots: int) -> data.StructLayout:
    """Read of one operand: a word's ``address``, its ``part``, and what they belong to."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "slot": range(slots),
            "plane": Plane,
            "address": range(slots * 2 * config.words),
            "part": range(config.load_nibbles // config.depth),
            "release": unsigned(1),
        }
    )


def tag_layout() -> data.StructLayout:
    """What a lane holds in one slot: a token at all, and its low plane."""
    return data.StructLayout({"occupied": unsigned(1), "wide": unsigned(1)})


class LineBuffer(wiring.Component):
    """Hold the planes of one token per slot and read them ``depth`` nibbles a cycle.

    A read whose token is absent, or has no such plane, gives zeros: an absent lane and the low
    plane of a 4-bit token multiply as nothing and toggle nothing.

    Latency: ``operand`` follows ``read`` by one cycle, ``read_next`` too, which takes the read to
    the next lane and so makes the skew. Throughput one read and one write a cycle; never stalls.
    Writing and reading one address in the same cycle is undefined.

    Parameters
    ----------
    config : Config
    slots : int
        Tokens held.

    Members
    -------
    write_valid, write_address, write_data : In
        One word of ``load_nibbles`` nibbles; address ``(2*slot + plane) * words + word``.
    tag_valid, tag_slot, tag : In
        Says of a slot what it holds.
    read : In(read_layout(config, slots))
        The operand wanted.
    read_next : Out(read_layout(config, slots))
        The same, one cycle later.
    operand : Out(operand_layout(config))
        ``depth`` nibbles, or zeros.
    occupied, active : Out(1)
        Of ``operand``: its slot holds a token; it holds that plane too, so there is work to do.
    """

    def __init__(self, config: Config, slots: int) -> None:
        self.config = config
        self.slots = slots
        depth = slots * 2 * config.words
        super().__init__(
            {
                "write_valid": In(1),
                "write_address": In(range(depth)),
                "write_data": In(4 * config.load_nibbles),
                "tag_valid": In(1),
                "tag_slot": In(range(slots)),
                "tag": In(tag_layout()),
                "read": In(read_layout(config, slots)),
                "read_next": Out(read_layout(config, slots)),
                "operand": Out(operand_layout(config)),
                "occupied": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.words = words = memory.Memory(
            shape=4 * config.load_nibbles, depth=self.slots * 2 * config.words, init=[]
        )
        m.submodules.tags = tags = memory.Memory(shape=tag_layout(), depth=self.slots, init=[])
        word_write, word_read = words.write_port(), words.read_port()
        tag_write, tag_read = tags.write_port(), tags.read_port()
        m.d.comb += [
            word_write.en.eq(self.write_valid),
            word_write.addr.eq(self.write_address),
            word_write.data.eq(self.write_data),
            tag_write.en.eq(self.tag_valid),
            tag_write.addr.eq(self.tag_slot),
            tag_write.data.eq(self.tag),
            word_read.en.eq(self.read.valid),
            word_read.addr.eq(self.read.address),
            tag_read.en.eq(self.read.valid),
            tag_read.addr.eq(self.read.slot),
        ]
        m.d.sync += self.read_next.eq(self.read)

        now = self.read_next
        part = Signal(4 * config.depth)
        m.d.comb += [
            part.eq(word_read.data.word_select(now.part, 4 * config.depth)),
            self.occupied.eq(now.valid & tag_read.data.occupied),
            self.active.eq(self.occupied & ((now.plane == Plane.HIGH) | tag_read.data.wide)),
            self.operand.eq(Mux(self.active, part, 0)),
        ]
        return m
