"""Cycle model of module B: importances, the search and the chosen ids, every cycle."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.rings import Buffered, Fifo
from dtqatten.golden.cycles.score_accumulator import AccumulatorModel, ImportanceBeat
from dtqatten.golden.cycles.tiles import Row
from dtqatten.golden.cycles.topk import IdBeat, ScoreBeat, TopKModel
from dtqatten.golden.numerics.importance import IMPORTANCE_MAX

__all__ = ["Held", "LayerCommand", "TokenRankingModel"]


@dataclass(frozen=True)
class LayerCommand:
    """A layer: heads, tokens to keep, of those in 8 bits, and how importance is made."""

    heads: int
    k0: int
    k1: int
    report: bool = False
    cumulative: bool = False
    fresh: bool = False
    count: bool = False
    held: bool = False


@dataclass(frozen=True)
class Held:
    """What a key has from before: its importance, and whether it is protected."""

    importance: int
    protected: bool


class _Fork:
    """One stream for several consumers: who has taken the beat on offer."""

    def __init__(self, sinks: int) -> None:
        self.done = [False] * sinks

    def offers(self, index: int, *, wanted: bool) -> bool:
        """Whether a sink is offered the beat that is there."""
        return wanted and not self.done[index]

    def clock(self, wanted: list[bool], ready: list[bool]) -> bool:
        """Pass a clock edge at which there is a beat and return whether it has been taken."""
        taken = [d or not w or r for d, w, r in zip(self.done, wanted, ready, strict=True)]
        complete = all(taken)
        self.done = [
            not complete and (d or (w and r))
            for d, w, r in zip(self.done, wanted, ready, strict=True)
        ]
        return complete


class _Packer:
    """Gather beats of few importances into beats of many."""

    def __init__(self, packed: int) -> None:
        self.packed = packed
        self.offered: ImportanceBeat | None = None
        self._values: list[int] = []

    def clock(self, beat: ImportanceBeat | None, taken: bool) -> None:
        if self.offered is not None and not taken:
            return
        self.offered = None
        if beat is None:
            return
        self._values += beat.values[: beat.tokens].tolist()
        if beat.last or len(self._values) == self.packed:
            values = np.array(self._values)
            self.offered = ImportanceBeat(values, len(values), beat.last)
            self._values = []


class _Finish:
    """Divide by counts, add what is carried, keep totals, gather those of chosen tokens."""

    def __init__(self, config: Config) -> None:
        self.latency = 1 + 16 * config.count_normalize
        # Those that set out before the first one is offered, and one more.
        self.fifo: Fifo[ImportanceBeat] = Fifo(self.latency + 3)
        self._under_way: deque[tuple[int, ImportanceBeat]] = deque()
        self._totals: list[int] = []
        self._carried: list[int] = []
        self._gathered: list[int] = []
        self._lane = 0

    def gathers_last(self, ids: IdBeat) -> bool:
        """Whether the beat's last id is gathered in this cycle."""
        return self._lane == len(ids.ids) - 1

    def clock(
        self,
        cycle: int,
        layer: LayerCommand | None,
        beat: ImportanceBeat | None,
        held: Held | None,
        ids: IdBeat | None,
        ready: bool,
    ) -> None:
        """Pass a clock edge.

        Parameters
        ----------
        cycle : int
            Cycles since reset.
        layer : LayerCommand or None
            That the beats belong to.
        beat : ImportanceBeat or None
            Importance of one key, taken if it can be (:meth:`takes`).
        held : Held or None
            What the key has from before.
        ids : IdBeat or None
            Beat whose next id is gathered.
        ready : bool
            The consumer takes a beat.
        """
        goes = beat is not None and self.takes(layer, held)
        self.fifo.clock(ready)
        if goes:
            assert beat is not None
            assert layer is not None
            self.fifo.room -= 1
            self._under_way.append((cycle + self.latency, self._total(layer, beat, held)))
        if self._under_way and self._under_way[0][0] == cycle:
            self.fifo.write(self._under_way.popleft()[1])
        if ids is not None:
            self._gathered.append(self._totals[ids.ids[self._lane]])
            last = self.gathers_last(ids)
            self._lane = 0 if last else self._lane + 1
            if last and ids.last:
                self._carried, self._gathered, self._totals = self._gathered, [], []

    def takes(self, layer: LayerCommand | None, held: Held | None) -> bool:
        """Whether a key's importance is taken: there is room, and what it has from before."""
        waits = layer is not None and layer.held and held is None
        return self.fifo.room > 0 and not waits

    def _total(
        self, layer: LayerCommand, beat: ImportanceBeat, held: Held | None
    ) -> ImportanceBeat:
        total = int(beat.values[0])
        if layer.count:
            assert beat.seen is not None
            total //= max(int(beat.seen[0]), 1)
        first = False
        if layer.held:
            assert held is not None
            total, first = min(total + held.importance, IMPORTANCE_MAX), held.protected
        if layer.cumulative:
            if not layer.fresh and not layer.held:
                total = min(total + self._carried[len(self._totals)], IMPORTANCE_MAX)
            self._totals.append(total)
        return ImportanceBeat(np.array([total | first << 32]), 1, beat.last)


class TokenRankingModel:
    """Predict :class:`dtqatten.hw.ranking.token_ranking.TokenRanking` on every clock edge.

    Between two calls of :meth:`clock` the attributes hold what the ports show in that cycle.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cycle = 0
        self._accumulator = AccumulatorModel(config)
        timing = config.timing
        self._topk = TopKModel(
            config.topk_lanes,
            config.n_max,
            slow_logic=timing.grouped_search,
            engine=config.topk_engine,
            score_width=IMPORTANCE_MAX.bit_length() + config.held_importance,
        )
        self._commands: deque[LayerCommand] = deque()
        self._closed = False
        finishes = config.cumulative or config.count_normalize or config.held_importance
        self._finish = _Finish(config) if finishes else None
        packs = config.importance_lanes != config.topk_lanes
        self._packer = _Packer(config.topk_lanes) if packs else None
        # If buffered, importances wait, and ids that not all have taken are kept aside.
        self._waiting: Buffered[ImportanceBeat] | None = (
            Buffered() if timing.buffered_ranking else None
        )
        self._ids_aside: IdBeat | None = None
        self._scores_fork, self._ids_fork = _Fork(2), _Fork(2)

    @property
    def layers_ready(self) -> bool:
        """Whether a layer is taken."""
        return self._accumulator.runs_ready and len(self._commands) < 2

    @property
    def probabilities_ready(self) -> bool:
        """Whether a row is taken."""
        return self._accumulator.probabilities_ready

    @property
    def held_ready(self) -> bool:
        """Whether what a key has from before is taken."""
        asked = self._layer is not None and self._layer.held and self._leaving is not None
        return asked and self._finish is not None and self._finish.fifo.room > 0

    @property
    def searching(self) -> bool:
        """Whether importances or ids of a layer are on their way."""
        return self._closed or self._leaving is not None

    @property
    def _layer(self) -> LayerCommand | None:
        return self._commands[0] if self._commands else None

    @property
    def _leaving(self) -> ImportanceBeat | None:
        """Importance that is let out of the accumulator."""
        return self._accumulator.importance if self._layer and not self._closed else None

    @property
    def _entering(self) -> ImportanceBeat | None:
        """Importance on its way into the packer."""
        if self._finish is not None:
            return self._finish.fifo.offered
        return self._leaving

    @property
    def _packed(self) -> ImportanceBeat | None:
        return self._packer.offered if self._packer is not None else self._entering

    @property
    def _scores(self) -> ImportanceBeat | None:
        """Importances on their way into the search."""
        return self._waiting.offered if self._waiting is not None else self._packed

    @property
    def report(self) -> ImportanceBeat | None:
        """Importances on offer."""
        layer, scores = self._layer, self._scores
        wanted = layer is not None and layer.report
        if scores is None or not self._scores_fork.offers(1, wanted=wanted):
            return None
        return replace(scores, values=scores.values & IMPORTANCE_MAX)

    @property
    def ids(self) -> IdBeat | None:
        """Ids on offer."""
        return self._kept if self._ids_fork.offers(0, wanted=True) else None

    @property
    def _kept(self) -> IdBeat | None:
        """Ids of the search, which wait until the layer's last importances have been taken."""
        if self._ids_aside is not None:
            return self._ids_aside
        return self._topk.ids if self._scores is None else None

    def clock(
        self,
        layers: LayerCommand | None,
        probabilities: Row | None,
        *,
        ids_ready: bool,
        report_ready: bool,
        held: Held | None = None,
    ) -> None:
        """Pass a clock edge with what is valid at the inputs, taken if ready.

        Parameters
        ----------
        layers : LayerCommand or None
            Layer valid at the input.
        probabilities : Row or None
            Row valid at the input.
        ids_ready, report_ready : bool
            The consumer takes a beat of ids, or of importances.
        held : Held or None
            What a key has from before, valid at the input.
        """
        layer, leaving, entering, scores = self._layer, self._leaving, self._entering, self._scores
        takes_layer = layers is not None and self.layers_ready
        ids_move = self._ids_aside is None and scores is None

        # Ids to the reader and to what is carried on.
        ids, all_ids = self._kept, False
        gathers = None
        if ids is not None:
            assert layer is not None
            carries = layer.cumulative
            if self._ids_fork.offers(1, wanted=carries):
                gathers = ids
            gathered = gathers is not None and self._finish.gathers_last(ids)  # type: ignore[union-attr]
            all_ids = self._ids_fork.clock([True, carries], [ids_ready, gathered])

        # Importances to the search and to the reader.
        offered, taken = None, False
        if scores is not None:
            assert layer is not None
            if self._scores_fork.offers(0, wanted=True):
                values = scores.values[: scores.tokens].astype(np.uint64)
                offered = ScoreBeat(values, scores.last, layer.k0, layer.k1)
            taken = self._scores_fork.clock(
                [True, layer.report], [self._topk.scores_ready, report_ready]
            )
        if self._waiting is not None:
            moves = self._waiting.ready
            self._waiting.clock(self._packed, taken=taken)
            self._ids_aside = None if all_ids else ids
        else:
            moves, ids_move = taken, all_ids
        if self._packer is not None:
            packer_ready = self._packer.offered is None or moves
            self._packer.clock(entering, moves)
        else:
            packer_ready = moves
        if self._finish is not None:
            leaving_ready = self._finish.takes(layer, held)
            self._finish.clock(self.cycle, layer, leaving, held, gathers, packer_ready)
        else:
            leaving_ready = packer_ready
        self._topk.clock(offered, ids_move)
        # A beat is not offered to the accumulator's reader while the gate is closed.
        gate = layer is not None and not self._closed
        self._accumulator.clock(
            layers.heads if takes_layer and layers is not None else None,
            probabilities,
            gate and leaving_ready,
        )
        if leaving is not None and leaving_ready and leaving.last:
            self._closed = True
        if ids is not None and all_ids and ids.last:
            self._closed = False
            self._commands.popleft()
        if takes_layer:
            assert layers is not None
            self._commands.append(layers)
        self.cycle += 1
