"""``dtqatten policies``: what the shipped policies cost, and that the machine runs them."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtqatten.algorithm.packaged import find_policy, policy_names
from dtqatten.commands.console import print_json, say, show
from dtqatten.commands.options import JsonOption, fail, machine, needs, reject_unused
from dtqatten.commands.paths import output_file
from dtqatten.configuration.core import PRESETS
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.errors import UsageError
from dtqatten.files.whole import write_text
from dtqatten.model.decode_cost import decode_cost, flat_share
from dtqatten.model.policy_cost import Cost, kv_ratio, policy_cost
from dtqatten.model.shapes import SHAPES

if TYPE_CHECKING:
    from dtqatten.algorithm.policy import Policy

__all__ = ["policies"]

#: Run through encoders; decoders go on from it.
TEXT = "The ships that passed before dawn were counted twice."
#: Tokens that a decoder generates.
NEW = 2
#: Tokens of the sequence that an encoder's cycles are of.
TOKENS = 384
#: What is told of each run.
RUN_COLUMNS = ("exact", "tokens", "new", "cycles", "bytes_read")


def policies(
    policy: Annotated[
        list[str] | None, typer.Option(help="Name, or a file; may be repeated. All if not given.")
    ] = None,
    run: Annotated[
        bool, typer.Option("--run", help="Run a text under each on the RTL; 10 minutes for all.")
    ] = False,
    preset: Annotated[
        str | None, typer.Option(help="With --run: what the machines are made from; tiny.")
    ] = None,
    accuracy: Annotated[
        Path | None,
        typer.Option(help="Rows of `dtqatten accuracy`; build/accuracy.json, if it is there."),
    ] = None,
    output: Annotated[
        Path | None, output_file("With --run: JSON to write; build/policies.json.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the policies that come with the project: task, loss, costs, what runs them.

    Costs are relative to attention in 8 bits: bit operations, as measured on the task; bytes of K
    and V, modelled; cycles of preset base, modelled in closed form: of encoders, on 384 tokens; of
    decoders, of a step on 512 keys.

    Bytes of K and V include biases of keys, 2 bytes a key and query head, where a policy has them;
    of V, a decoder reads the chosen groups alone, as a machine with chosen_values does; low planes
    of K as often as the search found in decode steps, where a policy is progressive.

    With --run each is run on the simulated machine and compared with the golden algorithm. It is
    made from --preset with the options that policy and model need; of a decoder that multiplies a
    part of V, it has chosen_values.
    """
    if not run:
        unused = {"--preset": preset is not None, "--output": output is not None}
        reject_unused(unused, "for --run only")
    names = policy or policy_names()
    chosen = {name: find_policy(name) for name in names}
    with needs("algorithm", "sim"):
        from rich.table import Table

        from dtqatten.sim.machine.policies import unsupported
    measured = _measured(accuracy)
    rows: dict[str, dict[str, Any]] = {}
    for name, each in chosen.items():
        missing = unsupported(each)
        rows[name] = {
            "model": each.model,
            "task": each.task,
            **measured.get(name, {"loss": None, "bops_ratio": None}),
            **_costs(each),
            "runs": not missing,
            "missing": missing,
        }
    if run:
        start = machine(preset, None, usual="tiny").config
        for name, each in chosen.items():
            if rows[name]["runs"]:
                rows[name] |= _run(name, each, start)
    heads = ("policy", "task", "loss", "BOPs", "bytes", "cycles", "runs")
    table = Table(*heads, *(RUN_COLUMNS if run else ()))
    for name, row in rows.items():
        loss, costs = row["loss"], (row[f"{name}_ratio"] for name in ("bops", "kv_bytes", "cycles"))
        cells = [
            "" if loss is None else f"{loss:+.2%}",
            *("" if cost is None else f"{cost:.3f}" for cost in costs),
            "yes" if row["runs"] else row["missing"][0],
        ]
        if run:
            cells += [str(row.get(column, "")) for column in RUN_COLUMNS]
        table.add_row(name, row["task"], *cells)
    runs = sum(row["runs"] for row in rows.values())
    show(table, f"{runs} of {len(rows)} run on the machine")
    result = {"total": len(rows), "runs": runs, "policies": rows}
    if run:
        result["exact"] = sum(row.get("exact", False) for row in rows.values())
        path = output or Path("build/policies.json")
        write_text(path, json.dumps(result, indent=2) + "\n")
        show(f"{result['exact']} of {len(rows)} exact: equal to the golden algorithm in every bit")
        say(path)
    if as_json:
        print_json(result)
    if run and result["exact"] < runs:
        raise fail("a policy's results differ from the golden algorithm's")


def _costs(policy: "Policy") -> dict[str, float | None]:
    """Return what a policy costs by its schedule alone; None is what the schedule does not say."""
    shape = SHAPES.get(policy.model or "")
    unknown: dict[str, float | None] = {"kv_bytes_ratio": None, "cycles_ratio": None}
    if shape is None:
        return unknown
    # A decoder's queries go on. Its machine reads V after the choice, as that of its run does.
    decodes = not policy.prune_queries
    try:
        flat = flat_share(policy) if decodes else None
        ratio = kv_ratio(policy, shape, chosen=decodes, flat=flat)
    except UsageError:
        return unknown
    if not decodes:
        cycles = policy_cost(Cost.CYCLES, PRESETS["base"], shape, {TOKENS: 1})(policy)
    elif policy.prunes_heads:
        return unknown | {"kv_bytes_ratio": ratio}
    else:
        cycles = decode_cost(Cost.CYCLES, SystemConfig(core=PRESETS["base"]), shape)(policy, flat)
    return {"kv_bytes_ratio": ratio, "cycles_ratio": cycles}


def _measured(given: Path | None) -> dict[str, dict[str, Any]]:
    """Return loss and bit operations of policies, where they have been measured."""
    from dtqatten.algorithm.report.methods import SEARCHED
    from dtqatten.algorithm.report.results import METHODS
    from dtqatten.algorithm.tasks.catalogue import TASKS

    path = given or Path("build/accuracy.json")
    if not path.is_file():
        if given is not None:
            raise UsageError(f"{given} is not a readable file: give what dtqatten accuracy wrote")
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        endings = {method: ending for ending, method in SEARCHED.items()}
        # What chose nothing counts, and of it what was measured on most texts: it comes last.
        rows.sort(key=lambda row: (row.get("part") == "test", row["sequences"]))
        return {
            f"{row['model']}-{row['task']}{endings[row['method']]}": {
                "loss": TASKS[row["task"]].worse_by(row["metric"], row["float_metric"]),
                "bops_ratio": row["bops_ratio"],
            }
            for row in rows
            if row["method"] in endings and row.get("study", METHODS) == METHODS
        }
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} has no rows of dtqatten accuracy ({error!r})") from None


def _run(name: str, policy: "Policy", start: Any) -> dict[str, Any]:
    """Run a text under a policy on the machine.

    Parameters
    ----------
    name : str
    policy : Policy
    start : Config
        What the machine is made from.
    """
    from dtqatten.algorithm.models import load
    from dtqatten.commands.run_model import counted
    from dtqatten.sim.machine.policies import causal, run_policy

    loaded = load(policy.model, causal=causal(policy))
    passes = NEW if loaded.causal else 1
    with counted(loaded.layers * passes, name) as tell:
        return dataclasses.asdict(run_policy(loaded, policy, start, TEXT, NEW, tell))
