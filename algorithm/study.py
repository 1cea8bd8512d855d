"""What importance is worth: noise on, or pruning of, tokens of different importance."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.algorithm.tasks.task import Task

__all__ = ["CLASSES", "Noise", "noise_study"]

#: Shares of the tokens in each class, most important first.
CLASSES = {"most": (0.0, 0.15), "middle": (0.15, 0.85), "least": (0.85, 1.0)}


@dataclass(frozen=True)
class Noise:
    """One point of the study.

    Parameters
    ----------
    which : str
        ``most``, ``middle`` or ``least`` important tokens.
    kind : str
        ``noise`` or ``prune``.
    strength : float
        Standard deviation of the noise relative to the rms of the operand; 0 for pruning.
    metric : float
        Metric of the task.
    """

    which: str
    kind: str
    strength: float
    metric: float


class _Disturb:
    """Disturbs Q, K and V of one class of tokens in every layer from the second on."""

    def __init__(self, which: str, kind: str, strength: float, seed: int) -> None:
        self.bounds = CLASSES[which]
        self.kind = kind
        self.strength = strength
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, order: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Disturb a layer, as ``perturb`` of a session.

        Parameters
        ----------
        layer : int
            That attends.
        q, k, v : tensor ``[batch, heads, n, d]``
            Operands; K and V may have fewer heads.
        order : tensor ``[batch, n]``
            Ranking value of each token, the larger the more important.
        valid : bool tensor ``[batch, n]``
            Tokens that are no padding.

        Returns
        -------
        q, k, v : tensor ``[batch, heads, n, d]``
        left_out : bool tensor ``[batch, n]``, optional
            Tokens to prune in this layer; None is none.
        """
        if layer == 0:
            return q, k, v, None
        value = order.masked_fill(~valid, -1.0)
        rank = value.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        n = valid.sum(1, keepdim=True)
        low, high = ((n * bound).round() for bound in self.bounds)
        chosen = (rank >= low) & (rank < high) & valid
        if self.kind == "prune":
            # A sequence keeps at least one token.
            whole = (chosen | ~valid).all(1, keepdim=True)
            return q, k, v, chosen & ~whole
        here = chosen[:, None, :, None]
        q, k, v = (
            x
            + here
            * torch.randn(x.shape, generator=self.generator)
            * (self.strength * x.square().mean().sqrt())
            for x in (q, k, v)
        )
        return q, k, v, None


def noise_study(
    loaded: Loaded,
    task: Task,
    strengths: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0),
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Noise]:
    """Disturb 15, 70 and 15 % of the tokens, most to least important, in floating point.

    Parameters
    ----------
    loaded : Loaded
    task : Task
    strengths : tuple of float
        Noise relative to the rms of Q, K and V.
    seed : int
        Of the noise.
    progress : callable, optional
        Called with points done and points in all.
    """
    kinds = [("noise", s) for s in strengths] + [("prune", 0.0)]
    points = [(which, *kind) for which in CLASSES for kind in kinds]
    found = []
    for done, (which, kind, strength) in enumerate(points):
        with attached(
            loaded.model, Policy.flat(loaded.layers, pruned="ffn"), Mode.FLOAT
        ) as session:
            session.perturb = _Disturb(which, kind, strength, seed)
            score = task.evaluate(loaded, session)
        found.append(Noise(which, kind, strength, score.metric))
        if progress is not None:
            progress(done + 1, len(points))
    return found
