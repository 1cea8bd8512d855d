"""One lane of an edge: its tokens' nibble planes."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS, Config, Schedule
from dtqatten.hw.base.banks import BankedMemory
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.arrays import Plane, location_layout, operand_layout

__all__ = ["LineBuffer", "read_layout", "tag_layout"]


def read_layout(config: Config, tiles: int) -> data.StructLayout:
    """Read of one operand: a word's ``address``, its ``part``, and what they belong to."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "location": location_layout(tiles),
            "plane": Plane,
            "address": range(tiles * 2 * config.words),
            "part": range(config.load_nibbles // config.depth),
            "release": unsigned(1),
        }
    )


def tag_layout() -> data.StructLayout:
    """What a lane holds at one location: a token at all, and its low plane."""
    return data.StructLayout({"occupied": unsigned(1), "wide": unsigned(1)})


class LineBuffer(wiring.Component):
    """Hold the planes of one token per location and read them ``depth`` nibbles a cycle.

    Of two banks, one is read while the other is written.

    In the plane-major schedule the parts of a word are read in order, and only the first part
    reads the memory.

    A read of an absent token, or of a plane that its token lacks, gives zeros, so that absent lanes
    and low planes of 4-bit tokens do not toggle the PEs.

    Latency: ``operand`` follows ``read`` by ``1 + word_stages`` cycles, ``read_next`` by one: it
    passes the read on to the next lane, which makes the skew. Throughput one read and one write a
    cycle; never stalls. Writing and reading one bank in the same cycle is undefined.

    Parameters
    ----------
    config : Config
    tiles : int
        Tokens of a bank.

    Members
    -------
    write_valid, write_bank, write_address, write_data : In
        One word of ``load_nibbles`` nibbles; address ``(2*tile + plane) * words + word``.
    tag_valid, tag_location, tag : In
        Says what a location holds.
    read : In(read_layout(config, tiles))
        The operand wanted.
    read_next : Out(read_layout(config, tiles))
        The same, one cycle later.
    operand : Out(operand_layout(config))
        ``depth`` nibbles, or zeros.
    occupied, active : Out(1)
        Of ``operand``: its location holds a token, and that plane of it, so there is work to do.
    """

    def __init__(self, config: Config, tiles: int) -> None:
        self.config = config
        self.tiles = tiles
        self.depth = tiles * 2 * config.words
        super().__init__(
            {
                "write_valid": In(1),
                "write_bank": In(range(BANKS)),
                "write_address": In(range(self.depth)),
                "write_data": In(4 * config.load_nibbles),
                "tag_valid": In(1),
                "tag_location": In(location_layout(tiles)),
                "tag": In(tag_layout()),
                "read": In(read_layout(config, tiles)),
                "read_next": Out(read_layout(config, tiles)),
                "operand": Out(operand_layout(config)),
                "occupied": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.banks = words = BankedMemory(
            4 * config.load_nibbles, self.depth, stages=config.timing.word_stages
        )
        m.submodules.tags = tags = memory.Memory(
            shape=tag_layout(), depth=BANKS * self.tiles, init=[]
        )
        tag_write, tag_read = tags.write_port(), tags.read_port()
        in_order = self.config.schedule is Schedule.PLANE_MAJOR
        first_part = self.read.part == 0 if in_order else Const(1)
        m.d.comb += [
            words.write.eq(self.write_valid),
            words.write_bank.eq(self.write_bank),
            words.write_address.eq(self.write_address),
            words.write_data.eq(self.write_data),
            words.read.eq(self.read.valid & first_part),
            words.read_bank.eq(self.read.location.bank),
            words.read_address.eq(self.read.address),
            tag_write.en.eq(self.tag_valid),
            tag_write.addr.eq(Cat(self.tag_location.bank, self.tag_location.tile)),
            tag_write.data.eq(self.tag),
            tag_read.en.eq(self.read.valid),
            tag_read.addr.eq(Cat(self.read.location.bank, self.read.location.tile)),
        ]
        m.d.sync += self.read_next.eq(self.read)

        # The tag is read in the cycle of the word, and waits with it.
        now = delayed(m, self.read_next, config.timing.word_stages, "now", reset_less=False)
        told = delayed(m, tag_read.data, config.timing.word_stages, "tag")
        part = Signal(4 * config.depth)
        m.d.comb += [
            part.eq(words.data.word_select(now.part, 4 * config.depth)),
            self.occupied.eq(now.valid & told.occupied),
            self.active.eq(self.occupied & ((now.plane == Plane.HIGH) | told.wide)),
            self.operand.eq(Mux(self.active, part, 0)),
        ]
        return m
