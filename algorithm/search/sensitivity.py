"""How much each layer's output changes if its row blocks multiply V of fewer groups of keys."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from dtqatten.algorithm.block.fake_quant import fake_quant
from dtqatten.algorithm.block.operands import Operands, Result
from dtqatten.algorithm.evaluate import calibration_of
from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.search.local_space import SHARES
from dtqatten.algorithm.tasks.task import Task
from dtqatten.golden.numerics.local_values import SHARE_ALL, Arrays

__all__ = ["errors_of_values"]


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

    def probe(layer: int, op: Operands, result: Result) -> None:
        norm = result.output.square().sum()
        for place, share in enumerate(SHARES[:-1]):
            less = dataclasses.replace(op, value_share=share * SHARE_ALL // SHARES[-1])
            change = fake_quant(less, ranked=False).output - result.output
            errors[layer, place] += float(change.square().sum() / norm)
        tell(layer + 1, loaded.layers)

    whole = tuple(dataclasses.replace(layer, values=1.0) for layer in policy.layers)
    text = task.examples(loaded, "fit")[:1]
    with (
        torch.no_grad(),
        attached(
            loaded.model,
            policy.replace(layers=whole),
            special_ids=loaded.special_ids,
            calibration=calibration_of(loaded, task, policy),
            arrays=arrays,
        ) as session,
    ):
        session.probe = probe
        for batch in task.inputs(loaded, text):
            loaded.model(**batch)
    return errors
