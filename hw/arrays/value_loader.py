"""Loads heads of values: which lane takes each nibble, and where each group ends."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS, Config
from dtqatten.hw.arrays.value_lane import group_number
from dtqatten.hw.base.pipeline import counted, delayed
from dtqatten.hw.payloads.arrays import Plane, Precision, group_layout, value_layout
from dtqatten.hw.payloads.choices import choice_layout, choice_stream

__all__ = ["ValueLoader", "group_end_layout", "value_write_layout"]


def value_write_layout(config: Config) -> data.StructLayout:
    """Write of one beat: ``nibbles`` of the channels of ``word``, for a token of a ``group``.

    In ``places`` the bit of the token's place in the group is set, or none where there is no beat.
    ``word`` counts the beats of a plane.
    """
    return data.StructLayout(
        {
            "bank": range(BANKS),
            "group": range(config.key_tiles * config.parts),
            "places": config.depth,
            "plane": Plane,
            "word": range(config.d_head // config.value_nibbles),
            "nibbles": value_layout(config)["nibbles"].shape,
        }
    )


def group_end_layout(config: Config) -> data.StructLayout:
    """A complete ``group`` of the head in a ``bank``; ``wide`` marks its 8-bit tokens.

    ``head``: it is the head's last group.
    """
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "head": unsigned(1),
            "group": group_layout(config),
            "bank": range(BANKS),
            "wide": config.depth,
        }
    )


class ValueLoader(wiring.Component):
    """Follow the tokens of head after head: bank, group, place in it, and beat of a plane.

    A token's high plane comes first, then its low plane if it has one. A group ends after ``depth``
    tokens, at the end of its tile of ``cols`` tokens, or at the end of its head.

    Tokens of a ``chosen`` head are those of the groups that its row block has chosen: they wait
    until these are known.

    Latency: ``write`` and ``ended`` follow a beat by one cycle. Throughput one beat a cycle while
    a bank is free.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream.Signature(value_layout(config)))
        Value tokens of head after head.
    choices : In(choice_stream(config))
        With ``chosen_values``: groups that come; as many are taken ahead as a head has.
    released : In(1)
        A bank is free again.
    write : Out(value_write_layout(config))
        Write that a beat causes.
    ended : Out(group_end_layout(config))
        The group that a beat completes.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(value_layout(config))),
                "released": In(1),
                "write": Out(value_write_layout(config)),
                "ended": Out(group_end_layout(config)),
            }
            | ({"choices": In(choice_stream(config))} if config.chosen_values else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        beats = config.d_head // config.value_nibbles
        bank = Signal(range(BANKS))
        group = Signal(group_layout(config))
        place = Signal(range(config.depth))
        word, low = Signal(range(beats)), Signal()
        wide_places = Signal(config.depth)

        # End flags are computed before the handshake, which arrives late.
        beat = self.i.valid & self.i.ready
        plane_last, token_last, group_last, tile_last, head_last = (Signal() for _ in range(5))
        head_end = Signal()
        free = counted(m, self.released, head_end, "free", most=BANKS, init=BANKS)
        at = self._place(m, group, free, beat & group_last)
        # Tokens of a tile's last group.
        tile_rest = config.cols - (config.parts - 1) * config.depth
        wide = self.i.p.precision == Precision.BIT8
        wide_now = Signal(config.depth)
        m.d.comb += [
            plane_last.eq(word == beats - 1),
            token_last.eq(plane_last & (low | ~wide)),
            head_last.eq(token_last & self.i.p.last),
            tile_last.eq(token_last & (at.part == config.parts - 1) & (place == tile_rest - 1)),
            group_last.eq((token_last & (place == config.depth - 1)) | tile_last | head_last),
            wide_now.eq(wide_places | (wide << place)),
            head_end.eq(beat & head_last),
        ]
        with m.If(beat):
            m.d.sync += word.eq(Mux(plane_last, 0, word + 1))
            with m.If(plane_last):
                m.d.sync += low.eq(~token_last)
            with m.If(token_last):
                m.d.sync += [place.eq(place + 1), wide_places.eq(wide_now)]
            with m.If(group_last):
                m.d.sync += [place.eq(0), group.part.eq(group.part + 1), wide_places.eq(0)]
            with m.If(tile_last):
                m.d.sync += [group.part.eq(0), group.tile.eq(group.tile + 1)]
            with m.If(head_last):
                m.d.sync += [group.eq(0), bank.eq(Mux(bank == BANKS - 1, 0, bank + 1))]
        # Both outputs are registered: they reach all lanes and memories.
        m.d.comb += [
            self.ended.valid.eq(delayed(m, beat & group_last, 1, "valid", reset_less=False)),
            self.ended.head.eq(delayed(m, head_end, 1, "head", reset_less=False)),
            self.ended.group.eq(delayed(m, at, 1, "group")),
            self.ended.bank.eq(delayed(m, bank, 1, "bank")),
            self.ended.wide.eq(delayed(m, wide_now, 1, "wide")),
        ]
        m.d.sync += [
            self.write.bank.eq(bank),
            self.write.group.eq(group_number(config, at)),
            self.write.places.eq(beat << place),
            self.write.plane.eq(low),
            self.write.word.eq(word),
            self.write.nibbles.eq(self.i.p.nibbles),
        ]
        return m

    def _place(self, m: Module, group: data.View, free: Value, done: Value) -> data.View:
        """Say when a beat is taken, and return its group: the next one, or the next chosen one.

        Parameters
        ----------
        m : Module
        group : View
            The next one, where all come.
        free : Value
            There is a bank.
        done : Value
            The group is complete.
        """
        config = self.config
        if not config.chosen_values:
            m.d.comb += self.i.ready.eq(free)
            return group
        layout = choice_layout(config)
        m.submodules.chosen = queue = fifo.SyncFIFO(
            width=layout.size, depth=config.key_tiles * config.parts
        )
        chosen, at = Signal(), Signal(group.shape(), name="chosen_group")
        m.d.comb += [
            queue.w_data.eq(self.choices.p),
            queue.w_en.eq(self.choices.valid),
            self.choices.ready.eq(queue.w_rdy),
            chosen.eq(self.i.valid & self.i.p.chosen),
            at.eq(Mux(self.i.p.chosen, layout(queue.r_data).group, group)),
            queue.r_en.eq(chosen & done),
            self.i.ready.eq(free & (queue.r_rdy | ~chosen)),
        ]
        return at
