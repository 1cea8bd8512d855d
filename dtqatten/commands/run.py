"""``dtqatten run``: attention of arrays from a file."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from dtqatten.commands.options import PresetOption, SharesOption, fail, needs, refuse, shares_of

__all__ = ["run"]


def run(
    file: Annotated[
        Path,
        typer.Argument(
            help="An .npz with arrays q, k, v: [heads, tokens, d], or [layers, heads, tokens, d]; "
            "bits (0, 4, 8 a token) if the first layer mixes precisions.",
            exists=True,
            dir_okay=False,
        ),
    ],
    preset: PresetOption = "base",
    backend: Annotated[
        str, typer.Option(help="golden: the models; rtl: the machine's Verilog, simulated.")
    ] = "golden",
    shares: SharesOption = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="A token sees itself and those before it.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(help="An .npz for output, ids, bits, importance.", dir_okay=False),
    ] = None,
    waves: Annotated[
        Path | None, typer.Option(help="rtl: FST file to write, every signal.", dir_okay=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The table as JSON.")] = False,
) -> None:
    """Compute layers of attention; each keeps tokens for the next one."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from dtqatten.api.attention import attention_layers
    from dtqatten.files.whole import write_arrays
    from dtqatten.golden.traces.recording import Recording

    recorded = Recording.load(file)
    if waves is not None and backend != "rtl":
        raise refuse("--waves is for --backend rtl: leave it out")
    say = Console(stderr=True)
    try:
        with needs("sim"), say.status("running") as status:
            layers = attention_layers(
                recorded.q,
                recorded.k,
                recorded.v,
                preset=preset,
                bits=recorded.bits,
                shares=shares_of(shares),
                causal=causal,
                backend=backend,  # type: ignore[arg-type]
                waves=waves,
                tell=status.update,
            )
    except AssertionError as error:
        raise fail(f"the RTL differs from the golden model: {error}") from None
    if save is not None:
        arrays: dict[str, Any] = {}
        for number, layer in enumerate(layers):
            for name in ("output", "precision", "ids", "bits", "importance"):
                arrays[f"{name}_{number}"] = getattr(layer, name)
        write_arrays(save, arrays)
    found = [
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
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    table = Table("layer", "tokens in 8 / 4 / 0 bits", "kept", "cycles", "bytes read", "written")
    for one in found:
        table.add_row(
            str(one["layer"]),
            f"{one['tokens_8_bit']} / {one['tokens_4_bit']} / {one['tokens_0_bit']}",
            *(str(one[name]) for name in ("kept", "cycles", "read_bytes", "written_bytes")),
        )
    Console().print(table)
    of = "the machine with its bus" if backend == "rtl" else "the core, every operand in time"
    typer.echo(f"cycles of {of}" + ("" if save is None else f"; results: {save}"))
