"""``dtqatten search``: find the ratios of a policy for a model and a task."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtqatten.algorithm.policy import Policy
from dtqatten.commands.algorithm import (
    BosOption,
    DataOption,
    LimitOption,
    ModelOption,
    Stage,
    StageOption,
    TaskOption,
    opened,
    plain_score,
    progress_bar,
    staged,
    template_of,
)
from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import (
    ConfigOption,
    JsonOption,
    StartOption,
    fail,
    needs,
    reject_unused,
)
from dtqatten.commands.paths import output_file
from dtqatten.commands.search_cost import (
    NAMES,
    check_space,
    cost_of,
    is_priced,
    machine_of,
    refuse_unused,
)
from dtqatten.commands.search_space import settings_of, space_of
from dtqatten.files.errors import UsageError
from dtqatten.files.pictures import save
from dtqatten.golden.numerics.local_values import Arrays
from dtqatten.model.policy_cost import Cost

if TYPE_CHECKING:
    from dtqatten.algorithm.search.worker import Worker

__all__ = ["search"]


def search(
    model: ModelOption,
    task: TaskOption,
    output: Annotated[Path, output_file("Policy file to write.")] = Path("build/policy.json"),
    template: Annotated[
        str | None,
        typer.Option(
            help="Policy, a file or one that comes with dtqatten, whose fields other than the "
            "ratios are used."
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="dtq: ratios by layer; spatten: its schedule; local: the mean share of V of "
            "decode steps, of which each layer takes what predictions need."
        ),
    ] = "dtq",
    trials: Annotated[int, typer.Option(min=1, help="Finished trials, of all workers.")] = 60,
    groups: Annotated[
        int | None,
        typer.Option(min=1, help="Groups of layers that share ratios; default one a layer, <= 6."),
    ] = None,
    max_eight: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Largest share of 8-bit tokens in a layer; 1."),
    ] = None,
    max_zero: Annotated[
        float | None,
        typer.Option(min=0, max=0.95, help="Largest share of pruned tokens in a layer; 0.95."),
    ] = None,
    min_values: Annotated[
        float | None,
        typer.Option(
            min=0.05,
            max=1,
            help="Least share of V that a row block multiplies, searched too; the template's. Of "
            "--method local: the least mean, 0.5.",
        ),
    ] = None,
    progressive: Annotated[
        bool | None,
        typer.Option(
            "--progressive/--no-progressive",
            help="Of --method spatten and local: try thresholds of progressive quantization; not "
            "where a machine's cycles or energy of a prefill count.",
        ),
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option("--lambda", min=0, help="Weight of cost: 0.37 (encoder), 0.24 (decoder)."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Relative loss of metric allowed before the loss grows, < 0: none; of a front: "
            "that of the policy to write."
        ),
    ] = 0.01,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Cost beyond which the loss grows; of a front: that of the policy to write.",
        ),
    ] = None,
    fidelity: Annotated[
        bool,
        typer.Option(
            "--fidelity", help="Minimize divergence from the plain model, not cross-entropy."
        ),
    ] = False,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="Option of the policy to search too, such as importance; repeatable."),
    ] = None,
    objective: Annotated[
        Cost,
        typer.Option(
            help="Cost, relative to attention in 8 bits: bit operations; of a machine on the "
            "task's texts cycles or energy; bytes read."
        ),
    ] = Cost.BOPS,
    stage: StageOption = Stage.PREFILL,
    tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Length that cycles and energy are of; that of the task's texts. Of --stage "
            "decode: keys of a step, 512.",
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(help="Whose heads cycles and energy are of, such as bert-base; the model's."),
    ] = None,
    preset: StartOption = None,
    file: ConfigOption = None,
    multi: Annotated[
        bool, typer.Option("--pareto", help="Minimize loss of metric and cost together.")
    ] = False,
    sampler: Annotated[str, typer.Option(help="tpe, gp or random.")] = "tpe",
    storage: Annotated[
        str | None,
        typer.Option(help="SQLite file, *.journal file or database URL; shared by workers."),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study; that of the policy file by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampler; one a worker.")] = 0,
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Stop this worker after that time.")
    ] = None,
    data: DataOption = None,
    limit: LimitOption = 300,
    bos: BosOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search the shares of 0, 4 and 8-bit tokens; run it again to go on where it stopped."""
    with needs("algorithm"):
        # For the picture of a front: what is missing is told before the search.
        import dtqatten.algorithm.pictures  # noqa: F401
        from dtqatten.algorithm.block.operands import BASE_ARRAYS
        from dtqatten.algorithm.search.local_space import LocalSpace
        from dtqatten.algorithm.search.objective import LAMBDA_DECODER, LAMBDA_ENCODER, Objective
        from dtqatten.algorithm.search.sensitivity import drifts_of_values, errors_of_values
        from dtqatten.algorithm.search.spaces import Space, SpattenSpace
        from dtqatten.algorithm.search.study import open_study
        from dtqatten.algorithm.search.worker import Worker

        limits = {"--groups": groups, "--max-eight": max_eight, "--max-zero": max_zero}
        match method:
            case "dtq":
                reject_unused({"--progressive": progressive}, "for --method spatten and local only")
            case "spatten":
                reject_unused(limits | {"--min-values": min_values}, "for --method dtq only")
            case "local":
                reject_unused(limits, "for --method dtq only")
                if stage is not Stage.DECODE:
                    raise UsageError("--method local is for decode steps: add --stage decode")
            case _:
                raise UsageError(f"no method {method!r}: choose dtq, spatten or local")
        on = machine_of(objective, preset, file)
        chosen, loaded = opened(model, task, data, limit, bos)
        arrays = staged(BASE_ARRAYS if on is None else Arrays.of(on.config), stage, loaded)
        cost = cost_of(objective, on, chosen, loaded, tokens, shape, stage)
        base = template_of(template, loaded).replace(model=model, task=task)
        by_arrays = method != "dtq" or (min_values or 1) < 1 or base.by_arrays
        by_arrays = by_arrays or "block_exponents" in (vary or ())
        refuse_unused(objective, by_arrays, preset, file)
        if is_priced(objective):
            check_space(objective, base, tuple(vary or ()), progressive, stage)
        varied = tuple(vary or ())
        if method == "spatten":
            priced = is_priced(objective) and stage is Stage.PREFILL
            thresholds = not priced if progressive is None else progressive
            # What a decode step costs without some of its heads is not known.
            heads = not (is_priced(objective) and stage is Stage.DECODE)
            space: Space | SpattenSpace | LocalSpace = SpattenSpace(
                base, thresholds, heads, vary=varied
            )
        elif method == "local":
            with progress_bar("errors of each layer's output") as tell:
                errors = errors_of_values(loaded, chosen, base, arrays, tell)
            with progress_bar("drift of predictions by each layer") as tell:
                drifts = drifts_of_values(loaded, chosen, base, arrays, errors, tell)
            space = LocalSpace(base, drifts, min_values or 0.5, bool(progressive), vary=varied)
        else:
            space = space_of(base, varied, groups, max_eight, max_zero, min_values)
        if weight is None:
            weight = LAMBDA_DECODER if loaded.causal else LAMBDA_ENCODER
        choice = {"lambda": weight, "tolerance": tolerance, "budget": budget, "fidelity": fidelity}
        # A front does not depend on what is chosen of it.
        settings: dict[str, Any] = {"limit": limit, **settings_of(space, {} if multi else choice)}
        # Studies of bit operations are older than other objectives, and go on.
        if objective is not Cost.BOPS:
            settings["objective"] = objective.value
        if stage is Stage.DECODE:
            settings["stage"] = stage.value
        if loaded.begin:
            settings["begin"] = list(loaded.begin)
        if on is not None:
            settings["machine"] = str(on.config)
        asked = {"tokens": tokens, "shape": shape}
        settings |= {name: given for name, given in asked.items() if given is not None}
        shared = open_study(
            place_of(storage, output),
            study or output.stem,
            space,
            sampler=sampler,
            seed=seed,
            multi=multi,
            settings={**settings, "method": method, "template": base.replace(record={}).to_json()},
        )
        reference = plain_score(chosen, loaded, "train")
        judged = Objective(
            loaded,
            chosen,
            space,
            reference,
            weight,
            tolerance if tolerance >= 0 else None,
            multi,
            budget,
            fidelity,
            cost,
            arrays,
        )
        record = {
            "sampler": sampler,
            "seed": seed,
            **settings,
            **choice,
            "plain_metric": reference.metric,
        }
        worker = Worker(shared, judged, output, tolerance, budget, record)
        run(worker, trials, seconds)
        if not worker.finished:
            raise fail("no trial has finished: give more --seconds")
        best = worker.keep()
        show(f"{chosen.metric} of the plain model on the search part: {reference.metric:.4f}")
        front = front_of(worker) if multi else []
        if multi:
            show_front(worker, front, objective)
        if as_json:
            print_json(
                {
                    "policy": str(output),
                    "metric_name": chosen.metric,
                    **best.record,
                    "objective": objective.value,
                    "front": [{"cost": cost, "loss": worse} for cost, worse in front],
                }
            )
        say(f"{output}: trial {best.record['trial']} of {best.record['trials']}")


def place_of(storage: str | None, output: Path) -> str:
    """Return where a study is kept, beside the policy by default; make the folder."""
    place = storage or str(output.with_suffix(".db"))
    if "://" not in place:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
    return place


def run(worker: "Worker", trials: int, seconds: float | None) -> None:
    """Run trials under a progress bar."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[best]}"),
    )
    metric = worker.objective.task.metric
    with progress(*columns) as bar:
        line = bar.add_task(f"study {worker.study.study_name}", total=trials, best="")

        def tell(best: Policy) -> None:
            record = best.record
            bar.update(
                line,
                completed=record["trials"],
                best=f"best: {metric} {record['train_metric']:.4f}, "
                f"cost {record['train_cost']:.3f}",
            )

        worker.run(trials, seconds, tell)


def front_of(worker: "Worker") -> list[tuple[float, float]]:
    """Return cost and loss of metric of the policies that no other is better than in both."""
    from dtqatten.algorithm.search.study import pareto

    return [(cost, worse) for worse, cost, _ in pareto(worker.study)]


def show_front(worker: "Worker", front: list[tuple[float, float]], objective: Cost) -> None:
    """Print the Pareto front of a study, and draw it beside the policy."""
    from dtqatten.algorithm.pictures import pareto_figure

    metric = worker.objective.task.metric
    show(
        f"loss of {metric}, {objective.value} of the Pareto front:",
        *(f"  {worse:8.4f} {cost:6.3f}" for cost, worse in front),
    )
    complete = [(t.values[1], t.values[0]) for t in worker.finished]
    picture = worker.output.with_suffix(".svg")
    series = {"trials": complete, "front": front}
    save(pareto_figure(series, f"relative loss of {metric}", 0.0, NAMES[objective]), picture)
    say(picture)
