"""Run the normalizer beside its cycle model and compare them on every clock edge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.normalizer import NormalizerModel
from dtqatten.golden.cycles.softmax_beats import OutputForm, RowRecord
from dtqatten.golden.cycles.tiles import Row
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.codes import code_range
from dtqatten.golden.numerics.output import normalize, requantize
from dtqatten.hw.payloads.arrays import score_row_layout
from dtqatten.hw.payloads.softmax import row_record_layout
from dtqatten.hw.softmax.normalizer import output_beat_layout
from dtqatten.sim.lockstep.streams import StreamLockstep

__all__ = ["NormalizerLockstep", "WeightedHead", "random_heads"]


@dataclass(frozen=True, eq=False)
class WeightedHead:
    """Weighted sums ``[queries, channels]``, divisor and lead of each query, and output form."""

    sums: NDArray[np.int64]
    divisor: NDArray[np.int64]
    lead: NDArray[np.int64]
    form: OutputForm


def random_heads(config: Config, rng: np.random.Generator, count: int) -> list[WeightedHead]:
    """Return sums at both ends of what they can be, and random ones; rows that saw nothing."""
    top = code_range(config.planes)[1]
    heads = []
    for _ in range(count):
        queries = int(rng.integers(1, min(config.n_max, 3 * config.rows) + 1))
        weight = rng.integers(1, config.n_max * top + 1, queries)
        reach = np.minimum(1.0, rng.exponential(0.5, (queries, config.d_head)))
        sums = (rng.choice([-120, 119], reach.shape) * weight[:, None] * reach).astype(np.int64)
        lead = rng.integers(0, 9, queries) * config.v_gains
        divisor = np.maximum(1, 16 * weight // 2**lead)
        # A sink may make a divisor much larger.
        divisor += config.sinks * (top << rng.integers(0, 34, queries))
        nothing = rng.random(queries) < 0.1
        sums[nothing], divisor[nothing] = 0, 0
        form = OutputForm(bool(rng.integers(2)), int(rng.integers(8)))
        heads.append(WeightedHead(sums, divisor, lead, form))
    return heads


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
        rows, records = [], []
        cols, lanes = config.cols, config.output_lanes
        for head in heads:
            sums, divisor, lead, form = head.sums, head.divisor, head.lead, head.form
            mantissa, exponent = softmax.reciprocal(divisor)
            narrowed = softmax.Narrowed(np.zeros(0, int), lead, divisor)
            output = normalize(sums, narrowed)
            output = requantize(output, form.shift) if form.codes else output
            for top in range(0, len(sums), config.rows):
                block = range(top, min(top + config.rows, len(sums)))
                last_block = block.stop == len(sums)
                for r in block:
                    divided_by = int(divisor[r]), int(mantissa[r]), int(exponent[r])
                    row_end = r == block[-1]
                    records.append(RowRecord(*divided_by, int(lead[r]), form, row_end, last_block))
                for left in range(0, config.d_head, cols):
                    last_tile = left + cols >= config.d_head
                    for r in block:
                        taken = sums[r, left : left + cols]
                        place = (r == block[-1], last_tile, last_block)
                        padded = np.pad(taken, (0, cols - len(taken)))
                        rows.append(Row(padded, len(taken), *place))
                        for at in range(left, left + len(taken), lanes):
                            end = min(at + lanes, left + len(taken))
                            last = end == left + len(taken)
                            beat = (output[r, at:end].tolist(), last, *place)
                            self.expected_beats.append(beat)
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
        return {"sums": model.sums_ready(offered["sums"]), "records": model.records_ready}

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle, the payload while valid."""
        working = self.model.goes(self.offered["sums"])
        return super().expected() | {"working": int(working)}

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(offered["sums"], offered["records"], ready["outputs"])

    def right(self) -> bool:
        """Return whether the beats taken are what the golden functions compute."""
        got = [
            (
                beat.values[: beat.channels].tolist(),
                beat.last_part,
                beat.last_row,
                beat.last_tile,
                beat.last_block,
            )
            for _, beat in self.taken["outputs"]
        ]
        return got == self.expected_beats
