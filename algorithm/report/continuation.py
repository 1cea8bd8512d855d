"""What a decoder says after a text, in floating point and under several formats of numbers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dtqatten.algorithm.evaluate import calibration_of
from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.report.numbers import numbers_of, own_policy
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.tasks.task import Task

__all__ = ["ENDINGS", "NEW", "PROMPT", "continuations"]

#: Tokens of the text that is given, and of what is said.
PROMPT, NEW = 48, 64
#: Endings of the names of the policies under which the model goes on.
ENDINGS = ("", "-signed")


def continuations(
    loaded: Loaded, task: Task, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Go on greedily with the first tokens of a task's test part, from the session's cache.

    Parameters
    ----------
    loaded : Loaded
        A decoder.
    task : Task
        Gives the text, and calibrates.
    progress : callable, optional
        Called with texts done and texts in all.

    Returns
    -------
    dict
        ``model``, ``task``, ``prompt`` and ``texts``: for each ``name``, ``numbers``, ``text`` and
        ``same``, the tokens at its beginning that are those of the plain model.

    Raises
    ------
    UsageError
        If the project has no such policies.
    """
    names = [f"{loaded.name}-{task.name}{ending}" for ending in ENDINGS]
    policies = [own_policy(loaded.name, task.name, ending) for ending in ENDINGS]
    prompt = task.examples(loaded, "test")[0][None, :PROMPT]

    def said(**options: Any) -> Tensor:
        made: Tensor = loaded.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            repetition_penalty=1.0,
            min_new_tokens=NEW,
            max_new_tokens=NEW,
            pad_token_id=0,
            **options,
        )
        return made[0, prompt.shape[1] :]

    def text_of(ids: Tensor) -> str:
        return str(loaded.tokenizer.decode(ids))

    total = len(names) + 1
    with torch.no_grad():
        plain = said()
        texts = [{"name": "float", "numbers": "float32", "text": text_of(plain), "same": NEW}]
        for name, policy in zip(names, policies, strict=True):
            if progress is not None:
                progress(len(texts), total)
            with attached(
                loaded.model,
                policy,
                special_ids=loaded.special_ids,
                calibration=calibration_of(loaded, task, policy),
            ) as session:
                ids = said(past_key_values=session.cache())
            same = int((ids == plain).long().cumprod(0).sum())
            texts.append(
                {"name": name, "numbers": numbers_of(policy), "text": text_of(ids), "same": same}
            )
    if progress is not None:
        progress(total, total)
    return {
        "model": loaded.name,
        "task": task.name,
        "prompt": text_of(prompt[0]),
        "texts": texts,
    }
