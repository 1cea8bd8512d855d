"""``dtqatten accuracy``: measure all methods on models and tasks, write docs/accuracy.md."""

import functools
import json
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtqatten.algorithm.policy import Policy
from dtqatten.commands.algorithm import (
    DataOption,
    LimitOption,
    opened,
    plain_score,
    progress_bar,
)
from dtqatten.commands.console import print_json, say, show
from dtqatten.commands.evaluate import TEXT
from dtqatten.commands.options import JsonOption, needs
from dtqatten.commands.paths import output_file
from dtqatten.files.errors import UsageError
from dtqatten.files.whole import write_text

if TYPE_CHECKING:
    from dtqatten.algorithm.models import Loaded
    from dtqatten.algorithm.report.results import Results
    from dtqatten.algorithm.tasks.task import Score, Task

__all__ = ["PAIRS", "accuracy"]

#: Model and task of each table.
PAIRS = (
    "minilm:stsb",
    "minilm:sst2",
    "minilm:bbc",
    "minilm:bbc512",
    "smollm2:ppl-bbc",
    "smollm2:ppl-wikitext2",
)


def accuracy(
    pairs: Annotated[
        list[str] | None, typer.Argument(help=f"MODEL:TASK; by default {' '.join(PAIRS)}.")
    ] = None,
    results: Annotated[
        Path, output_file("JSON of all rows; those in it are not measured again.", "--results")
    ] = Path("build/accuracy.json"),
    output: Annotated[Path, output_file("Document to write.")] = Path("docs/accuracy.md"),
    steps: Annotated[
        int | None,
        typer.Option(min=0, help="Steps of fine-tuning, 0: none; by default the task's own."),
    ] = None,
    data: DataOption = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure float, int8, 4 bit, flat, searched, random and SpAtten's policies."""
    with needs("algorithm"):
        from dtqatten.algorithm.report.drawing import NOISE
        from dtqatten.algorithm.report.results import Results

        kept = Results(results)
        folder = output.parent / "accuracy"
        told: list[dict[str, Any]] = []
        for pair in pairs or PAIRS:
            model, separator, task = pair.rpartition(":")
            if not separator:
                raise UsageError(f"{pair!r} is no MODEL:TASK, such as {PAIRS[0]}")
            chosen, loaded = opened(model, task, data, limit)
            tuned = chosen.steps if steps is None else steps
            rows, searched = measure(kept, chosen, loaded, pair, tuned)
            if searched is not None:
                # The page says of how many pairs the noise study is.
                noise = task == "stsb" and (limit or NOISE) >= NOISE
                noise = noise and not (folder / f"{model}-{task}-noise.json").is_file()
                draw_searched(chosen, loaded, searched, rows, folder, noise=noise)
            kept.keep(model, task, list(rows), next(iter(rows.values()))["data"])
            write_text(output, page_of(kept, folder))
            told += rows.values()
        if as_json:
            print_json(told)
        say(f"{output} and {results}")


def measure(
    kept: "Results", task: "Task", loaded: "Loaded", pair: str, steps: int
) -> tuple[dict[str, dict[str, Any]], Policy | None]:
    """Measure all methods that are not measured yet.

    Parameters
    ----------
    kept : Results
        What is measured already.
    task, loaded : Task, Loaded
    pair : str
        Name of both, to be shown.
    steps : int
        Of fine-tuning.

    Returns
    -------
    rows : dict
        By method.
    searched : Policy, optional
        That of the method *searched*.
    """
    from dtqatten.algorithm.report.methods import methods

    @functools.cache
    def reference() -> "Score":
        return plain_score(task, loaded, "dev")

    rows = {}
    searched: Policy | None = None
    for method in methods(loaded, task, steps):
        with progress_bar(f"{pair}: {method.name}") as tell:
            row = kept.measure(loaded, task, method, reference, tell)
        rows[method.name] = row
        show(f"{pair}: {method.name}: {row['metric']:.4f}, BOPs {row['bops_ratio']:.3f}")
        if method.name == "searched":
            searched = method.policy
    return rows, searched


def draw_searched(
    task: "Task",
    loaded: "Loaded",
    policy: Policy,
    rows: dict[str, dict[str, Any]],
    folder: Path,
    *,
    noise: bool,
) -> None:
    """Draw the searched policy beside the other methods, and what noise does if that is wanted."""
    from dtqatten.algorithm.evaluate import Evaluation
    from dtqatten.algorithm.report.drawing import draw

    fields = Evaluation.__dataclass_fields__
    result = Evaluation(**{k: v for k, v in rows["searched"].items() if k in fields})
    series: dict[str, Sequence[tuple[float, float]]]
    series = {k: [(v["bops_ratio"], v["metric"])] for k, v in rows.items()}
    draw(loaded, task, policy, result, folder, TEXT, noise=noise, series=series)


def page_of(kept: "Results", folder: Path) -> str:
    """Return the document, with the pictures and noise studies of a folder beside it."""
    import torch

    from dtqatten.algorithm.report.page import render

    pictures = sorted(f"{folder.name}/{p.name}" for p in folder.glob("*.svg"))
    noise = [
        point
        for path in sorted(folder.glob("*-noise.json"))
        for point in json.loads(path.read_text(encoding="utf-8"))
    ]
    packages = ("torch", "transformers", "optuna", "numpy")
    versions = {"Python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in packages}
    versions["instructions"] = torch.backends.cpu.get_cpu_capability()
    return render(kept, versions, pictures, noise)
