"""``dtqatten demo``: a real sentence through the whole simulated machine."""

import enum
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import (
    ConfigOption,
    JsonOption,
    StartOption,
    fail,
    needs,
    reject_unused,
    target_of,
)
from dtqatten.commands.paths import output_file, output_folder

if TYPE_CHECKING:
    from dtqatten.configuration.system import SystemConfig
    from dtqatten.golden.traces.recording import Recording

__all__ = ["demo"]


class Part(enum.StrEnum):
    """What the demo simulates."""

    MACHINE = "machine"
    ARRAY = "array"


def demo(
    preset: StartOption = None,
    config: ConfigOption = None,
    part: Annotated[
        Part, typer.Option(help="The whole machine, or its score array with every stall.")
    ] = Part.MACHINE,
    text: Annotated[
        str | None,
        typer.Option(help="Machine: your own sentence, through a real encoder; needs torch."),
    ] = None,
    recording: Annotated[
        Path | None, typer.Option(help="Machine: an .npz, as `dtqatten run` takes.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="Array: trace to run; the committed one by default.")
    ] = None,
    output: Annotated[
        Path,
        output_folder(
            "Folder for report or pictures.", holds=("report.html", "scores.png", "activity.png")
        ),
    ] = Path("build/demo"),
    waves: Annotated[
        Path | None, output_file("Machine: FST file to write, every signal.", "--waves")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a real sentence through the simulated machine, compared with the golden model.

    Without --preset and --config the machine is that of preset tiny.
    """
    if part is Part.MACHINE:
        reject_unused({"--trace": trace}, "is for --part array")
        made_by = "" if config is None else f" --config {config}"
        made_by += "" if preset is None else f" --preset {preset}"
        target = target_of(preset, config, "tiny")
        _machine(
            target,
            _recorded(text, recording),
            output,
            waves,
            made_by=f"dtqatten demo{made_by}",
            as_json=as_json,
        )
        return
    reject_unused(
        {"--text": text, "--recording": recording, "--waves": waves},
        "is for --part machine",
    )
    _array(preset, config, trace, output, as_json=as_json)


def _recorded(text: str | None, path: Path | None) -> "Recording":
    """Return what runs: a text's layers, a file's, or those that come with the package."""
    from dtqatten.golden.traces.recording import Recording, example_recording

    if text is not None:
        reject_unused({"--recording": path}, "--text has been given")
        from dtqatten.algorithm.encoder import make_recording

        return make_recording(text)
    return example_recording() if path is None else Recording.load(path)


def _machine(
    target: "str | SystemConfig",
    recorded: "Recording",
    output: Path,
    waves: Path | None,
    *,
    made_by: str,
    as_json: bool,
) -> None:
    """Run layers through the whole machine and write the report.

    Parameters
    ----------
    target : str or SystemConfig
        A preset, which adapts to what runs, or a machine.
    recorded : Recording
    output : Path
        Folder.
    waves : Path or None
    made_by : str
        The command, for the report.
    as_json : bool
    """
    with needs("sim"):
        from rich.table import Table

        from dtqatten.api.layers import Cascade
        from dtqatten.api.machines import fitted
        from dtqatten.api.simulated import device_for
        from dtqatten.files.whole import write_text
        from dtqatten.model.clock import clock_of
        from dtqatten.sim.studies.machine_demo import run_demo
        from dtqatten.sim.studies.report import COLUMNS, report, rows_of
        from dtqatten.sim.studies.stalls import orders
    _, heads, n, d = recorded.q.shape
    system = fitted(target, d_head=d, tokens=n, heads=heads)
    preset = target if isinstance(target, str) else "of a file"
    if recorded.text:
        say(f'"{recorded.text}"')
    last = recorded.first_layer + recorded.layers - 1
    say(
        f"layers {recorded.first_layer} to {last} of {recorded.model or 'a file'}: {n} tokens, "
        f"{heads} heads of {d} channels, preset {preset}"
    )

    start = time.perf_counter()

    def phase(what: str) -> None:
        nonlocal start
        start, since = time.perf_counter(), start
        say(f"{what}: {start - since:.1f} s")

    cascade = Cascade(recorded.q, recorded.k, recorded.v, bits=recorded.bits)
    try:
        with device_for(system, cascade, waves=waves) as device:
            phase("machine compiled, or taken from where it is kept")
            layers = run_demo(device, system, cascade, first_layer=recorded.first_layer)
    except AssertionError as error:
        raise fail(f"the RTL differs from the golden model: {error}") from None
    cycles = sum(layer.cost.cycles for layer in layers)
    phase(f"{len(layers)} layers, {cycles} cycles: every output, id and importance equal")
    # In the order of the text, so that the first picture shows what clustering cures.
    bits = [int(b) for b in layers[-1].result.precision if b]
    studies = orders(system.core, bits)
    phase("PEs watched in three orders of the tokens")

    clock = clock_of(system.core)
    rows = rows_of(layers, clock.mhz)
    page = report(
        recorded,
        system,
        layers,
        studies,
        preset=preset,
        clock=str(clock),
        rows=rows,
        command=made_by,
    )
    write_text(output / "report.html", page)
    # Upright, so that it fits a narrow terminal.
    table = Table("", *(f"layer {row[0]}" if row[0] != "all" else "all" for row in rows))
    for column in table.columns[1:]:
        column.justify = "right"
    for at, name in enumerate(COLUMNS, 1):
        table.add_row(name, *(row[at] for row in rows))
    show(table)
    if as_json:
        print_json([dict(zip(("layer", *COLUMNS), row, strict=True)) for row in rows])
    say(f"time is at {clock}; report: {output / 'report.html'}")


def _array(
    preset: str | None, file: Path | None, trace: Path | None, output: Path, *, as_json: bool
) -> None:
    """Run all heads of a recorded layer through the score array, every port compared.

    Parameters
    ----------
    preset : str or None
    file : Path or None
        Of a configuration.
    trace : Path or None
    output : Path
        Folder.
    as_json : bool
    """
    with needs("sim"):
        from rich.table import Table

        from dtqatten.api.machines import fitted
        from dtqatten.golden.traces.trace import Trace, example
        from dtqatten.sim.engines.bench import MismatchError
        from dtqatten.sim.lockstep.runs import build_array
        from dtqatten.sim.studies.array_demo import block_accuracy, run_trace
        from dtqatten.sim.studies.plots import activity_figure, save, scores_figure
        from dtqatten.sim.studies.stalls import orders
    recorded = example() if trace is None else Trace.load(trace)
    target = target_of(preset, file, "tiny")
    config = fitted(target, d_head=recorded.d, tokens=len(recorded.kept)).core
    four = int((recorded.bits == 4).sum())
    say(f'layer {recorded.layer} of {recorded.model}: "{recorded.text}"')
    say(
        f"{recorded.n} tokens: {recorded.n - len(recorded.kept)} pruned, {four} in 4 bits, "
        f"{len(recorded.kept) - four} in 8 bits; {recorded.heads} heads of {recorded.d} channels"
    )
    say(str(config))

    start = time.perf_counter()
    build_array(config)
    say(f"elaborated, and compiled with Verilator, in {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    try:
        with progress() as bar:
            task = bar.add_task("simulating", total=1.0)
            compared, heads = run_trace(
                config, recorded, lambda share: bar.update(task, completed=share)
            )
    except MismatchError as error:
        raise fail(f"the RTL differs from the golden model: {error}") from None
    seconds = time.perf_counter() - start

    block, shares = block_accuracy(recorded)
    table = Table(
        "head",
        "cycles",
        "PEs busy",
        "scores: cosine to float",
        "largest error",
        "attention: cosine to float",
        "largest error",
    )
    for column in table.columns:
        column.justify = "right"
    rows = [
        (
            str(number),
            str(head.cycles),
            f"{100 * head.utilization:.1f} %",
            f"{head.cosine:.5f}",
            f"{head.max_error:.3f}",
            f"{block.cosine[number]:.5f}",
            f"{block.largest[number]:.3f}",
        )
        for number, head in enumerate(heads)
    ]
    for row in rows:
        table.add_row(*row)
    show(table)
    if as_json:
        names = (
            *("head", "cycles", "PEs busy", "cosine of scores", "largest error of scores"),
            *("cosine of attention", "largest error of attention"),
        )
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    say(
        f"{compared} clock edges in {seconds:.1f} s: every score, accumulator, handshake and "
        "counter of the RTL equals the golden model"
    )

    say(
        "integer attention block (golden model) against float64, importance: "
        + ", ".join(
            f"{same:.0%} of the top {share:.0%} are the same" for share, same in shares.items()
        )
    )

    texts = [recorded.tokens[i] for i in recorded.kept]
    title = f"Q x K^T of head 0 from the RTL, {len(texts)} of {recorded.n} tokens"
    save(
        scores_figure(heads[0].scores, texts, recorded.bits.tolist(), title), output / "scores.png"
    )
    # In the order of the text, so that the first picture shows what clustering cures.
    bits = [int(recorded.precision[i]) for i in sorted(recorded.kept)]
    save(activity_figure(orders(config, bits)), output / "activity.png")
    say(f"pictures: {output / 'scores.png'}, {output / 'activity.png'}")
