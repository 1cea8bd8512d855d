"""``dtqatten trace``: record Q, K and V of a text from a pretrained encoder."""

from pathlib import Path
from typing import Annotated

import typer

from dtqatten.algorithm.encoder import make_trace
from dtqatten.commands.console import say
from dtqatten.commands.paths import output_file
from dtqatten.golden.numerics.select import PAPER_SHARES

__all__ = ["trace"]


def trace(
    text: Annotated[str, typer.Option(help="The text to run the encoder on.")],
    output: Annotated[Path, output_file("File to write.")] = Path("trace.npz"),
    model: Annotated[
        str | None,
        typer.Option(help="Hub id or folder of an encoder; all-MiniLM-L6-v2 by default."),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(help="Layer to record, 1 or later; the middle one by default."),
    ] = None,
    shares: Annotated[
        tuple[float, float, float],
        typer.Option(help="Shares of tokens with 0, 4 and 8 bits; sum 1."),
    ] = PAPER_SHARES,
    text_license: Annotated[
        str, typer.Option(help="Terms of the text, kept in the trace.")
    ] = "unstated",
) -> None:
    """Record Q, K and V of one layer, with token precisions from the layer before."""
    made = make_trace(text, model, layer, shares, text_license=text_license)
    made.save(output)
    four, eight = int((made.bits == 4).sum()), int((made.bits == 8).sum())
    say(
        f"{output}: layer {made.layer} of {made.model}, {made.heads} heads x {made.n} tokens x "
        f"{made.d} channels; {made.n - four - eight} tokens pruned, {four} in 4 bits, "
        f"{eight} in 8 bits"
    )
