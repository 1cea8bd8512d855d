"""Run the normalizer beside its cycle model and compare them on every clock edge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.normalizer import NormalizerModel
from dtqatten.golden.cycles.softmax_beats import OutputForm, RowRecord
from dtqatten.golden.cycles.tiles import Row, padded
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.narrowing import Narrowed
from dtqatten.golden.numerics.output import normalize, requantize
from dtqatten.golden.numerics.weights import WeightCode
from dtqatten.hw.payloads.arrays import score_row_layout
from dtqatten.hw.payloads.softmax import row_record_layout
from dtqatten.hw.softmax.normalizer import output_beat_layout
from dtqatten.sim.lockstep.streams import StreamLockstep

__all__ = [
    "NormalizerLockstep",
    "WeightedHead",
    "output_beats",
    "random_heads",
    "row_ends",
    "shown_beat",
    "sum_rows",
]


@dataclass(frozen=True, eq=False)
class WeightedHead:
    """Weighted sums ``[queries, channels]``, divisor and lead of each query, and output form."""

    sums: NDArray[np.int64]
    divisor: NDArray[np.int64]
    lead: NDArray[np.int64]
    form: OutputForm


def random_heads(config: Config, rng: np.random.Generator, count: int) -> list[WeightedHead]:
    """Return sums at both ends of what they can be, and random ones; rows that saw nothing."""
    code = WeightCode.of(config)
    top = code.top
    heads = []
    for _ in range(count):
        queries = int(rng.integers(1, min(config.n_max, 3 * config.rows) + 1))
        weight = rng.integers(1, config.n_max * top + 1, queries)
        reach = np.minimum(1.0, rng.exponential(0.5, (queries, config.d_head)))
        most = rng.choice([-120, 119], reach.shape) * (weight[:, None] << code.fraction)
        sums = (most * reach).astype(np.int64)
        lead = rng.integers(0, 9, queries) * config.v_gains
        divisor = np.maximum(1, 16 * weight // 2**lead)
        # A sink may make a divisor much larger.
        divisor += config.sinks * (top << rng.integers(0, 34, queries))
        nothing = rng.random(queries) < 0.1
        sums[nothing], divisor[nothing] = 0, 0
        form = OutputForm(bool(rng.integers(2)), int(rng.integers(8)))
        heads.append(WeightedHead(sums, divisor, lead + code.fraction, form))
    return heads


def row_ends(config: Config, queries: int) -> list[tuple[bool, bool]]:
    """Return of each row whether it is its row block's last one, and of the last row block."""
    last_block = (queries - 1) // config.rows
    return [
        (r % config.rows == config.rows - 1 or r == queries - 1, r // config.rows == last_block)
        for r in range(queries)
    ]


def sum_rows(config: Config, sums: NDArray[np.int64]) -> Iterator[Row]:
    """Yield a head's weighted sums ``[queries, channels]`` as rows, in the value array's order."""
    ends = row_ends(config, len(sums))
    for top in range(0, len(sums), config.rows):
        for left in range(0, config.d_head, config.cols):
            last_tile = left + config.cols >= config.d_head
            for r in range(top, min(top + config.rows, len(sums))):
                taken = sums[r, left : left + config.cols]
                last_row, last_block = ends[r]
                row = padded(taken, config.cols)
                yield Row(row, len(taken), last_row, last_tile, last_block)


def output_beats(config: Config, output: NDArray[np.integer]) -> Iterator[tuple]:
    """Yield a head's outputs ``[queries, channels]`` as beats, as of :func:`shown_beat`."""
    for row in sum_rows(config, output.astype(np.int64)):
        for at in range(0, row.keys, config.output_lanes):
            end = min(at + config.output_lanes, row.keys)
            place = (row.last_row, row.last_tile, row.last_block)
            yield (row.values[at:end].tolist(), end == row.keys, *place)


def shown_beat(beat: Any) -> tuple:
    """Return what an output beat says: its values, and its place."""
    values = beat.values[: beat.channels].tolist()
    return (values, beat.last_part, beat.last_row, beat.last_tile, beat.last_block)


class NormalizerLockstep(StreamLockstep):
    """Heads streamed through a normalizer.

    Parameters
    ----------
    config : Config
    heads : sequence of WeightedHead
    stall, lazy, seed, held
        As of :class:`~dtqatten.sim.lockstep.streams.StreamLockstep`.
    """

    def __init__(self, config: Config, heads: Sequence[WeightedHead], **stalls: Any) -> None:
        self.config = config
        self.expected_beats: list[tuple] = []
        rows: list[Row] = []
        records: list[RowRecord] = []
        for head in heads:
            divisor, lead, form = head.divisor, head.lead, head.form
            mantissa, exponent = softmax.reciprocal(divisor)
            narrowed = Narrowed(np.zeros(0, int), lead, divisor)
            output = normalize(head.sums, narrowed)
            output = requantize(output, form.shift) if form.codes else output
            records += [
                RowRecord(
                    int(divisor[r]), int(mantissa[r]), int(exponent[r]), int(lead[r]), form, *ends
                )
                for r, ends in enumerate(row_ends(config, len(divisor)))
            ]
            rows += sum_rows(config, head.sums)
            self.expected_beats += output_beats(config, output)
        beats = len(self.expected_beats)
        super().__init__(
            NormalizerModel(config),
            {
                "sums": score_row_layout(config, config.sum_width),
                "records": row_record_layout(config),
            },
            {"outputs": output_beat_layout(config)},
            {"sums": rows, "records": records},
            {"outputs": beats},
            work=beats + len(records) + 50,
            **stalls,
        )

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        model = self.model
        return {"sums": model.sums_ready(offered["sums"]), "records": model.records_ready()}

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle, the payload while valid."""
        working = self.model.goes(self.offered["sums"])
        return super().expected() | {"working": int(working)}

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(offered["sums"], offered["records"], ready["outputs"])

    def right(self) -> bool:
        """Return whether the beats taken are what the golden functions compute."""
        got = [shown_beat(beat) for _, beat in self.taken["outputs"]]
        return got == self.expected_beats
