"""Cycle model of the merger: every handshake and output, every cycle."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.normalizer import OutputBeat
from dtqatten.golden.cycles.rings import Fifo
from dtqatten.golden.cycles.row_merge import HeldPlaces, MergedRow, RowMergeModel
from dtqatten.golden.cycles.softmax_beats import RowRecord
from dtqatten.golden.cycles.tiles import Row, padded
from dtqatten.golden.numerics.weights import WeightCode

__all__ = ["MergerModel"]


class MergerModel:
    """Predict :class:`dtqatten.hw.merge.merger.Merger` on every clock edge.

    Between two calls of :meth:`clock` the attributes hold what the ports show in that cycle.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    """

    # Cycles from a part setting out to it being known whether it gives outputs, to its sums being
    # held, and to its beat being written into the FIFO.
    TAKEN, HELD, LATENCY = 2, 8, 15
    # Beats that the FIFO holds: those that set out before the first one is offered, and one more.
    ROOM = 18

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cycle = 0
        self._merge = RowMergeModel(config)
        self._rows: deque[MergedRow] = deque()
        self._places = HeldPlaces(self.HELD, self.HELD - 1)
        self._row = self._part = self._pass = 0
        # Sums held, by the place of their row and channel pass.
        self._held: dict[tuple[int, int], NDArray[np.int64]] = {}
        self._outputs = np.zeros(0, dtype=np.int64)
        self._beats: Fifo[OutputBeat] = Fifo(self.ROOM)
        self._reserving: deque[int] = deque()
        self._under_way: deque[tuple[int, OutputBeat]] = deque()

    def records_ready(self, record: RowRecord | None) -> bool:
        """Whether a record is taken, being offered."""
        return self._merge.ready(record)

    @property
    def outputs(self) -> OutputBeat | None:
        """The beat on offer."""
        return self._beats.offered

    def goes(self, sums: Row | None) -> bool:
        """Whether a part sets out, ``sums`` being offered."""
        return (
            sums is not None
            and self._row < len(self._rows)
            and self._beats.room > self.TAKEN
            and self._places.free
        )

    def sums_ready(self, sums: Row | None) -> bool:
        """Whether a row of sums is taken, ``sums`` being offered."""
        done = (self._part + 1) * self.config.output_lanes
        return sums is not None and self.goes(sums) and done >= sums.keys

    def clock(self, sums: Row | None, records: RowRecord | None, outputs_ready: bool) -> None:
        """Pass a clock edge with what is valid at the inputs, taken if ready."""
        goes, last = self.goes(sums), self.sums_ready(sums)
        takes_row = len(self._rows) < 2 * self.config.rows
        row = self._merge.offered if takes_row else None
        self._beats.clock(outputs_ready)
        block_end = head_end = False
        if goes:
            assert sums is not None
            self._take(sums, last)
            block_end = last and sums.last_row and sums.last_tile
            head_end = block_end and sums.last_block
            self._part = 0 if last else self._part + 1
            if last:
                self._row = 0 if sums.last_row else self._row + 1
                if sums.last_row:
                    self._pass = 0 if sums.last_tile else self._pass + 1
        self._places.clock(enters=goes, ends=head_end)
        self._merge.clock(records, takes_row)
        if block_end:
            while not self._rows.popleft().record.last_row:
                pass
        if row is not None:
            self._rows.append(row)
        if self._reserving and self._reserving[0] == self.cycle:
            self._reserving.popleft()
            self._beats.room -= 1
        if self._under_way and self._under_way[0][0] == self.cycle:
            self._beats.write(self._under_way.popleft()[1])
        self.cycle += 1

    def _take(self, sums: Row, last: bool) -> None:
        """Let a part set out."""
        row, code = self._rows[self._row], WeightCode.of(self.config)
        ends = row.record.last_segment
        if not self._part:
            place = row.place, self._pass
            held = self._held.get(place, sums.values)
            merged = row.merged(sums.values, held, code)
            if ends:
                outputs = row.output(merged, code)
                self._outputs = padded(outputs, len(outputs) + self.config.output_lanes)
            else:
                self._held[place] = merged.sums[0, 0]
        if ends:
            self._reserving.append(self.cycle + self.TAKEN)
            self._under_way.append((self.cycle + self.LATENCY, self._beat(sums, last)))

    def _beat(self, sums: Row, last: bool) -> OutputBeat:
        lanes = self.config.output_lanes
        at = self._part * lanes
        return OutputBeat(
            self._outputs[at : at + lanes],
            min(lanes, sums.keys - at),
            last,
            sums.last_row,
            sums.last_tile,
            sums.last_block,
        )
