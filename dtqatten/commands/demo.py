"""``dtqatten demo``: a real sentence's attention scores through the RTL."""

import time
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.commands.options import PresetOption, configure, fail, needs

__all__ = ["demo"]


def demo(
    preset: PresetOption = "tiny",
    trace: Annotated[
        Path | None,
        typer.Option(help="Trace to run; the committed one by default.", dir_okay=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the pictures.", file_okay=False)
    ] = Path("build/demo"),
) -> None:
    """Run all heads of a real layer through the RTL, bit by bit and cycle by cycle."""
    with needs("sim"):
        from rich.console import Console
        from rich.progress import Progress
        from rich.table import Table

        from dtqatten.golden.numerics.order import Order
        from dtqatten.golden.traces.trace import Trace, example
        from dtqatten.sim.engines.bench import MismatchError
        from dtqatten.sim.lockstep.runs import build_array
        from dtqatten.sim.studies.demo import block_accuracy, run_trace
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
