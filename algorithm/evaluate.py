"""Score a policy on a task."""

import dataclasses
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dtqatten.algorithm.block.operands import BASE_ARRAYS
from dtqatten.algorithm.conditioning import Calibration
from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached, calibrate
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.algorithm.tasks.task import Score, Task
from dtqatten.golden.numerics.local_values import Arrays

__all__ = ["Evaluation", "calibration_of", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """What a policy gives on a task.

    Parameters
    ----------
    model, task, metric_name : str
    metric, float_metric : float
        Of the model under the policy and of the plain one.
    loss : float
        Cross-entropy.
    drift : float, optional
        Divergence from the plain model's predictions, :meth:`Score.drift`.
    share_0, share_4, share_8 : float
        Shares of tokens, mean over layers.
    bops_ratio, bytes_ratio : float
        Relative to attention with all tokens and P in 8 bits.
    overhead_ratio : float
        Bit operations beside the products, relative to the same.
    again : float
        Share of rows of progressive layers that were computed twice.
    flat : float
        Share of the low planes of K that progressive decode steps read.
    seconds, float_seconds : float
        Processor time in the model, for the same sequences.
    sequences : int
    """

    model: str
    task: str
    metric_name: str
    metric: float
    float_metric: float
    loss: float
    share_0: float
    share_4: float
    share_8: float
    bops_ratio: float
    bytes_ratio: float
    again: float
    seconds: float
    float_seconds: float
    sequences: int
    drift: float | None = None
    flat: float = 0.0
    overhead_ratio: float = 0.0

    def row(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return dataclasses.asdict(self)


# Calibrations of each model by task: they hold as long as its weights.
_calibrations: "weakref.WeakKeyDictionary[Any, dict[str, list[Calibration]]]" = (
    weakref.WeakKeyDictionary()
)


def calibration_of(loaded: Loaded, task: Task, policy: Policy) -> list[Calibration] | None:
    """Calibrate a model on a task's training data if the policy needs it; once for each pair."""
    if not policy.calibrated:
        return None
    known = _calibrations.setdefault(loaded.model, {})
    if task.name not in known:
        known[task.name] = calibrate(loaded.model, task.calibration(loaded))
    return known[task.name]


def evaluate(
    loaded: Loaded,
    task: Task,
    policy: Policy,
    mode: Mode | str = Mode.FAKE_QUANT,
    *,
    part: str = "dev",
    reference: Score | None = None,
    progress: Callable[[int, int], None] | None = None,
    arrays: Arrays = BASE_ARRAYS,
) -> Evaluation:
    """Score a policy, and the plain model unless its score is given.

    Parameters
    ----------
    loaded : Loaded
        The model.
    task : Task
        The task.
    policy : Policy
        The policy.
    mode : Mode
        How attention is computed.
    part : str
        One of :data:`dtqatten.algorithm.tasks.task.PARTS`.
    reference : Score, optional
        Of the plain model on the same part.
    progress : callable, optional
        Called with batches done and batches in all.
    arrays : Arrays
        Row blocks and groups of tokens of layers that multiply V of some.

    Raises
    ------
    PolicyError
        If the policy does not fit the model.
    """
    if reference is None:
        reference = task.evaluate(loaded, part=part, progress=progress)
    calibration = calibration_of(loaded, task, policy)
    with attached(
        loaded.model,
        policy,
        mode,
        special_ids=loaded.special_ids,
        calibration=calibration,
        arrays=arrays,
    ) as session:
        score = task.evaluate(loaded, session, part=part, progress=progress)
    tally = session.tally
    zero, four, eight = tally.shares
    return Evaluation(
        model=loaded.name,
        task=task.name,
        metric_name=task.metric,
        metric=score.metric,
        float_metric=reference.metric,
        loss=score.loss,
        share_0=zero,
        share_4=four,
        share_8=eight,
        bops_ratio=tally.bops_ratio,
        bytes_ratio=tally.bytes_ratio,
        again=tally.rows_again / tally.rows if tally.rows else 0.0,
        seconds=score.seconds,
        float_seconds=reference.seconds,
        sequences=score.sequences,
        drift=score.drift(reference),
        flat=tally.flat,
        overhead_ratio=tally.overhead_ratio,
    )
