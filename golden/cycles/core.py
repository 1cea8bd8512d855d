"""Cycle model of the attention core: every handshake and payload, every cycle."""

from dataclasses import dataclass

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.core_front import CoreFront, TokenBeats
from dtqatten.golden.cycles.group_lister import Choice
from dtqatten.golden.cycles.merger import MergerModel
from dtqatten.golden.cycles.normalizer import NormalizerModel, OutputBeat
from dtqatten.golden.cycles.score_accumulator import ImportanceBeat
from dtqatten.golden.cycles.score_array import ArrayModel
from dtqatten.golden.cycles.softmax import SoftmaxModel
from dtqatten.golden.cycles.softmax_beats import Bias, HeadFactor, Key, Query, Verdict
from dtqatten.golden.cycles.tiles import Beat, Row
from dtqatten.golden.cycles.token_ranking import Held, LayerCommand, TokenRankingModel
from dtqatten.golden.cycles.topk import IdBeat
from dtqatten.golden.cycles.value_array import ValueArrayModel
from dtqatten.interface.units import Unit

__all__ = ["CoreInputs", "CoreModel"]


@dataclass(frozen=True)
class CoreInputs:
    """What is valid at the inputs of the core in a cycle."""

    layers: LayerCommand | None = None
    heads: HeadFactor | None = None
    q: Beat | None = None
    k: Beat | None = None
    v: Beat | None = None
    queries: Query | None = None
    keys: Key | None = None
    held: Held | None = None
    biases: Bias | None = None


class CoreModel:
    """Predict :class:`dtqatten.hw.core.AttentionCore` on every clock edge.

    Between two calls of :meth:`clock` the attributes hold what the ports show in that cycle.
    Bit-exact and cycle-exact for every pattern of ``valid`` and ``ready``.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    busy : dict of int
        Cycles so far in which each unit worked, and in which ``search`` had importances or ids of a
        layer on their way.
    """

    UNITS = (*Unit, "search")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cycle = 0
        self._front = CoreFront(config)
        self._array = ArrayModel(config, observed=False)
        self._softmax = SoftmaxModel(config)
        self._values = ValueArrayModel(config, observed=False)
        divides = MergerModel if config.merge_rows else NormalizerModel
        self._normalizer = divides(config)
        self._ranking = TokenRankingModel(config)
        self.busy = dict.fromkeys(self.UNITS, 0)

    @property
    def outputs(self) -> OutputBeat | None:
        """Outputs on offer."""
        return self._normalizer.outputs

    @property
    def ids(self) -> IdBeat | None:
        """Ids on offer."""
        return self._ranking.ids

    @property
    def verdicts(self) -> Verdict | None:
        """The verdict on offer."""
        return self._softmax.verdicts

    @property
    def choices(self) -> Choice | None:
        """The chosen group on offer."""
        return self._values.choices

    @property
    def report(self) -> ImportanceBeat | None:
        """Importances on offer."""
        return self._ranking.report

    def ready(self, inputs: CoreInputs) -> dict[str, bool]:
        """Return whether each input stream is taken, ``inputs`` being offered."""
        return {
            "layers": self._ranking.layers_ready,
            "q": self._array.q_ready,
            "k": self._array.k_ready,
            "v": self._values.values_ready(inputs.v),
            **({"held": self._ranking.held_ready} if self.config.held_importance else {}),
            **({"biases": self._softmax.biases_ready} if self.config.bias_heads else {}),
            **self._front.ready(self._softmax_ready(inputs)),
        }

    def _offered(self, inputs: CoreInputs) -> TokenBeats:
        """Return what the softmax is offered of heads and tokens."""
        return self._front.offered(TokenBeats(inputs.heads, inputs.queries, inputs.keys))

    @property
    def _ranked(self) -> Row | None:
        """The row of probabilities that module B is offered: none of a segment's."""
        row = self._softmax.probabilities
        return None if row is None or row.partial else row

    def _scores_ready(self, inputs: CoreInputs) -> bool:
        return self._softmax.scores_ready(self._offered(inputs).heads)

    def _softmax_ready(self, inputs: CoreInputs) -> dict[str, bool]:
        """Return whether the softmax takes what it is offered of heads and tokens."""
        softmax = self._softmax
        return {
            "heads": softmax.heads_ready(self._array.scores, self._offered(inputs).heads),
            "queries": softmax.queries_ready,
            "keys": softmax.keys_ready,
        }

    def working(self, inputs: CoreInputs) -> dict[str, bool]:
        """Return whether each unit works in this cycle, as counted in ``busy``."""
        ranking, sums = self._ranking, self._values.sums
        return {
            "score_array": self._array.stepping,
            "softmax": self._array.scores is not None and self._scores_ready(inputs),
            "value_array": self._values.stepping,
            "normalizer": self._normalizer.goes(sums),
            "module_b": self._ranked is not None and ranking.probabilities_ready,
            "search": ranking.searching,
        }

    def stalled(self, inputs: CoreInputs, ready: dict[str, bool]) -> dict[Unit, bool]:
        """Return whether each unit waits with a result in this cycle.

        Parameters
        ----------
        inputs : CoreInputs
            What is valid at the inputs.
        ready : dict of bool
            Whether ``outputs``, ``ids`` and ``report`` are taken.
        """
        array, softmax, values = self._array, self._softmax, self._values
        normalizer, ranking = self._normalizer, self._ranking

        def waits(result: object, taken: bool) -> bool:
            return result is not None and not taken

        return {
            Unit.SCORE_ARRAY: waits(array.scores, self._scores_ready(inputs)),
            Unit.SOFTMAX: waits(softmax.weights, values.weights_ready)
            or waits(softmax.records, normalizer.records_ready(softmax.records))
            or waits(self._ranked, ranking.probabilities_ready),
            Unit.VALUE_ARRAY: waits(values.sums, normalizer.sums_ready(values.sums)),
            Unit.NORMALIZER: waits(self.outputs, ready["outputs"]),
            Unit.MODULE_B: waits(self.ids, ready["ids"]) or waits(self.report, ready["report"]),
        }

    def clock(self, inputs: CoreInputs, ready: dict[str, bool]) -> None:
        """Pass a clock edge.

        Parameters
        ----------
        inputs : CoreInputs
            What is valid at the inputs; taken if ready.
        ready : dict of bool
            Whether ``outputs``, ``ids`` and ``report`` are taken.
        """
        for unit, works in self.working(inputs).items():
            if works:
                self.busy[unit] += 1
        array, softmax, values = self._array, self._softmax, self._values
        normalizer, ranking = self._normalizer, self._ranking
        # What each unit shows now decides; then all pass the edge.
        scores, sums = array.scores, values.sums
        weights, records, probabilities = softmax.weights, softmax.records, self._ranked
        takes = {
            "scores": self._scores_ready(inputs),
            "weights": values.weights_ready,
            "records": normalizer.records_ready(records),
            # Those of a segment are none of the row, and left out.
            "probabilities": self._ranked is None or ranking.probabilities_ready,
            "sums": normalizer.sums_ready(sums),
        }
        front, offered, taken = self._front, self._offered(inputs), self._softmax_ready(inputs)
        visits, visits_ready = front.visits, array.visits_ready
        array.clock(inputs.q, inputs.k, takes["scores"], visits=visits)
        front.clock(TokenBeats(inputs.heads, inputs.queries, inputs.keys), taken, visits_ready)
        softmax.clock(
            scores,
            offered.heads,
            offered.queries,
            offered.keys,
            weights_ready=takes["weights"],
            records_ready=takes["records"],
            probabilities_ready=takes["probabilities"],
            verdicts_ready=ready.get("verdicts", False),
            biases=inputs.biases,
        )
        values.clock(weights, inputs.v, takes["sums"], ready.get("choices", False))
        normalizer.clock(sums, records, ready["outputs"])
        ranking.clock(
            inputs.layers,
            probabilities,
            ids_ready=ready["ids"],
            report_ready=ready["report"],
            held=inputs.held,
        )
        self.cycle += 1
