"""What the commands that run models share."""

import dataclasses
import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dtqatten.algorithm.packaged import find_policy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.commands.console import progress
from dtqatten.commands.options import reject_unused
from dtqatten.files.errors import UsageError
from dtqatten.golden.numerics.local_values import Arrays

if TYPE_CHECKING:
    from dtqatten.algorithm.models import Loaded
    from dtqatten.algorithm.tasks.task import Score, Task

__all__ = [
    "BY_ARRAYS",
    "BosOption",
    "DataOption",
    "LimitOption",
    "ModelOption",
    "Stage",
    "StageOption",
    "TaskOption",
    "opened",
    "plain_score",
    "progress_bar",
    "staged",
    "template_of",
]

#: Whose results depend on a machine's arrays, as ``Policy.by_arrays`` says.
BY_ARRAYS = "a policy with local V pruning, progressive layers or block exponents"


class Stage(enum.StrEnum):
    """How a text's queries reach a machine."""

    #: All at once.
    PREFILL = "prefill"
    #: One after the other, each in a step of its own.
    DECODE = "decode"


StageOption = Annotated[
    Stage,
    typer.Option(
        help="Of a decoder: prefill, all queries of a text at once, or decode, each in a step of "
        "its own, which chooses V, tries keys in 4 bits and reads for itself."
    ),
]
ModelOption = Annotated[
    str,
    typer.Option(
        help="Hub id, folder, GGUF file, or minilm, smollm2 or gemma3 (weights from packages)."
    ),
]
BosOption = Annotated[
    bool | None,
    typer.Option(
        "--bos/--no-bos",
        help="Of a decoder: each window of text begins with a beginning-of-text token, or not. By "
        "default as the model's tokenizer has it.",
        show_default=False,
    ),
]
TaskOption = Annotated[str, typer.Option(help="stsb, sst2, bbc, bbc512, ppl-bbc or ppl-wikitext2.")]
DataOption = Annotated[
    Path | None,
    typer.Option(
        envvar="DTQATTEN_DATA",
        help="Folder with stsb/, sst2/, wikitext2/, or hub id of GLUE, such as nyu-mll/glue.",
        file_okay=False,
    ),
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Examples (windows of text) at most.")]


def opened(
    model: str, task: str, data: Path | None, limit: int | None, bos: bool | None = None
) -> "tuple[Task, Loaded]":
    """Open the task, then load the model it needs, on one thread.

    Raises
    ------
    UsageError
        If an encoder's texts are to begin with a token of a decoder's, or not to.
    """
    import torch
    import transformers

    from dtqatten.algorithm.models import load
    from dtqatten.algorithm.tasks.catalogue import open_task

    chosen = open_task(task, data, limit)
    if not chosen.causal:
        reject_unused(
            {"--bos": bos, "--no-bos": bos is False},
            f"for decoders only, and {task} is an encoder's",
        )
    # Two threads on a busy machine are slower than one by far.
    torch.set_num_threads(1)
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    return chosen, load(model, causal=chosen.causal, bos=bos)


def staged(arrays: Arrays, stage: Stage, loaded: "Loaded") -> Arrays:
    """Return the arrays as a stage uses them: in decode, query heads fill row blocks together.

    Raises
    ------
    UsageError
        If an encoder is to decode.
    """
    if stage is Stage.DECODE and not loaded.causal:
        raise UsageError(f"--stage decode is for decoders, and {loaded.name} is an encoder")
    if stage is Stage.PREFILL:
        return arrays
    return dataclasses.replace(arrays, stepwise=True, grouped=True)


def plain_score(task: "Task", loaded: "Loaded", part: str) -> "Score":
    """Score of the plain model, with a progress bar."""
    with progress_bar(f"{loaded.name} on {task.name}, plain") as show:
        return task.evaluate(loaded, part=part, progress=show)


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar; what is yielded takes how much is done and how much there is."""
    with progress() as bar:
        line = bar.add_task(what)

        def show(done: int, total: int) -> None:
            bar.update(line, completed=done, total=total)

        yield show


def template_of(given: str | None, loaded: "Loaded") -> Policy:
    """Policy that gives a search all fields but the ratios."""
    from dtqatten.algorithm.report.methods import template

    if given is None:
        return template(loaded.layers, loaded.causal)
    policy = find_policy(given)
    if len(policy.layers) != loaded.layers:
        raise PolicyError(
            f"{given} has {len(policy.layers)} layers, {loaded.name} has {loaded.layers}: "
            "use a policy made for this model"
        )
    return policy
