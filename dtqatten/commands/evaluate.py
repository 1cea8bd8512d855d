"""``dtqatten eval``: what a policy does to a model's metric, and what it saves."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.algorithm.policy import Policy
from dtqatten.commands.algorithm import (
    DataOption,
    LimitOption,
    ModelOption,
    TaskOption,
    opened,
    plain_score,
    progress_bar,
)
from dtqatten.commands.options import needs, reject_unused
from dtqatten.commands.verilog import write_atomically

__all__ = ["evaluate"]

TEXT = (
    "The quick brown fox, which nobody had seen for a year, jumped over the lazy dog and vanished."
)


def evaluate(
    model: ModelOption,
    task: TaskOption,
    policy: Annotated[
        Path | None, typer.Option(help="Policy file; every token in 8 bits if none is given.")
    ] = None,
    mode: Annotated[
        str, typer.Option(help="fake-quant, integer (bit-exact, slow) or float (tokens only).")
    ] = "fake-quant",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="JSON file to write the result to.", dir_okay=False),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder to draw the pictures into.", file_okay=False)
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="With --pictures: sentence of the picture of tokens.")
    ] = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="With --pictures: run the noise study as well.")
    ] = False,
    data: DataOption = None,
    limit: LimitOption = None,
) -> None:
    """Print metric before and after, shares of 0, 4 and 8 bits, bit operations and bytes."""
    if pictures is None:
        reject_unused({"--noise": noise, "--text": text}, "for --pictures only")
    with needs("algorithm"):
        from dtqatten.algorithm.evaluate import evaluate as score
        from dtqatten.algorithm.report.drawing import draw
        from dtqatten.algorithm.session.blocks import Mode

        chosen_mode = Mode(mode)
        given = None if policy is None else Policy.load(policy)
        chosen, loaded = opened(model, task, data, limit)
        applied = Policy.flat(loaded.layers) if given is None else given
        reference = plain_score(chosen, loaded, "dev")
        with progress_bar(f"{model} on {task}, {mode}") as show:
            found = score(loaded, chosen, applied, chosen_mode, reference=reference, progress=show)
        worse = chosen.worse_by(found.metric, found.float_metric)
        typer.echo(f"{found.metric_name:<22} {found.metric:.4f}")
        typer.echo(f"{'of the plain model':<22} {found.float_metric:.4f}")
        typer.echo(f"{'loss':<22} {100 * worse:+.2f} %")
        typer.echo(
            f"{'0 / 4 / 8 bit':<22} {100 * found.share_0:.1f} / {100 * found.share_4:.1f} / "
            f"{100 * found.share_8:.1f} % of the tokens"
        )
        typer.echo(f"{'bit operations':<22} {found.bops_ratio:.4f} of 8-bit attention")
        typer.echo(f"{'bytes fetched':<22} {found.bytes_ratio:.4f} of 8-bit attention")
        each, plain = (1e3 * s / found.sequences for s in (found.seconds, found.float_seconds))
        typer.echo(f"{'time a sequence':<22} {each:.1f} ms, plain {plain:.1f} ms")
        if output is not None:
            write_atomically(output, json.dumps(found.row(), indent=2) + "\n")
            typer.echo(f"{output}")
        if pictures is not None:
            for path in draw(loaded, chosen, applied, found, pictures, text or TEXT, noise=noise):
                typer.echo(f"{path}")
