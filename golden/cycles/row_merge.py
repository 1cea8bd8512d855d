"""Cycle model of the merger's rows: what each row's partial results merge into."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.rings import Fifo
from dtqatten.golden.cycles.softmax_beats import RowRecord
from dtqatten.golden.numerics.narrowing import Narrowed
from dtqatten.golden.numerics.output import normalize, requantize
from dtqatten.golden.numerics.segments import Partial, RowScale, merge
from dtqatten.golden.numerics.sinks import sink_weight
from dtqatten.golden.numerics.weights import WeightCode

__all__ = ["HeldPlaces", "MergedRow", "RowMergeModel"]


class HeldPlaces:
    """Places of what is held between segments, counted in the order of a sequence.

    Parameters
    ----------
    most : int
        Places that are counted; what is not merged may have more.
    held : int
        Cycles from one that enters the pipeline to its being written.
    """

    def __init__(self, most: int, held: int) -> None:
        self.most, self.held = most, held
        # Of the next one, and how many the sequence before had.
        self.place = self._size = 0
        self._entered: deque[bool] = deque([False] * held)

    @property
    def free(self) -> bool:
        """Whether what the sequence before had in this place is there, or it had none."""
        return self.place >= self._size or sum(self._entered) < self._size

    def clock(self, *, enters: bool, ends: bool) -> None:
        """Pass a clock edge; what enters may end the sequence."""
        self._entered.popleft()
        self._entered.append(enters)
        if enters:
            after = min(self.place + 1, self.most)
            self.place = 0 if ends else after
            self._size = after if ends else self._size


@dataclass(frozen=True)
class MergedRow:
    """A row after a segment: its record, its place, and what was held of it, ``None`` at first."""

    record: RowRecord
    place: int
    held: Partial | None

    def merged(self, sums: NDArray[np.int64], held: NDArray[np.int64], code: WeightCode) -> Partial:
        """Return the row, with its sums, after this segment.

        Parameters
        ----------
        sums, held : int array ``[channels]``
            Those of this segment, and those held.
        code : WeightCode
            Of the weights.
        """
        new = _partial(self.record, sums)
        if self.held is None:
            return new
        old = Partial(
            self.held.maximum, self.held.total, self.held.divisor, self.held.lead, held[None, None]
        )
        return merge(old, new, _scale(self.record), code.planes)

    def output(self, row: Partial, code: WeightCode) -> NDArray[np.int64]:
        """Return the outputs of a complete row."""
        record, divisor = self.record, row.divisor
        _, weight = sink_weight(np.array([record.sink]), row.maximum, _scale(record), code)
        divisor = divisor + np.where(row.total > 0, weight, 0)
        output = normalize(row.sums, Narrowed(np.zeros(0, int), row.lead, divisor))
        if record.output.codes:
            output = requantize(output, record.output.shift)
        return output[0, 0].astype(np.int64)


def _scale(record: RowRecord) -> RowScale:
    return RowScale(np.array([[record.multiplier]]), np.array([record.shift]))


def _partial(record: RowRecord, sums: NDArray[np.int64]) -> Partial:
    """Return a record as a partial result; its total only says whether the row saw a key."""
    seen = int(record.divisor > 0)
    fields = (record.maximum, seen, record.divisor, record.lead)
    maximum, total, divisor, lead = (np.array([[field]]) for field in fields)
    return Partial(maximum, total, divisor, lead, sums[None, None])


class RowMergeModel:
    """Predict :class:`dtqatten.hw.merge.row_merge.RowMerge` on every clock edge.

    Parameters
    ----------
    config : Config
    """

    # Cycles from a record to its merged divisor, which is held then, and from there to a row in the
    # ring, beside two with sinks.
    HELD = 14
    INVERTED = 18

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cycle = 0
        self._latency = self.HELD + self.INVERTED + 2 * config.sinks
        self._rows: Fifo[MergedRow] = Fifo(self._latency + 3)
        self._places = HeldPlaces(config.merge_rows, self.HELD)
        self._held: dict[int, Partial] = {}
        self._under_way: deque[tuple[int, MergedRow]] = deque()

    @property
    def offered(self) -> MergedRow | None:
        """The row on offer."""
        return self._rows.offered

    def ready(self, record: RowRecord | None) -> bool:
        """Whether a record is taken, being offered."""
        return (
            record is not None
            and self._rows.room > 0
            and (record.first_segment or self._places.free)
        )

    def clock(self, record: RowRecord | None, rows_ready: bool) -> None:
        """Pass a clock edge with what is valid at the input, taken if ready."""
        accept = self.ready(record)
        self._rows.clock(rows_ready)
        if accept:
            assert record is not None
            self._rows.room -= 1
            self._under_way.append((self.cycle + self._latency, self._merge(record)))
        self._places.clock(
            enters=accept,
            ends=record is not None and record.last_row and record.last_block and record.restart,
        )
        if self._under_way and self._under_way[0][0] == self.cycle:
            self._rows.write(self._under_way.popleft()[1])
        self.cycle += 1

    def _merge(self, record: RowRecord) -> MergedRow:
        place = self._places.place
        row = MergedRow(record, place, None if record.first_segment else self._held[place])
        nothing = np.zeros(0, dtype=np.int64)
        if not record.last_segment:
            self._held[place] = row.merged(nothing, nothing, WeightCode.of(self.config))
        return row
