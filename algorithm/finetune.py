"""Light fine-tuning of a model under a policy, gradients straight through every rounding."""

import copy
import dataclasses
from collections.abc import Callable

import torch

from dtqatten.algorithm.evaluate import calibration_of
from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.algorithm.tasks.task import Task
from dtqatten.files.errors import UsageError

__all__ = ["finetuned"]


def finetuned(
    loaded: Loaded,
    task: Task,
    policy: Policy,
    steps: int,
    *,
    mode: Mode | str = Mode.FAKE_QUANT,
    rate: float = 3e-5,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Loaded:
    """Return a copy of a model that was trained for some steps with a policy attached.

    AdamW on batches of the task's training data, the rate falling linearly to 0; no dropout.
    Rotations stay out of the weights meanwhile, so that AdamW scales the model's own channels.

    Parameters
    ----------
    loaded : Loaded
        The model; stays as it is.
    task : Task
        A task with training data.
    policy : Policy
        The policy.
    steps : int
        Steps, at least 1.
    mode : Mode
        ``fake-quant``, or ``float`` for a control in which nothing is quantized.
    rate : float
        First learning rate.
    seed : int
        Of the order of the examples.
    progress : callable, optional
        Called with steps done and steps in all.

    Raises
    ------
    UsageError
        If ``steps`` is less than 1.
    """
    if steps < 1:
        raise UsageError(f"steps is {steps}: train for at least 1")
    calibration = calibration_of(loaded, task, policy)
    copied = dataclasses.replace(loaded, model=copy.deepcopy(loaded.model))
    optimizer = torch.optim.AdamW(copied.model.parameters(), lr=rate)
    with attached(
        copied.model,
        policy,
        mode,
        special_ids=loaded.special_ids,
        calibration=calibration,
        fold=False,
    ) as session:
        losses = task.losses(copied, session, seed)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 - step / steps)
            optimizer.zero_grad()
            next(losses).backward()
            optimizer.step()
            if progress is not None:
                progress(step + 1, steps)
    return copied
