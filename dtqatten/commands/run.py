"""``dtqatten run``: attention of arrays from a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import (
    ConfigOption,
    JsonOption,
    SharesOption,
    StartOption,
    fail,
    needs,
    refuse,
    shares_of,
    target_of,
)
from dtqatten.commands.paths import output_file

if TYPE_CHECKING:
    from rich.table import Table

    from dtqatten.api.attention import Attention

__all__ = ["arrays_of", "figures", "run", "table_of"]


def run(
    file: Annotated[
        Path,
        typer.Argument(
            help="An .npz with arrays q, k, v: [heads, tokens, d], or [layers, heads, tokens, d]; "
            "bits (0, 4, 8 a token) if the first layer mixes precisions.",
        ),
    ],
    preset: StartOption = None,
    config: ConfigOption = None,
    backend: Annotated[
        str, typer.Option(help="golden: the models; rtl: the machine's Verilog, simulated.")
    ] = "golden",
    shares: SharesOption = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="A token sees itself and those before it.")
    ] = False,
    save: Annotated[
        Path | None, output_file("An .npz for output, ids, bits, importance.", "--save")
    ] = None,
    waves: Annotated[
        Path | None, output_file("rtl: FST file to write, every signal.", "--waves")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compute layers of attention; each keeps tokens for the next one.

    Without --preset and --config the machine is that of preset base.
    """
    from dtqatten.api.attention import attention_layers
    from dtqatten.files.whole import write_arrays
    from dtqatten.golden.traces.recording import Recording

    recorded = Recording.load(file)
    if waves is not None and backend != "rtl":
        raise refuse("--waves is for --backend rtl: leave it out")
    try:
        with needs("sim"), progress() as bar:
            task = bar.add_task("running", total=None)
            layers = attention_layers(
                recorded.q,
                recorded.k,
                recorded.v,
                preset=target_of(preset, config),
                bits=recorded.bits,
                shares=shares_of(shares),
                causal=causal,
                backend=backend,  # type: ignore[arg-type]
                waves=waves,
                tell=lambda what: bar.update(task, description=what),
            )
    except AssertionError as error:
        raise fail(f"the RTL differs from the golden model: {error}") from None
    if save is not None:
        write_arrays(save, arrays_of(layers))
    found = figures(layers)
    if as_json:
        print_json(found)
    of = "the machine with its bus" if backend == "rtl" else "the core, every operand in time"
    show(table_of(found), f"cycles of {of}")
    if save is not None:
        say(f"results: {save}")


def arrays_of(layers: Sequence["Attention"]) -> dict[str, Any]:
    """Return the arrays of results as a file has them, by name and layer."""
    return {
        f"{name}_{number}": getattr(layer, name)
        for number, layer in enumerate(layers)
        for name in ("output", "precision", "ids", "bits", "importance")
    }


def figures(layers: Sequence["Attention"]) -> list[dict[str, Any]]:
    """Return what is printed of each layer."""
    import numpy as np

    return [
        {
            "layer": number,
            **{f"tokens_{bits}_bit": int(np.sum(layer.precision == bits)) for bits in (8, 4, 0)},
            "kept": len(layer.ids),
            "cycles": layer.cycles,
            "read_bytes": layer.cost.read_bytes,
            "written_bytes": layer.cost.written_bytes,
            "busy": dict(layer.cost.busy),
        }
        for number, layer in enumerate(layers)
    ]


def table_of(found: Sequence[Mapping[str, Any]]) -> "Table":
    """Return the table of :func:`figures`."""
    from rich.table import Table

    table = Table("layer", "tokens in 8 / 4 / 0 bits", "kept", "cycles", "bytes read", "written")
    for one in found:
        table.add_row(
            str(one["layer"]),
            f"{one['tokens_8_bit']} / {one['tokens_4_bit']} / {one['tokens_0_bit']}",
            *(str(one[name]) for name in ("kept", "cycles", "read_bytes", "written_bytes")),
        )
    return table
