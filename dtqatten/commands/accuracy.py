"""``dtqatten accuracy``: measure all methods on models and tasks, write docs/accuracy.md."""

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.algorithm.policy import Policy
from dtqatten.commands.algorithm import (
    DataOption,
    LimitOption,
    opened,
    plain_score,
    progress_bar,
)
from dtqatten.commands.evaluate import TEXT
from dtqatten.commands.options import needs
from dtqatten.commands.verilog import write_atomically

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
        Path, typer.Option(help="JSON of all rows; those in it are not measured again.")
    ] = Path("build/accuracy.json"),
    output: Annotated[Path, typer.Option("--output", "-o", help="Document to write.")] = Path(
        "docs/accuracy.md"
    ),
    steps: Annotated[
        int | None,
        typer.Option(min=0, help="Steps of fine-tuning, 0: none; by default the task's own."),
    ] = None,
    data: DataOption = None,
    limit: LimitOption = None,
) -> None:
    """Measure float, int8, 4 bit, flat, searched, random and SpAtten's policies."""
    with needs("algorithm"):
        import torch

        from dtqatten.algorithm.evaluate import Evaluation
        from dtqatten.algorithm.report.drawing import NOISE, draw
        from dtqatten.algorithm.report.methods import methods
        from dtqatten.algorithm.report.page import render
        from dtqatten.algorithm.report.results import Results
        from dtqatten.algorithm.tasks.task import Score

        kept = Results(results)
        folder = output.parent / "accuracy"
        for pair in pairs or PAIRS:
            model, separator, task = pair.rpartition(":")
            if not separator:
                raise ValueError(f"{pair!r} is no MODEL:TASK, such as {PAIRS[0]}")
            chosen, loaded = opened(model, task, data, limit)
            found: list[Score] = []

            def reference(
                chosen: object = chosen, loaded: object = loaded, found: list[Score] = found
            ) -> Score:
                if not found:
                    found.append(plain_score(chosen, loaded, "dev"))  # type: ignore[arg-type]
                return found[0]

            rows = {}
            searched: Policy | None = None
            for method in methods(loaded, chosen, chosen.steps if steps is None else steps):
                with progress_bar(f"{pair}: {method.name}") as show:
                    row = kept.measure(loaded, chosen, method, reference, show)
                rows[method.name] = row
                typer.echo(
                    f"{pair}: {method.name}: {row['metric']:.4f}, BOPs {row['bops_ratio']:.3f}"
                )
                if method.name == "searched":
                    searched = method.policy
            if searched is not None:
                fields = Evaluation.__dataclass_fields__
                result = Evaluation(**{k: v for k, v in rows["searched"].items() if k in fields})
                draw(
                    loaded,
                    chosen,
                    searched,
                    result,
                    folder,
                    TEXT,
                    # The page says of how many pairs it is.
                    noise=task == "stsb"
                    and (limit or NOISE) >= NOISE
                    and not (folder / f"{model}-{task}-noise.json").is_file(),
                    series={k: [(v["bops_ratio"], v["metric"])] for k, v in rows.items()},
                )
            data_of = next(iter(rows.values()))["data"]
            kept.keep(model, task, list(rows), data_of)
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
            write_atomically(output, render(kept, versions, pictures, noise))
        typer.echo(f"{output} and {results}")
