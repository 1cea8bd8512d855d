"""``dtqatten bench``: speed and utilization of array, core and machine on a bus."""

import enum
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from dtqatten.commands.bench_decode import DecodeAsked, decode_figures, decode_tables
from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import JsonOption, needs
from dtqatten.commands.paths import output_folder
from dtqatten.files.errors import UsageError
from dtqatten.files.pictures import save
from dtqatten.files.whole import write_text

__all__ = ["bench"]

Tell = Callable[[str], object]


class Part(enum.StrEnum):
    """What is measured, and the JSON file that it goes to."""

    ARRAY = "array"
    CORE = "core"
    SYSTEM = "system"
    DECODE = "decode"
    TOPK = "topk"


#: Picture of the core's units.
TIMELINE = "timeline.png"


def bench(
    part: Annotated[
        list[Part] | None, typer.Option(help="What to measure; may be repeated. All if not given.")
    ] = None,
    output: Annotated[
        Path,
        output_folder("Folder for the JSON.", holds=(*(f"{one}.json" for one in Part), TIMELINE)),
    ] = Path("build/bench"),
    model: Annotated[
        list[str] | None, typer.Option(help="Decode: a model's shape; may be repeated.")
    ] = None,
    keys: Annotated[
        list[int] | None, typer.Option(help="Decode: tokens of the cache; may be repeated.")
    ] = None,
    share: Annotated[
        list[str] | None, typer.Option(help="Decode: precision of the keys; may be repeated.")
    ] = None,
    bus_bits: Annotated[
        list[int] | None, typer.Option(help="Decode: width of the bus; may be repeated.")
    ] = None,
    local_value_share: Annotated[
        float | None,
        typer.Option(
            min=1 / 256,
            max=255 / 256,
            help="Decode: in place of the other steps, those of 512 keys with this share of V: all "
            "of it, the share multiplied, and the share read after the choice.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure array, core, the machine on a bus, decode and top-k; write a JSON file each.

    Decode measures what is asked for and not in decode.json yet; that of a machine that has changed
    is measured again. With --local-value-share it measures steps that choose V, which the file has
    under `choice`.

    Parameters
    ----------
    part : list of Part, optional
    output : Path
    model, keys, share, bus_bits : list, optional
        Of decode; all if not given.
    local_value_share : float, optional
        Of decode; no step chooses V if not given.
    as_json : bool
    """
    asked = DecodeAsked(model, keys, share, bus_bits, local_value_share)
    if asked.any and Part.DECODE not in (part or list(Part)):
        raise UsageError(
            "--model, --keys, --share, --bus-bits and --local-value-share are of --part decode: "
            "add it"
        )
    with needs("dev"):
        from dtqatten.sim.studies.array_bench import measure, versions
        from dtqatten.sim.studies.plots import timeline_figure
    results = {}
    for one in part or list(Part):
        with progress() as bar:
            task = bar.add_task("measuring", total=None)

            def tell(what: str, bar: Any = bar, task: Any = task) -> None:
                bar.update(task, description=what)

            match one:
                case Part.ARRAY:
                    result = measure(tell)
                case Part.CORE:
                    result, activity = _core(tell)
                case Part.SYSTEM:
                    result = _system(tell)
                case Part.DECODE:
                    result = decode_figures(tell, output / f"{one}.json", asked)
                case Part.TOPK:
                    result = _engines(tell)
        if one is not Part.ARRAY:
            result["versions"] = versions()
        results[str(one)] = result
        show(*_tables(one, result))
        path = output / f"{one}.json"
        write_text(path, json.dumps(result, indent=2) + "\n")
        say(f"{path}: all figures, and versions")
        if one is Part.CORE:
            picture = output / TIMELINE
            save(timeline_figure(activity, f"preset base, {result['kept']} tokens"), picture)
            say(f"{picture}: which units work when, by the RTL's own ports")
    if as_json:
        print_json(results)


def _reference(*, in_turns: bool) -> Any:
    from dtqatten.model.workload import Workload

    return Workload(full_tiles=True, alternate=in_turns)


def _layer(workload: Any, tell: Tell) -> Any:
    """Run a layer of the core, RTL beside model."""
    from dtqatten.configuration.core import PRESETS
    from dtqatten.sim.studies.core_bench import HEADS, simulate_layer

    tell("compiling the core")
    return simulate_layer(
        PRESETS["base"],
        workload,
        HEADS,
        lambda cycles: tell(f"a layer of the core, cycle {cycles}"),
    )


def _core(tell: Tell) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure the core and its top-k engine; return also which units work when."""
    from dtqatten.configuration.core import PRESETS
    from dtqatten.model.core import causal_cycles
    from dtqatten.sim.studies.core_bench import measure_core, useful_share
    from dtqatten.sim.studies.topk_bench import measure_topk

    workload = _reference(in_turns=True)
    ran = _layer(workload, tell)
    result = measure_core(ran) | asdict(workload)
    result["in_order"] = measure_core(_layer(_reference(in_turns=False), tell))
    tell("causal heads of 512 tokens")
    causal, full = causal_cycles(PRESETS["base"], 512)
    result["causal_ratio"] = causal / full
    result["useful_share"] = useful_share(
        PRESETS["base"], lambda tokens: tell(f"heads of {tokens} tokens")
    )
    tell("top-k")
    result["topk"] = measure_topk()
    return result, ran.activity


def _system(tell: Tell) -> dict[str, Any]:
    """Measure the machine on a bus against the core fed for free."""
    from dtqatten.configuration.core import PRESETS
    from dtqatten.sim.studies.core_bench import HEADS, measure_core
    from dtqatten.sim.studies.system_bench import measure_system

    workload = _reference(in_turns=True)
    alone = measure_core(_layer(workload, tell))["cycles"]
    # Compiling takes longer than running.
    result = measure_system(PRESETS["base"], workload, HEADS, alone, tell, optimize=1)
    return result | asdict(workload)


def _engines(tell: Tell) -> dict[str, Any]:
    """Count the cycles of both top-k engines by their cycle models."""
    from dtqatten.sim.studies.topk_bench import measure_engines

    tell("both top-k engines")
    return {"engines": measure_engines()}


def _tables(part: Part, result: dict[str, Any]) -> list[Any]:
    from rich.table import Table

    def plain(title: str, rows: dict[str, Any], *heads: str) -> Any:
        table = Table(*heads, title=title)
        for key, value in rows.items():
            values = value.values() if isinstance(value, dict) else [value]
            shown = [f"{v:.4f}" if isinstance(v, float) else str(v) for v in values]
            table.add_row(key, *shown)
        return table

    match part:
        case Part.ARRAY:
            return [
                plain(name, result[name], name, unit)
                for name, unit in (
                    ("elaborate_s", "seconds to elaborate and write Verilog, ROWSxCOLSxDEPTH"),
                    ("sim_cycles_per_s", "simulated cycles per second, tiny preset"),
                    ("utilization", "useful nibble products over PE slots, by token order"),
                    ("cycles", "of the head, first operand in the array to last score out"),
                )
            ]
        case Part.CORE:
            runs = {"row blocks in turns": result, "4-bit queries first": result["in_order"]}
            rows: dict[str, Any] = {
                name: {run: figures[name] for run, figures in runs.items()}
                for name in ("cycles", "module_b_overhead")
            }
            for unit in result["busy_fraction"]:
                busy = {run: figures["busy_fraction"][unit] for run, figures in runs.items()}
                rows[f"{unit} busy"] = busy
            names = ("mean", "p99", "worst", "adversarial_worst")
            topk = {
                str(n): {name: row[name] for name in names} for n, row in result["topk"].items()
            }
            causal = {"512 tokens": result["causal_ratio"]}
            return [
                plain("a layer of the core, preset base", rows, "", *runs),
                plain("a causal head over a full one, tiles skipped", causal, "", "cycles"),
                plain(
                    "useful products, of all multiplier cycles",
                    {str(tokens): share for tokens, share in result["useful_share"].items()},
                    "tokens",
                    "share",
                ),
                plain("top-k, cycles until both thresholds are known", topk, "tokens", *names),
            ]
        case Part.DECODE:
            return decode_tables(result, plain)
        case Part.TOPK:
            columns = ("mean", "p99", "worst", "adversarial_worst", "uniform_mean")
            runs = {
                f"{tokens}, {engine}": {name: found[name] for name in columns}
                for tokens, engines in result["engines"].items()
                for engine, found in engines.items()
            }
            title = "top-k, cycles from the last beat to both thresholds, by the cycle models"
            return [plain(title, runs, "tokens, engine", *columns)]
        case Part.SYSTEM:
            latencies = [f"latency {n}" for n in next(iter(result["dma_overhead"].values()))]
            return [
                plain(unit, result[name], "bits", *latencies)
                for name, unit in (
                    ("dma_overhead", "cycles over the core fed for free, by bus and latency"),
                    ("bytes_ratio", "bytes read over the ideal"),
                )
            ]
