"""``dtqatten run``: attention of arrays from a file, or of a real model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import (
    ConfigOption,
    JsonOption,
    PolicyOption,
    SharesOption,
    StartOption,
    fail,
    needs,
    refuse,
    reject_unused,
    shares_of,
    target_of,
)
from dtqatten.commands.paths import output_file
from dtqatten.commands.run_model import run_model
from dtqatten.configuration.system import SystemConfig

if TYPE_CHECKING:
    from rich.table import Table

    from dtqatten.api.attention import Attention

__all__ = ["CausalOption", "SaveOption", "arrays_of", "figures", "run", "table_of"]

CausalOption = Annotated[
    bool, typer.Option("--causal", help="A token sees itself and those before it.")
]
SaveOption = Annotated[
    Path | None, output_file("An .npz for output, ids, bits, importance.", "--save")
]


def run(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Without --model: an .npz with arrays q, k, v: [heads, tokens, d], or [layers, "
            "heads, tokens, d]; bits (0, 4, 8 a token) if the first layer mixes precisions.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="A model in place of arrays: hub id, folder, GGUF file, `minilm`, `smollm2` or "
            "`gemma3`."
        ),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="With --model: text to embed, or to go on from.")
    ] = None,
    generate: Annotated[
        int | None,
        typer.Option(
            min=1, help="With --model: a decoder generates so many tokens; else it is an encoder."
        ),
    ] = None,
    policy: PolicyOption = None,
    preset: StartOption = None,
    config: ConfigOption = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="golden: the models, the usual one; rtl: the machine's Verilog, simulated."
        ),
    ] = None,
    shares: SharesOption = None,
    causal: CausalOption = False,
    save: SaveOption = None,
    waves: Annotated[
        Path | None, output_file("rtl: FST file to write, every signal.", "--waves")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compute layers of attention, each of which keeps tokens for the next one; or run a model.

    With --model every attention of a real model runs on the simulated machine, the rest in PyTorch,
    and the result is compared with the golden algorithm's. Without --preset and --config the
    machine is that of preset base, for a model of preset tiny with the model's sizes; without
    --policy an encoder has the one searched on STS-B, a decoder all tokens in 8 bits.

    A model's machine, which is printed, has the sizes and options that model and policy need, in
    place of its own. That of a decoder of which a policy multiplies a part of V has chosen_values,
    unless it has merge_rows.
    """
    arrays = {
        "FILE": file, "--backend": backend, "--shares": shares, "--causal": causal,
        "--save": save, "--waves": waves,
    }  # fmt: skip
    if model is not None:
        reject_unused(arrays, "is for arrays, not for --model")
        run_model(model, prompt, generate, policy, preset, config, as_json=as_json)
        return
    options = {"--prompt": prompt, "--generate": generate, "--policy": policy}
    reject_unused(options, "is for --model")
    if file is None:
        raise refuse("there is nothing to run: give a FILE of arrays, or --model")
    _run_arrays(
        file,
        target_of(preset, config),
        backend=backend or "golden",
        shares=shares,
        causal=causal,
        save=save,
        waves=waves,
        as_json=as_json,
    )


def _run_arrays(
    file: Path,
    target: str | SystemConfig,
    *,
    backend: str,
    shares: str | None,
    causal: bool,
    save: Path | None,
    waves: Path | None,
    as_json: bool,
) -> None:
    """Compute layers of attention of arrays.

    Parameters
    ----------
    file : Path
    target : str or SystemConfig
        The machine.
    backend, shares, causal, save, waves, as_json
        As of :func:`run`.
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
                preset=target,
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
