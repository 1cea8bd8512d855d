"""Pictures of a policy: its tokens, its place among others, what noise does to it."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from dtqatten.algorithm.evaluate import Evaluation, calibration_of
from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.study import noise_study
from dtqatten.algorithm.tasks.catalogue import open_task
from dtqatten.algorithm.tasks.task import Task
from dtqatten.files.pictures import save
from dtqatten.files.whole import write_text

__all__ = ["NOISE", "draw"]

#: Examples of the noise study, which evaluates 15 times.
NOISE = 300


def draw(
    loaded: Loaded,
    task: Task,
    policy: Policy,
    found: Evaluation,
    folder: Path,
    text: str,
    *,
    noise: bool = False,
    series: dict[str, Sequence[tuple[float, float]]] | None = None,
) -> list[Path]:
    """Draw a policy: tokens of a sentence by layer, metric against BOPs, the noise study.

    Parameters
    ----------
    loaded, task, policy : Loaded, Task, Policy
        What was evaluated.
    found : Evaluation
        The result.
    folder : Path
        Where to.
    text : str
        Sentence whose tokens are drawn.
    noise : bool
        Run and draw the noise study too; takes 15 evaluations.
    series : dict, optional
        Further ``(BOPs, metric)`` points of the Pareto plot by name.

    Returns
    -------
    list of Path
        Pictures written.
    """
    from dtqatten.algorithm.pictures import (
        noise_figure,
        pareto_figure,
        tokens_figure,
    )

    stem = f"{loaded.name.rstrip('/').split('/')[-1]}-{task.name}"
    batch = loaded.tokenizer(text, return_tensors="pt")
    given = {k: batch[k] for k in ("input_ids", "attention_mask")}
    with (
        torch.no_grad(),
        attached(
            loaded.model,
            policy,
            special_ids=loaded.special_ids,
            calibration=calibration_of(loaded, task, policy),
            record=True,
        ) as session,
    ):
        loaded.model(**given)
    tokens = loaded.tokenizer.convert_ids_to_tokens(given["input_ids"][0].tolist())
    title = "precision by colour, importance by height"
    written = [folder / f"{stem}-tokens.svg", folder / f"{stem}-pareto.svg"]
    save(tokens_figure([t.replace("$", r"\$") for t in tokens], session.records, title), written[0])
    points = {"this policy": [(found.bops_ratio, found.metric)], **(series or {})}
    save(pareto_figure(points, found.metric_name, found.float_metric), written[1])
    if noise:
        path = folder / f"{stem}-noise.svg"
        few = open_task(task.name, task.data, min(task.limit or NOISE, NOISE))
        study = noise_study(loaded, few)
        save(noise_figure(study, found.metric_name, found.float_metric), path)
        values = [
            {"which": p.which, "kind": p.kind, "strength": p.strength, "metric": p.metric}
            for p in study
        ]
        write_text(path.with_suffix(".json"), json.dumps(values, indent=1) + "\n")
        written += [path, path.with_suffix(".json")]
    return written
