"""Cycle model of the normalizer: every handshake and output, every cycle."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.rings import Fifo
from dtqatten.golden.cycles.softmax_beats import RowRecord
from dtqatten.golden.cycles.tiles import Row, padded
from dtqatten.golden.numerics.narrowing import Narrowed
from dtqatten.golden.numerics.output import normalize, requantize

__all__ = ["NormalizerModel", "OutputBeat"]


@dataclass(frozen=True, eq=False)
class OutputBeat:
    """``channels`` consecutive channels of one query, the rest zero; see the gateware's layout."""

    values: NDArray[np.int64]
    channels: int
    last_part: bool
    last_row: bool
    last_tile: bool
    last_block: bool


class NormalizerModel:
    """Predict :class:`dtqatten.hw.softmax.normalizer.Normalizer` on every clock edge.

    Between two calls of :meth:`clock` the attributes hold what the ports show in that cycle.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    """

    # Cycles from a part setting out to its beat being written into the FIFO.
    LATENCY = 9
    # Beats that the FIFO holds: those that set out before the first one is offered, and one more.
    ROOM = 12

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cycle = 0
        self._records: deque[RowRecord] = deque()
        self._row = self._part = 0
        # Outputs of the row whose parts set out.
        self._outputs = np.zeros(0, dtype=np.int64)
        self._beats: Fifo[OutputBeat] = Fifo(self.ROOM)
        self._under_way: deque[tuple[int, OutputBeat]] = deque()

    def records_ready(self, record: RowRecord | None = None) -> bool:
        """Whether a record is taken, whichever is offered."""
        return len(self._records) < 2 * self.config.rows

    @property
    def outputs(self) -> OutputBeat | None:
        """The beat on offer."""
        return self._beats.offered

    def goes(self, sums: Row | None) -> bool:
        """Whether a part sets out, ``sums`` being offered."""
        return sums is not None and self._row < len(self._records) and self._beats.room > 0

    def sums_ready(self, sums: Row | None) -> bool:
        """Whether a row of sums is taken, ``sums`` being offered."""
        done = (self._part + 1) * self.config.output_lanes
        return sums is not None and self.goes(sums) and done >= sums.keys

    def clock(self, sums: Row | None, records: RowRecord | None, outputs_ready: bool) -> None:
        """Pass a clock edge with what is valid at the inputs, taken if ready."""
        goes, takes_record = self.goes(sums), self.records_ready()
        last = self.sums_ready(sums)
        self._beats.clock(outputs_ready)
        if goes:
            assert sums is not None
            self._beats.room -= 1
            self._under_way.append((self.cycle + self.LATENCY, self._beat(sums, last)))
            self._part = 0 if last else self._part + 1
            if last:
                self._row += 1
                if sums.last_row:
                    if sums.last_tile:
                        for _ in range(self._row):
                            self._records.popleft()
                    self._row = 0
        if takes_record and records is not None:
            self._records.append(records)
        if self._under_way and self._under_way[0][0] == self.cycle:
            self._beats.write(self._under_way.popleft()[1])
        self.cycle += 1

    def _normalized(self, sums: Row) -> NDArray[np.int64]:
        """Return the outputs of a row of sums."""
        record = self._records[self._row]
        weights = Narrowed(np.zeros(0, int), np.array([record.lead]), np.array([record.divisor]))
        output = normalize(sums.values[None], weights)
        if record.output.codes:
            output = requantize(output, record.output.shift)
        return output[0].astype(np.int64)

    def _beat(self, sums: Row, last: bool) -> OutputBeat:
        lanes = self.config.output_lanes
        at = self._part * lanes
        if not self._part:
            self._outputs = padded(self._normalized(sums), len(sums.values) + lanes)
        return OutputBeat(
            self._outputs[at : at + lanes],
            min(lanes, sums.keys - at),
            last,
            sums.last_row,
            sums.last_tile,
            sums.last_block,
        )
