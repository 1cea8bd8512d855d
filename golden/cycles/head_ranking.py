"""Cycle models of what sums and ranks heads: every handshake and payload, every cycle."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.normalizer import OutputBeat
from dtqatten.golden.cycles.rings import Fifo
from dtqatten.golden.numerics.codes import BoolArray, IntArray
from dtqatten.golden.numerics.heads import drawn, head_ranks, kept_heads
from dtqatten.golden.numerics.importance import accumulate
from dtqatten.golden.numerics.softmax import Multiplier
from dtqatten.interface.descriptor import NO_RANK

__all__ = ["HeadReport", "MagnitudesModel", "RankedHeads", "RankingOfHeadsModel"]


class MagnitudesModel:
    """Predict :class:`dtqatten.hw.ranking.head_magnitudes.HeadMagnitudes` on every clock edge.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    o : OutputBeat or None
        The beat that passes, of those that :meth:`offer` tells.
    """

    #: Sums that wait, or are under way, besides the one on offer.
    ROOM = 4

    def __init__(self, config: Config) -> None:
        # From a head's last beat to its sum being written into the FIFO.
        self._latency = 6 + (config.output_lanes - 1).bit_length()
        self.cycle = 0
        self.o: OutputBeat | None = None
        self._values: list[IntArray] = []
        self._sums: Fifo[int] = Fifo(self.ROOM)
        self._under_way: deque[tuple[int, int]] = deque()

    @property
    def sums(self) -> int | None:
        """The sum on offer."""
        return self._sums.offered

    @staticmethod
    def ends(beat: OutputBeat) -> bool:
        """Whether a beat is its head's last."""
        return beat.last_part and beat.last_row and beat.last_tile and beat.last_block

    def offer(self, beat: OutputBeat | None, weight: tuple[int, int] | None) -> None:
        """Tell what is valid at the inputs in this cycle: a beat, and a multiplier and shift."""
        waits = beat is not None and self.ends(beat)
        waits = waits and (self._sums.room <= 0 or weight is None)
        self.o = None if waits else beat

    def weights_ready(self, o_ready: bool) -> bool:
        """Whether a weight is taken."""
        return o_ready and self.o is not None and self.ends(self.o)

    def clock(self, weight: tuple[int, int] | None, o_ready: bool, sums_ready: bool) -> None:
        """Pass a clock edge with what is valid at the inputs, taken if ready.

        Parameters
        ----------
        weight : tuple of int, optional
        o_ready, sums_ready : bool
            A consumer takes what is on offer.
        """
        taken = self.o if o_ready else None
        closes = self.weights_ready(o_ready)
        self._sums.clock(sums_ready)
        if taken is not None:
            self._values.append(taken.values)
        if closes:
            assert weight is not None
            self._sums.room -= 1
            size = drawn(np.array([self._values]), Multiplier(*map(np.array, weight)))
            self._under_way.append((self.cycle + self._latency, int(size[0])))
            self._values = []
        if self._under_way and self._under_way[0][0] == self.cycle:
            self._sums.write(self._under_way.popleft()[1])
        self.cycle += 1


@dataclass(frozen=True)
class RankedHeads:
    """A layer of ``heads`` in memory, ``keep`` of which stay; see the gateware's layout."""

    heads: int
    keep: int
    chained: bool
    report: bool


@dataclass(frozen=True)
class HeadReport:
    """A head of a report."""

    importance: int
    rank: int
    last: bool


class RankingOfHeadsModel:
    """Predict :class:`dtqatten.hw.ranking.head_ranking.HeadRanking` on every clock edge.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    kept : bool array ``[heads]``
        Heads that are left, while :attr:`idle`; those beyond the layer's have no meaning but stay.
    """

    def __init__(self, config: Config) -> None:
        self.cycle = 0
        self.kept: BoolArray = np.zeros(config.heads, bool)
        self._importance: IntArray = np.zeros(config.heads, np.int64)
        self._added: IntArray = np.zeros(config.heads, np.int64)
        self._layer: RankedHeads | None = None
        self._head = self._busy = 0
        self._reports: deque[HeadReport] = deque()

    @property
    def idle(self) -> bool:
        """Whether a layer is taken."""
        return self._layer is None

    @property
    def sums_ready(self) -> bool:
        """Whether the sum of a head is taken."""
        layer = self._layer
        return (
            layer is not None
            and not self._busy
            and self._head < layer.heads
            and bool(self.kept[self._head])
        )

    @property
    def _gives(self) -> bool:
        layer = self._layer
        return layer is not None and not self._busy and self._head == layer.heads

    @property
    def report(self) -> HeadReport | None:
        """The head of the report on offer."""
        layer = self._layer
        return self._reports[0] if layer is not None and layer.report and self._gives else None

    def clock(self, layer: RankedHeads | None, sums: int | None, report_ready: bool) -> None:
        """Pass a clock edge with what is valid at the inputs, taken if ready.

        Parameters
        ----------
        layer : RankedHeads, optional
        sums : int, optional
        report_ready : bool
            The consumer takes a head of a report.
        """
        current = self._layer
        if current is None:
            if layer is not None:
                self._begin(layer)
        elif self._busy:
            self._busy -= 1
        elif self._gives:
            if not current.report or report_ready:
                self._reports.popleft()
                if not self._reports:
                    self._end(current)
        elif not self.kept[self._head]:
            self._go_on(current, 0)
        elif sums is not None:
            self._added[self._head] = sums
            # It is read, compared with each head below it, and written.
            self._go_on(current, self._head + 3 if self._head else 2)
        self.cycle += 1

    def _begin(self, layer: RankedHeads) -> None:
        self._layer, self._head = layer, 0
        self._added[:] = 0
        if not layer.chained:
            self.kept[:] = True
            self._importance[:] = 0

    def _go_on(self, layer: RankedHeads, busy: int) -> None:
        """Be busy with a head for some more cycles; after the last one for one more."""
        self._head += 1
        self._busy = busy
        if self._head == layer.heads:
            self._busy += 1
            self._rank(layer)

    def _rank(self, layer: RankedHeads) -> None:
        n = layer.heads
        total = accumulate(self._added[:n], self._importance[:n], saturate=True).astype(np.int64)
        self._importance[:n] = total
        ranks = np.where(self.kept[:n], head_ranks(total, self.kept[:n]), NO_RANK)
        self._reports = deque(
            HeadReport(int(total[i]), int(ranks[i]), i == n - 1) for i in range(n)
        )

    def _end(self, layer: RankedHeads) -> None:
        n = layer.heads
        self.kept[:n] = kept_heads(self._importance[:n], self.kept[:n], layer.keep)
        self._layer = None
