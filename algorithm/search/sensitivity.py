"""What a layer loses that multiplies V of fewer groups of keys: of its output, of predictions."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dtqatten.algorithm.block.fake_quant import fake_quant
from dtqatten.algorithm.block.operands import Operands, Result
from dtqatten.algorithm.evaluate import calibration_of
from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.search.local_space import SHARES
from dtqatten.algorithm.tasks.task import Task
from dtqatten.golden.numerics.local_values import SHARE_ALL, Arrays

__all__ = ["PROBED", "drifts_of_values", "errors_of_values"]

#: Place in ``SHARES`` of the share with which the model runs, once for each layer.
PROBED = 2


def errors_of_values(
    loaded: Loaded,
    task: Task,
    policy: Policy,
    arrays: Arrays,
    tell: Callable[[int, int], object] = lambda done, total: None,
) -> NDArray[np.float64]:
    """Return the error of each layer's output with each share of V that is tried.

    ``|o_share - o|^2 / |o|^2`` over all heads and queries of the first text to train on. Inputs of
    a layer are those of a model that multiplies all V, so that layers are measured apart, and all
    in one pass.

    Parameters
    ----------
    loaded : Loaded
    task : Task
    policy : Policy
        All but the shares of V.
    arrays : Arrays
        Whose row blocks choose.
    tell : callable
        Called with layers done and layers in all.

    Returns
    -------
    array ``[layers, shares]``
        Of :data:`~dtqatten.algorithm.search.local_space.SHARES`; 0 with all V.
    """
    errors = np.zeros((loaded.layers, len(SHARES)))
    text = task.examples(loaded, "fit")[:1]

    def probe(layer: int, op: Operands, result: Result) -> None:
        norm = result.output.square().sum()
        for place, share in enumerate(SHARES[:-1]):
            less = dataclasses.replace(op, value_share=share * SHARE_ALL // SHARES[-1])
            change = fake_quant(less, ranked=False).output - result.output
            errors[layer, place] += float(change.square().sum() / norm)
        tell(layer + 1, loaded.layers)

    _run(loaded, task, text, _with_values(policy, {}), arrays, probe)
    return errors


def drifts_of_values(
    loaded: Loaded,
    task: Task,
    policy: Policy,
    arrays: Arrays,
    errors: NDArray[np.float64],
    tell: Callable[[int, int], object] = lambda done, total: None,
) -> NDArray[np.float64]:
    """Return how far the predictions drift if one layer multiplies each share of V.

    An output matters more in some layers than in others. The model runs once for each layer, on the
    same text, with a share of V in that layer alone: the divergence of its predictions from those
    with all V, ``KL(whole || some)`` in nats a token. For small changes it goes with the square of
    an output's, so that other shares are taken from the errors. Tokens have 8 bits: the roundings
    of 4 fall anew in all later layers whatever changes, which would drown it.

    Parameters
    ----------
    loaded, task, policy, arrays : Loaded, Task, Policy, Arrays
        As of :func:`errors_of_values`.
    errors : array ``[layers, shares]``
        Of :func:`errors_of_values`.
    tell : callable
        Called with layers done and layers in all.

    Returns
    -------
    array ``[layers, shares]``
        0 with all V.
    """
    text = task.examples(loaded, "fit")[:1]
    wide = policy.replace(
        layers=tuple(
            LayerPolicy(share_0=layer.share_0, share_4=0.0, share_8=1 - layer.share_0)
            for layer in policy.layers
        )
    )
    wanted = _run(loaded, task, text, wide, arrays)
    drifts = np.zeros(loaded.layers)
    for layer in range(loaded.layers):
        some = _with_values(wide, {layer: SHARES[PROBED] / SHARES[-1]})
        found = _run(loaded, task, text, some, arrays)
        drifts[layer] = float((wanted.exp() * (wanted - found)).sum(-1).mean())
        tell(layer + 1, loaded.layers)
    # Where no output changes, no prediction does.
    weights = drifts / np.maximum(errors[:, PROBED], np.finfo(float).tiny)
    return errors * np.maximum(weights, 0.0)[:, None]


def _with_values(policy: Policy, values: Mapping[int, float]) -> Policy:
    """Return a policy of all V but in some layers."""
    return policy.replace(
        layers=tuple(
            dataclasses.replace(layer, values=values.get(number, 1.0))
            for number, layer in enumerate(policy.layers)
        )
    )


def _run(
    loaded: Loaded,
    task: Task,
    text: Sequence[Any],
    policy: Policy,
    arrays: Arrays,
    probe: Callable[[int, Operands, Result], object] | None = None,
) -> torch.Tensor:
    """Run a text under a policy; return its predictions, logarithms of probabilities."""
    with (
        torch.no_grad(),
        attached(
            loaded.model,
            policy,
            special_ids=loaded.special_ids,
            calibration=calibration_of(loaded, task, policy),
            arrays=arrays,
        ) as session,
    ):
        session.probe = probe
        (batch,) = task.inputs(loaded, list(text))
        return loaded.model(**batch).logits.double().log_softmax(-1)
