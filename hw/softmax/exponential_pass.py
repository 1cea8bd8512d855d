"""Second pass of the softmax: exponentials, their sums, and what rows are divided by."""

from typing import Any, ClassVar

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import delayed, reduced, reduction_latency
from dtqatten.hw.payloads.octaves import unseen
from dtqatten.hw.payloads.softmax import (
    exponential_row_layout,
    factor_fields,
    flags_layout,
    masked_row_layout,
    maximum_layout,
    normalizer_layout,
    reduced_layout,
    row_record_layout,
    segment_fields,
    value_stream,
    value_token_layout,
)
from dtqatten.hw.payloads.sums import EXPONENTIAL_BITS, row_divisor_bits, sum_bits, total_bits
from dtqatten.hw.softmax.exponential import Exponential
from dtqatten.hw.softmax.exponential_row import FLAGS, ExponentialRow
from dtqatten.hw.softmax.flat_rows import FlatRows, verdict_members, where
from dtqatten.hw.softmax.reciprocal import Reciprocal
from dtqatten.hw.softmax.row_fold import RowFold
from dtqatten.hw.softmax.sink_weight import SinkWeight, with_sink
from dtqatten.hw.softmax.tile_store import tile_store, walk

__all__ = ["ExponentialPass"]


class ExponentialPass(wiring.Component):
    """Exponentials of masked score rows, their row sums, and what rows are divided by.

    What both kinds of machine share: with V gains
    :class:`~dtqatten.hw.softmax.gained_exponential_pass.GainedExponentialPass`, without them
    :class:`~dtqatten.hw.softmax.plain_exponential_pass.PlainExponentialPass`. Each says in
    :meth:`_weigh` what a row's divisor is. Helpers add statements to this one module, not modules
    of their own: synthesis maps each by itself, and paths here are long.

    Where there are sinks, a row's sink joins its sum and its divisor, each a cycle before it is
    inverted; a row that sees no key takes none.

    Rows of a trial are summed only: nothing of them leaves but the verdict on their row block.

    Latency: ``exponentials`` 8 cycles, ``reduced`` ``28 + log2(cols)`` (rounded up), ``row_record``
    ``30 + log2(cols)``, with sinks a cycle more each. Throughput one row a cycle; never stalls.

    Parameters
    ----------
    config : Config
    outputs : mapping
        More ports.

    Members
    -------
    i_valid, i, record : In
        A masked row and its record, as of :class:`~dtqatten.hw.softmax.row_buffer.RowBuffer`.
    values : In(value_stream())
        Those of each head once, ahead of its rows; ``gain`` or ``narrow`` is used, with and
        without V gains.
    exponentials_valid, exponentials : Out
        The row's exponentials.
    reduced : Out(reduced_layout())
        A row has joined its sum, and that has been inverted.
    normalizer : Out(normalizer_layout(config))
        What the next pass needs of the row.
    row_record_valid, row_record : Out
        What to divide P x V of a row by.
    flat_sum : In(32)
        Where heads can be progressive: the largest sum of a row that is not flat.
    given, verdicts : Out(1), Out(stream.Signature(verdict_layout(config)))
        There, too: as of :class:`~dtqatten.hw.softmax.flat_rows.FlatRows`.

    Raises
    ------
    ValueError
        If the configuration's values have gains and the class is for those without, or vice versa.
    """

    EXPONENTIALS = Exponential.LATENCY

    #: Whether values have gains.
    V_GAINS: ClassVar[bool]
    #: What is kept of a value.
    ITEM: ClassVar[str]

    def __init__(self, config: Config, outputs: dict[str, Any]) -> None:
        if config.v_gains != self.V_GAINS:
            raise ValueError(
                f"v_gains is {config.v_gains}: {type(self).__name__} is for {self.V_GAINS}"
            )
        self.config = config
        super().__init__(
            {
                "i_valid": In(1),
                "i": In(masked_row_layout(config)),
                "record": In(maximum_layout(config)),
                "values": In(value_stream()),
                "exponentials_valid": Out(1),
                "exponentials": Out(exponential_row_layout(config)),
                "reduced": Out(reduced_layout()),
                "normalizer": Out(normalizer_layout(config)),
                "row_record_valid": Out(1),
                "row_record": Out(row_record_layout(config)),
                **outputs,
            }
            | (verdict_members(config) if config.progressive else {})
        )

    @classmethod
    def reduced_latency(cls, config: Config) -> int:
        """Cycles from a row to ``reduced``: exponentials, their sum, its reciprocal."""
        return cls._folded_latency(config) + config.sinks + Reciprocal.LATENCY

    @classmethod
    def _folded_latency(cls, config: Config) -> int:
        """Cycles from a row to its sum."""
        return cls.EXPONENTIALS + reduction_latency(config.cols) + RowFold.LATENCY

    @classmethod
    def record_latency(cls, config: Config) -> int:
        """Cycles from a row to ``row_record``, whose divisor takes two cycles more than the sum.

        Where rows can be merged, it is inverted later.
        """
        if config.merge_rows:
            return cls._folded_latency(config) + 2
        return cls.reduced_latency(config) + 2

    def elaborate(self, platform: object) -> Module:
        m = Module()
        e16 = self._exponentials(m, platform)
        arrived = Signal(reduced_layout())
        m.d.comb += [arrived.valid.eq(self.i_valid)]
        m.d.comb += [arrived[flag].eq(self.i[flag]) for flag in FLAGS]
        early = delayed(m, arrived, self.EXPONENTIALS - 2, "early", reset_less=False)
        here = every = delayed(m, early, 2, "here", reset_less=False)
        if self.config.progressive:
            trial = delayed(m, self.i.trial, self.EXPONENTIALS - 2, "trial")
            early = where(m, ~trial, early, "real_early")
            here = where(m, ~delayed(m, trial, 2, "trial_here"), every, "real")
        lanes = {
            field: delayed(m, self.i[field], self.EXPONENTIALS, field)
            for field, _ in flags_layout(self.config)
            if field not in FLAGS
        }
        m.d.comb += self.exponentials_valid.eq(here.valid)
        m.d.comb += [self.exponentials[field].eq(value) for field, value in lanes.items()]
        m.d.comb += [self.exponentials[flag].eq(here[flag]) for flag in FLAGS]

        bits = sum_bits(self.config, EXPONENTIAL_BITS)
        total = self._folded(m, "exponential_sum", every, e16, bits=bits, kind="sum")
        summed = self._judge(m, total) if self.config.progressive else total.o
        m.submodules.sum_reciprocal = inverse = Reciprocal(total_bits(self.config))
        wait = self.config.sinks + inverse.latency
        sums = delayed(m, summed, wait, "reduced", reset_less=False)
        sink = self._sink_weight(m) if self.config.sinks else None
        whole = total.total
        if sink is not None:
            ahead = self._folded_latency(self.config) - SinkWeight.LATENCY
            whole = with_sink(m, total.total, delayed(m, sink.e, ahead, "sink_e"), "sum")
        m.d.comb += [
            inverse.divisor.eq(whole),
            self.normalizer.reciprocal.eq(inverse.o),
            self.reduced.eq(sums),
        ]
        values = self._stored_values(m, early)
        row = ExponentialRow(e16, here, lanes, values, total, wait)
        divisor, found = self._weigh(m, row)
        if self.config.merge_rows:
            self._give_partial(m, divisor, found)
            return m
        if sink is not None:
            ahead = self._folded_latency(self.config) + 2 - SinkWeight.DIVISOR
            weight = delayed(m, sink.divisor, ahead, "sink_divisor")
            divisor = with_sink(m, divisor, weight, "divisor")
            found = delayed(m, found, 1, "sunk", reset_less=False)
        self._give_record(m, divisor, found)
        return m

    def _judge(self, m: Module, total: RowFold) -> data.View:
        """Give the verdict on trials, by the sums of their rows; return the place of other sums."""
        trial = delayed(m, self.i.trial, self._folded_latency(self.config), "trial_summed")
        m.submodules.flat_rows = flat = FlatRows(self.config)
        m.d.comb += [
            flat.place.eq(where(m, trial, total.o, "trial_sum")),
            flat.total.eq(total.total),
            flat.flat_sum.eq(self.flat_sum),
            self.given.eq(flat.given),
        ]
        connect(m, flat.verdicts, flipped(self.verdicts))
        return where(m, ~trial, total.o, "real_sum")

    def _sink_weight(self, m: Module) -> SinkWeight:
        """Add what weighs the row's sink."""
        m.submodules.sink_weight = weight = SinkWeight(self.config)
        m.d.comb += [
            weight.maximum.eq(self.record.maximum),
            weight.multiplier.eq(self.record.multiplier),
            weight.shift.eq(self.record.shift),
            weight.sink.eq(self.record.sink),
        ]
        return weight

    def _weigh(self, m: Module, row: ExponentialRow) -> tuple[Value, data.View]:
        """Add what depends on V gains; return a row's divisor and the row's place beside it."""
        raise NotImplementedError

    def _exponentials(self, m: Module, platform: object) -> list[Value]:
        """Add a lane a key and return their exponentials."""
        config = self.config
        shift = delayed(m, self.record.shift, 3, "shift")
        e16: list[Value] = []
        for c in range(config.cols):
            lane = place(m, platform, f"exponential_{c}", Exponential, config)
            m.d.comb += [
                lane.score.eq(self.i.scores[c]),
                lane.maximum.eq(self.record.maximum),
                self.exponentials.exponentials[c].eq(lane.e16),
            ]
            if not config.bias_heads:
                m.d.comb += [
                    lane.multiplier.eq(self.record.multiplier),
                    lane.shift.eq(shift),
                ]
            e16.append(lane.e16)
            if config.count_normalize:
                sees = self.i.scores[c] != unseen(config)
                seen = delayed(m, sees, self.EXPONENTIALS, f"seen_{c}")
                m.d.comb += self.exponentials.seen[c].eq(seen)
        return e16

    def _stored_values(self, m: Module, early: data.View) -> data.View:
        """Keep the head's values; return those of the row that is ``early``, two cycles later."""
        shape = value_token_layout()[self.ITEM].shape
        config = self.config
        m.submodules.values = values = tile_store(config, data.StructLayout({self.ITEM: shape}), 3)
        row = Signal(flags_layout(config), name="row_read")
        m.d.comb += [row[flag].eq(early[flag]) for flag in FLAGS]
        if config.skip_tiles:
            m.d.comb += row.tile.eq(delayed(m, self.i.tile, self.EXPONENTIALS - 2, "tile_read"))
        m.d.comb += [
            values.i.valid.eq(self.values.valid),
            values.i.p.item[self.ITEM].eq(self.values.p.item[self.ITEM]),
            values.i.p.last.eq(self.values.p.last),
            self.values.ready.eq(values.i.ready),
            values.read.eq(early.valid),
            *walk(config, values, row),
        ]
        # Read early enough to wait for a cycle: the memory is slow.
        return delayed(m, values.data, 1, "value")

    def _folded(
        self,
        m: Module,
        name: str,
        at: data.View,
        lanes: list[Value],
        *,
        bits: int,
        kind: str,
        up: Value | None = None,
    ) -> RowFold:
        """Add what folds all lanes of a row, and its tiles, into one value.

        Parameters
        ----------
        m : Module
        name : str
            Of the submodule.
        at : View of reduced_layout()
            Place of the lanes.
        lanes : list of Value
        bits : int
            Of the result, unsigned.
        kind : str
            ``"sum"`` or ``"max"``.
        up : Value, optional
            Left shift of what the lanes fold into, beside them.
        """
        m.submodules[name] = fold = RowFold(self.config.rows, unsigned(bits), kind)
        levels = reduction_latency(self.config.cols)

        def combine(a: Value, b: Value) -> Value:
            return a + b if kind == "sum" else Mux(a > b, a, b)

        value = reduced(m, lanes, combine, name)
        m.d.comb += [
            fold.i.eq(delayed(m, at, levels, f"{name}_at", reset_less=False)),
            fold.value.eq(value if up is None else value << delayed(m, up, levels, f"{name}_up")),
        ]
        return fold

    def _give_partial(self, m: Module, divisor: Value, found: data.View) -> None:
        """Give a row's record, and say which of its segments this is.

        Parameters
        ----------
        m : Module
        divisor : Value
            That of the keys.
        found : View
            Place of the row.
        """
        wait = self.record_latency(self.config)
        for field in (
            "maximum",
            "output",
            *factor_fields(self.config),
            *segment_fields(self.config),
        ):
            late = delayed(m, self.record[field], wait, f"partial_{field}")
            m.d.comb += self.row_record[field].eq(late)
        whole = self.record.first_segment & self.record.last_segment
        late = delayed(m, ~whole, self.reduced_latency(self.config), "partial")
        m.d.comb += [
            self.normalizer.partial.eq(late),
            self.row_record_valid.eq(found.valid & found.last_tile),
            self.row_record.divisor.eq(divisor),
            self.row_record.last_row.eq(found.last_row),
            self.row_record.last_block.eq(found.last_block),
        ]

    def _give_record(self, m: Module, divisor: Value, found: data.View) -> None:
        """Invert the divisor of a row and give its record."""
        m.submodules.reciprocal = reciprocal = Reciprocal(row_divisor_bits(self.config))
        wait = reciprocal.latency
        done = delayed(m, found, wait, "done", reset_less=False)
        output_wait = self.record_latency(self.config)
        m.d.comb += [
            reciprocal.divisor.eq(divisor),
            self.row_record_valid.eq(done.valid & done.last_tile),
            self.row_record.divisor.eq(delayed(m, reciprocal.divisor, wait, "record_divisor")),
            self.row_record.reciprocal.eq(reciprocal.o),
            self.row_record.output.eq(delayed(m, self.record.output, output_wait, "output")),
            self.row_record.last_row.eq(done.last_row),
            self.row_record.last_block.eq(done.last_block),
        ]
