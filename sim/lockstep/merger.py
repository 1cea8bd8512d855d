"""Run the merger beside its cycle model and compare them on every clock edge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.merger import MergerModel
from dtqatten.golden.cycles.softmax_beats import OutputForm, RowRecord
from dtqatten.golden.cycles.tiles import Row
from dtqatten.golden.numerics.codes import IntArray
from dtqatten.golden.numerics.narrowing import Narrowed
from dtqatten.golden.numerics.output import normalize, requantize
from dtqatten.golden.numerics.segments import Partial, RowScale, merge
from dtqatten.golden.numerics.sinks import NO_SINK, sink_weight
from dtqatten.golden.numerics.weights import WeightCode
from dtqatten.hw.payloads.arrays import score_row_layout
from dtqatten.hw.payloads.softmax import row_record_layout
from dtqatten.hw.softmax.normalizer import output_beat_layout
from dtqatten.sim.lockstep.normalizer import output_beats, row_ends, shown_beat, sum_rows
from dtqatten.sim.lockstep.streams import StreamLockstep

__all__ = ["MergedHead", "MergerLockstep", "random_merged_heads"]


@dataclass(frozen=True, eq=False)
class MergedHead:
    """A chunk of queries with the partial results of its segments, ``[1, queries]`` each.

    ``scale`` and ``sinks`` are of each query: its shift is the same as that of all others.
    """

    segments: list[Partial]
    scale: RowScale
    sinks: IntArray
    form: OutputForm

    def output(self, code: WeightCode) -> NDArray[np.integer]:
        """Return the outputs ``[queries, channels]`` as the golden functions compute them."""
        row = self.segments[0]
        for segment in self.segments[1:]:
            row = merge(row, segment, self.scale, code.planes)
        divisor = row.divisor.copy()
        for r, sink in enumerate(self.sinks):
            scale = RowScale(self.scale.factor[:, r : r + 1], self.scale.shift)
            _, weight = sink_weight(np.array([sink]), row.maximum[:, r : r + 1], scale, code)
            divisor[:, r] += weight[0] * (row.total[:, r] > 0)
        output = normalize(row.sums, Narrowed(np.zeros(0, int), row.lead, divisor))
        return (requantize(output, self.form.shift) if self.form.codes else output)[0]


def _partial(config: Config, rng: np.random.Generator, maximum: NDArray[np.int64]) -> Partial:
    """Return a partial result of random sums, of queries with these maxima."""
    code, queries = WeightCode.of(config), len(maximum)
    weight = rng.integers(1, config.n_max * code.top + 1, queries)
    reach = np.minimum(1.0, rng.exponential(0.5, (queries, config.d_head)))
    most = rng.choice([-120, 119], reach.shape) * (weight[:, None] << code.fraction)
    sums = (most * reach).astype(np.int64)
    lead = rng.integers(0, 9, queries) * config.v_gains
    divisor = np.maximum(1, 16 * weight // 2**lead)
    nothing = rng.random(queries) < 0.2
    # As the softmax has it, of a row that sees no key.
    maximum = np.where(nothing, -(1 << config.score_width - 1), maximum)
    for field in (divisor, lead, sums):
        field[nothing] = 0
    seen = (divisor > 0).astype(np.int64)
    lead = lead + code.fraction
    return Partial(*(x[None] for x in (maximum, seen, divisor, lead, sums)))


def random_merged_heads(
    config: Config,
    rng: np.random.Generator,
    *,
    queries: int | None = None,
    segments: int | None = None,
) -> list[MergedHead]:
    """Return heads of random partial results, whose segments alternate.

    Maxima of a row's segments are equal, near each other, or up to 40 octaves apart and more; rows
    see no key of some segments, or of none.

    Parameters
    ----------
    config : Config
    rng : numpy.random.Generator
    queries, segments : int, optional
        Drawn by default.
    """
    most = min(config.merge_rows, 3 * config.rows)
    if queries is None:
        queries = int(rng.choice([1, most, int(rng.integers(1, most + 1))]))
    if segments is None:
        segments = int(rng.integers(1, max(2, min(5, config.positions // config.n_max + 1))))
    heads = int(rng.integers(1, min(3, config.merge_rows // queries) + 1))
    return [_head(config, rng, queries, segments) for _ in range(heads)]


def _head(config: Config, rng: np.random.Generator, queries: int, segments: int) -> MergedHead:
    limit = config.d_head * 120 * 120
    octaves = float(rng.choice([0.0, 0.01, 2.0, 12.0, 45.0]))
    factor = rng.integers(2**15, 2**16, queries)
    shift = int(rng.integers(0, 30))
    # Scores that are so many octaves apart.
    reach = int(min(limit, octaves * 32 * 2**shift / 2**15))
    middle = rng.integers(-limit + reach, limit - reach + 1, queries) if reach < limit else 0
    found = [
        _partial(config, rng, middle + rng.integers(-reach, reach + 1, queries))
        for _ in range(segments)
    ]
    sinks = rng.choice([NO_SINK, NO_SINK + 1, -NO_SINK - 1, 0, 700], queries)
    if config.sinks and rng.random() < 0.7:
        # Near the row's maximum, where that is near.
        place = (found[0].maximum[0] * factor << 3) >> shift
        near = np.abs(place) < 2**15 - 5000
        sinks = np.where(near, place + rng.integers(-5000, 5000, queries), sinks)
    form = OutputForm(bool(rng.integers(2)), int(rng.integers(8)))
    return MergedHead(
        found,
        RowScale(factor[None], np.array([shift])),
        sinks if config.sinks else np.full(queries, NO_SINK),
        form,
    )


class MergerLockstep(StreamLockstep):
    """Heads streamed through a merger.

    Parameters
    ----------
    config : Config
    groups : sequence of sequences of MergedHead
        Heads whose segments alternate: the first one of each head, then the second ones.
    stall, lazy, seed, held
        As of :class:`~dtqatten.sim.lockstep.streams.StreamLockstep`.
    """

    def __init__(
        self, config: Config, groups: Sequence[Sequence[MergedHead]], **stalls: Any
    ) -> None:
        self.config = config
        self.expected_beats: list[tuple] = []
        rows: list[Row] = []
        records: list[RowRecord] = []
        parts = 0
        for heads in groups:
            for head in heads:
                self.expected_beats += output_beats(config, head.output(WeightCode.of(config)))
            count = len(heads[0].segments)
            for number, (at, head) in product(range(count), enumerate(heads)):
                segment = head.segments[number]
                place = (number == 0, number == count - 1, at == len(heads) - 1)
                rows += sum_rows(config, segment.sums[0])
                parts += len(list(output_beats(config, segment.sums[0])))
                records += _records(config, head, segment, place)
        super().__init__(
            MergerModel(config),
            {
                "sums": score_row_layout(config, config.sum_width),
                "records": row_record_layout(config),
            },
            {"outputs": output_beat_layout(config)},
            {"sums": rows, "records": records},
            {"outputs": len(self.expected_beats)},
            work=parts + 16 * len(records) + 100,
            **stalls,
        )

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        model = self.model
        return {
            "sums": model.sums_ready(offered["sums"]),
            "records": model.records_ready(offered["records"]),
        }

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle, the payload while valid."""
        ports = super().expected() | {"working": int(self.model.goes(self.offered["sums"]))}
        # Whether a record would be taken depends on the record.
        if self.offered["records"] is None:
            del ports["records__ready"]
        return ports

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(offered["sums"], offered["records"], ready["outputs"])

    def right(self) -> bool:
        """Return whether the beats taken are what the golden functions compute."""
        return [shown_beat(beat) for _, beat in self.taken["outputs"]] == self.expected_beats


def _records(
    config: Config, head: MergedHead, segment: Partial, place: tuple[bool, bool, bool]
) -> list[RowRecord]:
    """Return the records of a segment.

    Parameters
    ----------
    config : Config
    head : MergedHead
    segment : Partial
    place : tuple of bool
        ``first_segment``, ``last_segment`` and ``restart``.
    """
    return [
        RowRecord(
            int(segment.divisor[0, r]),
            0,
            0,
            int(segment.lead[0, r]),
            head.form,
            *ends,
            int(segment.maximum[0, r]),
            int(head.scale.factor[0, r]),
            int(head.scale.shift[0]),
            int(head.sinks[r]),
            *place,
        )
        for r, ends in enumerate(row_ends(config, segment.divisor.shape[1]))
    ]
