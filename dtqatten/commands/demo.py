"""``dtqatten demo``: a real sentence through the whole simulated machine."""

import enum
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dtqatten.commands.options import PresetOption, configure, fail, needs, reject_unused

if TYPE_CHECKING:
    from dtqatten.golden.traces.recording import Recording

__all__ = ["demo"]


class Part(enum.StrEnum):
    """What the demo simulates."""

    MACHINE = "machine"
    ARRAY = "array"


def demo(
    preset: PresetOption = "tiny",
    part: Annotated[
        Part, typer.Option(help="The whole machine, or its score array with every stall.")
    ] = Part.MACHINE,
    text: Annotated[
        str | None,
        typer.Option(help="Machine: your own sentence, through a real encoder; needs torch."),
    ] = None,
    recording: Annotated[
        Path | None,
        typer.Option(help="Machine: an .npz, as `dtqatten run` takes.", dir_okay=False),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(help="Array: trace to run; the committed one by default.", dir_okay=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for report or pictures.", file_okay=False)
    ] = Path("build/demo"),
    waves: Annotated[
        Path | None,
        typer.Option(help="Machine: FST file to write, every signal.", dir_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine: the table as JSON.")] = False,
) -> None:
    """Run a real sentence through the simulated machine, compared with the golden model."""
    if part is Part.MACHINE:
        reject_unused({"--trace": trace}, "is for --part array")
        _machine(preset, text, recording, output, waves, as_json=as_json)
        return
    reject_unused(
        {"--text": text, "--recording": recording, "--waves": waves, "--json": as_json},
        "is for --part machine",
    )
    _array(preset, trace, output)


def _recorded(text: str | None, path: Path | None) -> "Recording":
    """Return what runs: a text's layers, a file's, or those that come with the package."""
    from dtqatten.golden.traces.recording import Recording, example_recording

    if text is not None:
        reject_unused({"--recording": path}, "--text has been given")
        from dtqatten.algorithm.encoder import make_recording

        return make_recording(text)
    return example_recording() if path is None else Recording.load(path)


def _machine(
    preset: str,
    text: str | None,
    path: Path | None,
    output: Path,
    waves: Path | None,
    *,
    as_json: bool,
) -> None:
    """Run layers through the whole machine and write the report.

    Parameters
    ----------
    preset : str
    text : str or None
    path : Path or None
        Of a recording.
    output : Path
        Folder.
    waves : Path or None
    as_json : bool
        The table as JSON, and nothing else, on standard output.
    """
    with needs("sim"):
        import json

        from rich.console import Console
        from rich.table import Table

        from dtqatten.api.layers import Cascade
        from dtqatten.api.machines import core_of
        from dtqatten.api.simulated import device_for
        from dtqatten.configuration.system import SystemConfig
        from dtqatten.files.whole import write_text
        from dtqatten.golden.numerics.order import Order
        from dtqatten.sim.studies.machine_demo import run_demo
        from dtqatten.sim.studies.report import COLUMNS, report, rows_of
        from dtqatten.sim.studies.stalls import study
    say = Console(stderr=as_json, highlight=False)
    recorded = _recorded(text, path)
    _, heads, n, d = recorded.q.shape
    system = SystemConfig(core=core_of(preset, d_head=d, tokens=n, heads=heads))
    if recorded.text:
        say.print(f'"{recorded.text}"', markup=False)
    say.print(
        f"layers {recorded.first_layer} to {recorded.first_layer + recorded.layers - 1} of "
        f"{recorded.model or path}: {n} tokens, {heads} heads of {d} channels, preset {preset}",
        markup=False,
    )

    def phase(what: str, since: float) -> None:
        say.print(f"{what}: {time.perf_counter() - since:.1f} s", markup=False)

    cascade = Cascade(recorded.q, recorded.k, recorded.v, bits=recorded.bits)
    with ExitStack() as machine:
        start = time.perf_counter()
        with say.status("compiling the machine once, about a minute; it is kept for next time"):
            device = machine.enter_context(device_for(system, cascade, waves=waves))
        phase("machine compiled, or taken from where it is kept", start)
        start = time.perf_counter()
        try:
            with say.status("simulating"):
                layers = run_demo(device, system, cascade, first_layer=recorded.first_layer)
        except AssertionError as error:
            raise fail(f"the RTL differs from the golden model: {error}") from None
    cycles = sum(layer.cost.cycles for layer in layers)
    phase(f"{len(layers)} layers, {cycles} cycles: every output, id and importance equal", start)
    start = time.perf_counter()
    # In the order of the text, so that the first picture shows what clustering cures.
    bits = [int(b) for b in layers[-1].result.precision if b]
    with say.status("the score array on these tokens, in three orders"):
        studies = {f"{order} order": study(system.core, bits, order) for order in Order}
    phase("PEs watched in three orders of the tokens", start)

    clock_mhz, clock = 1000.0, "1 GHz, assumed"
    rows = rows_of(layers, clock_mhz)
    page = report(
        recorded,
        system,
        layers,
        studies,
        preset=preset,
        clock=clock,
        rows=rows,
        command=f"dtqatten demo --preset {preset}",
    )
    write_text(output / "report.html", page)
    if as_json:
        names = ("layer", *COLUMNS)
        typer.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
    else:
        # Upright, so that it fits a narrow terminal.
        table = Table("", *(f"layer {row[0]}" if row[0] != "all" else "all" for row in rows))
        for column in table.columns[1:]:
            column.justify = "right"
        for at, name in enumerate(COLUMNS, 1):
            table.add_row(name, *(row[at] for row in rows))
        say.print(table)
    say.print(f"time is at {clock}; report: {output / 'report.html'}", markup=False)


def _array(preset: str, trace: Path | None, output: Path) -> None:
    """Run all heads of a recorded layer through the score array, every port compared."""
    with needs("sim"):
        from rich.console import Console
        from rich.progress import Progress
        from rich.table import Table

        from dtqatten.golden.numerics.order import Order
        from dtqatten.golden.traces.trace import Trace, example
        from dtqatten.sim.engines.bench import MismatchError
        from dtqatten.sim.lockstep.runs import build_array
        from dtqatten.sim.studies.array_demo import block_accuracy, run_trace
        from dtqatten.sim.studies.plots import activity_figure, save, scores_figure
        from dtqatten.sim.studies.stalls import study
    recorded = example() if trace is None else Trace.load(trace)
    config = configure(preset, d_head=recorded.d)
    if len(recorded.kept) > config.n_max:
        config = configure(preset, d_head=recorded.d, n_max=len(recorded.kept))
    four = int((recorded.bits == 4).sum())
    typer.echo(f'layer {recorded.layer} of {recorded.model}: "{recorded.text}"')
    typer.echo(
        f"{recorded.n} tokens: {recorded.n - len(recorded.kept)} pruned, {four} in 4 bits, "
        f"{len(recorded.kept) - four} in 8 bits; {recorded.heads} heads of {recorded.d} channels"
    )
    typer.echo(f"preset {preset}: {config}")

    start = time.perf_counter()
    build_array(config)
    typer.echo(f"elaborated, and compiled with Verilator, in {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    try:
        with Progress(transient=True) as bar:
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
    for number, head in enumerate(heads):
        table.add_row(
            str(number),
            str(head.cycles),
            f"{100 * head.utilization:.1f} %",
            f"{head.cosine:.5f}",
            f"{head.max_error:.3f}",
            f"{block.cosine[number]:.5f}",
            f"{block.largest[number]:.3f}",
        )
    Console().print(table)
    typer.echo(
        f"{compared} clock edges in {seconds:.1f} s: every score, accumulator, handshake and "
        "counter of the RTL equals the golden model"
    )

    typer.echo(
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
    studies = {f"{order} order": study(config, bits, order) for order in Order}
    save(activity_figure(studies), output / "activity.png")
    typer.echo(f"pictures: {output / 'scores.png'}, {output / 'activity.png'}")
