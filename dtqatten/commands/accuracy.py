"""``dtqatten accuracy``: measure all methods on models and tasks, write docs/accuracy.md."""

import enum
import functools
import json
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
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
from dtqatten.commands.options import JsonOption, needs, reject_unused
from dtqatten.commands.paths import output_file
from dtqatten.files.errors import UsageError
from dtqatten.files.whole import write_text

if TYPE_CHECKING:
    from dtqatten.algorithm.models import Loaded
    from dtqatten.algorithm.report.methods import Method
    from dtqatten.algorithm.report.results import Results
    from dtqatten.algorithm.tasks.task import Score, Task

__all__ = ["PAIRS", "Study", "accuracy"]

#: Model and task of each table.
PAIRS = (
    "minilm:stsb",
    "minilm:sst2",
    "minilm:bbc",
    "minilm:bbc512",
    "smollm2:ppl-bbc",
    "smollm2:ppl-wikitext2",
)


class Study(enum.StrEnum):
    """What is compared."""

    #: Float, int8, 4 bit, flat, searched, random and SpAtten's policies.
    METHODS = "methods"
    #: A searched policy with each change of the format of numbers alone and together.
    NUMBERS = "numbers"
    #: Tokens of 8 bits chosen by importance, by chance and by place, on decoders.
    IMPORTANCE = "importance"
    #: What a decoder says after a text, in float, the plain and the latest format of numbers.
    CONTINUATION = "continuation"


@dataclass(frozen=True)
class Wanted:
    """What is measured.

    Parameters
    ----------
    study : Study
    parts : sequence of str
        Of a task.
    methods : sequence of str
        Patterns of names; all if empty.
    renew : bool
        Measure also what is measured already.
    steps : int, optional
        Of fine-tuning; the task's own if None.
    """

    study: Study
    parts: Sequence[str]
    methods: Sequence[str]
    renew: bool
    steps: int | None

    def of(self, methods: "Iterable[Method]", pair: str) -> "list[Method]":
        """Return the methods that are wanted.

        Raises
        ------
        UsageError
            If there is none.
        """
        given = list(methods)
        if not self.methods:
            return given
        found = [m for m in given if any(fnmatchcase(m.name, p) for p in self.methods)]
        if not found:
            names = ", ".join(method.name for method in given)
            raise UsageError(
                f"no method of {pair} is {' or '.join(self.methods)}: there are {names}"
            )
        return found


def accuracy(
    pairs: Annotated[
        list[str] | None, typer.Argument(help=f"MODEL:TASK; by default {' '.join(PAIRS)}.")
    ] = None,
    study: Annotated[
        Study, typer.Option(help="What is compared; all but methods on decoders only.")
    ] = Study.METHODS,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Part of a task, dev or test; may be repeated. Both if not given."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Name of a method, * for any letters; may be repeated. Others stay."),
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Measure again what is in the rows already.")
    ] = False,
    results: Annotated[
        Path,
        output_file("JSON of all rows, by default those of the page at first.", "--results"),
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
    """Measure float, int8, 4 bit, flat, searched, random and SpAtten's policies.

    Policies are searched on one part of a task, chosen on dev and reported on test. What is in the
    rows is not measured again, unless --renew says so; --method and --part renew a few rows, and
    the others stay, each with the commit by which it was measured. The rows of a page lie beside
    it, in accuracy/rows.json.
    """
    with needs("algorithm"):
        from dtqatten.algorithm.report.results import Results
        from dtqatten.algorithm.tasks.task import PARTS

        for each in part or ():
            if each not in PARTS[1:]:
                raise UsageError(f"{each!r} is no part to report: choose dev or test")
        reject_ignored(study, part=part, method=method, renew=renew, steps=steps)
        wanted = Wanted(study, part or PARTS[1:], method or (), renew, steps)
        folder = output.parent / "accuracy"
        kept = Results(results, folder / "rows.json")
        told: list[dict[str, Any]] = []
        for pair in pairs or _usual(study):
            model, separator, task = pair.rpartition(":")
            if not separator:
                raise UsageError(f"{pair!r} is no MODEL:TASK, such as {PAIRS[0]}")
            chosen, loaded = opened(model, task, data, limit)
            if study is not Study.METHODS and not chosen.causal:
                raise UsageError(f"{task} is no task of a decoder, which --study {study} needs")
            if study is Study.CONTINUATION:
                told += continued(chosen, loaded, folder)
            else:
                rows, searched = measure(kept, chosen, loaded, pair, wanted)
                if searched is not None:
                    # The page says of how many pairs the noise study is.
                    noise = task == "stsb" and limit is None
                    noise = noise and not (folder / f"{model}-{task}-noise.json").is_file()
                    draw_searched(chosen, loaded, searched, rows, folder, noise=noise)
                told += rows
            kept.save()
            write_text(folder / "rows.json", kept.to_json())
            write_text(output, page_of(kept, folder))
        if as_json:
            print_json(told)
        say(f"{output} and {results}")


def reject_ignored(study: Study, **given: object) -> None:
    """Refuse options that a study has no use for.

    Raises
    ------
    UsageError
        If one of them is given.
    """
    used = {Study.METHODS: set(given), Study.CONTINUATION: set()}.get(study, {*given} - {"steps"})
    options = {f"--{name}": value for name, value in given.items() if name not in used}
    reject_unused(options, f"is not for --study {study}")


def _usual(study: Study) -> tuple[str, ...]:
    """Return the models and tasks of a study."""
    return PAIRS if study is Study.METHODS else PAIRS[-2:]


def measure(
    kept: "Results", task: "Task", loaded: "Loaded", pair: str, wanted: Wanted
) -> tuple[list[dict[str, Any]], Policy | None]:
    """Measure the methods that are not measured yet.

    Parameters
    ----------
    kept : Results
        What is measured already.
    task, loaded : Task, Loaded
    pair : str
        Name of both, to be shown.
    wanted : Wanted

    Returns
    -------
    rows : list of dict
    searched : Policy, optional
        That of the method *searched*, if all methods were measured.
    """
    from dtqatten.algorithm.report.importance import rankings
    from dtqatten.algorithm.report.methods import methods
    from dtqatten.algorithm.report.numbers import formats

    @functools.cache
    def reference(part: str) -> "Score":
        # Where there are classes a drift needs the predictions, which no row holds.
        kept_one = task.causal and not wanted.renew
        known = kept.plain(loaded, task.data_of(loaded, part)) if kept_one else None
        return known or plain_score(task, loaded, part)

    steps = task.steps if wanted.steps is None else wanted.steps
    studies: dict[Study, Callable[[], Iterable[Method]]] = {
        Study.METHODS: lambda: methods(loaded, task, steps),
        Study.NUMBERS: lambda: formats(loaded.name, task.name),
        Study.IMPORTANCE: lambda: rankings(loaded, task),
    }
    chosen = wanted.of(studies[wanted.study](), pair)
    rows = []
    searched: Policy | None = None
    for method in chosen:
        with progress_bar(f"{pair}: {method.name}") as tell:
            found = kept.measure(
                loaded,
                task,
                method,
                reference,
                tell,
                parts=wanted.parts,
                study=wanted.study,
                renew=wanted.renew,
            )
        for row in found:
            costs = f"{row['metric']:.4f}, BOPs {row['bops_ratio']:.3f}"
            show(f"{pair}, {row['part']}: {method.name}: {costs}")
        rows += found
        if method.name == "searched" and not wanted.methods:
            searched = method.policy
    if not wanted.methods:
        for data in dict.fromkeys(row["data"] for row in rows):
            kept.keep(loaded.name, task.name, [m.name for m in chosen], data, wanted.study)
    return rows, searched


def continued(task: "Task", loaded: "Loaded", folder: Path) -> list[dict[str, Any]]:
    """Let a decoder go on with a text under several formats of numbers, and write what it says."""
    from dtqatten.algorithm.report.continuation import NEW, continuations

    with progress_bar(f"{loaded.name}: {NEW} tokens") as tell:
        found = continuations(loaded, task, tell)
    path = folder / f"{loaded.name}-{task.name}-continuation.json"
    write_text(path, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    say(path)
    return [found]


def draw_searched(
    task: "Task",
    loaded: "Loaded",
    policy: Policy,
    rows: list[dict[str, Any]],
    folder: Path,
    *,
    noise: bool,
) -> None:
    """Draw the searched policy beside the other methods of the last part that was measured.

    Parameters
    ----------
    task, loaded, policy : Task, Loaded, Policy
    rows : list of dict
    folder : Path
        Where to.
    noise : bool
        Also measure and draw what noise does.
    """
    from dtqatten.algorithm.evaluate import Evaluation
    from dtqatten.algorithm.report.drawing import draw

    fields = Evaluation.__dataclass_fields__
    last = {row["method"]: row for row in rows if row["part"] == rows[-1]["part"]}
    result = Evaluation(**{k: v for k, v in last["searched"].items() if k in fields})
    series: dict[str, Sequence[tuple[float, float]]]
    series = {k: [(v["bops_ratio"], v["metric"])] for k, v in last.items()}
    draw(loaded, task, policy, result, folder, TEXT, noise=noise, series=series)


def page_of(kept: "Results", folder: Path) -> str:
    """Return the document, with the pictures, noise studies and texts of a folder beside it."""
    import torch

    from dtqatten.algorithm.report.page import render

    pictures = sorted(f"{folder.name}/{p.name}" for p in folder.glob("*.svg"))
    noise = [point for points in _read(folder, "noise") for point in points]
    packages = ("torch", "transformers", "optuna", "numpy")
    versions = {"Python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in packages}
    versions["instructions"] = torch.backends.cpu.get_cpu_capability()
    return render(kept, versions, pictures, noise, _read(folder, "continuation"))


def _read(folder: Path, what: str) -> list[Any]:
    """Return what the files of a kind in a folder hold."""
    paths = sorted(folder.glob(f"*-{what}.json"))
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]
