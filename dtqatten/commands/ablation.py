"""``dtqatten ablation``: what each feature of a policy saves on a machine."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.algorithm.packaged import find_policy
from dtqatten.commands.algorithm import Stage, StageOption
from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import (
    ConfigOption,
    JsonOption,
    PolicyOption,
    StartOption,
    TokensOption,
    machine,
)
from dtqatten.commands.paths import output_file
from dtqatten.files.errors import UsageError
from dtqatten.files.whole import write_text

__all__ = ["ablation"]


def ablation(
    policy: PolicyOption = None,
    model: Annotated[
        str | None, typer.Option(help="Shape: bert-base and others, a folder; the policy's model.")
    ] = None,
    tokens: TokensOption = 384,
    stage: StageOption = Stage.PREFILL,
    preset: StartOption = None,
    file: ConfigOption = None,
    output: Annotated[Path, output_file("JSON to write.")] = Path("build/ablation.json"),
    as_json: JsonOption = False,
) -> None:
    """Print what each feature of a policy saves: alone, left out, and all together.

    Features are fewer bits, cascade pruning of tokens and of heads, local V pruning, and in decode
    progressive keys. Of an encoder, cycles are
    those of the core of preset base, or of --preset or --config, by the cycle model; bytes those of
    Q, K, V and outputs; energy, where the power of the machine is known, that of core and DRAM. All
    are relative to attention in 8 bits, so that 2 x is half of it.

    With --stage decode they are those of a decoder's step on --tokens keys: cycles of the machine
    with its bus, in closed form; bytes of Q, K, V, gains and biases.
    """
    from rich.table import Table

    from dtqatten.model import ablation as model_ablation
    from dtqatten.model.measured import measured
    from dtqatten.model.shapes import shape_of

    on = machine(preset, file)
    name = policy or model_ablation.USUAL
    applied = find_policy(name)
    shape = model or applied.model
    if shape is None:
        raise UsageError(f"{name} does not say of which model it is: give --model")
    known = measured().get(on.start)
    power = None if known is None or on.name != on.start else known.power
    with progress() as bar:
        bar.add_task("cycle model", total=None)
        of = shape_of(shape)
        if stage is Stage.DECODE:
            rows = model_ablation.decode_ablation(applied, on.system(), of, tokens, power)
        else:
            rows = model_ablation.ablation(applied, on.config, of, tokens, power)
    table = Table(title=f"{name}, {shape}, {tokens} tokens, on {on.name}", title_justify="left")
    for head in ("features", "cycles", "bytes", "energy"):
        table.add_column(head, justify="left" if head == "features" else "right")
    for row in rows:
        saved = (row.cycles, row.bytes, row.energy)
        table.add_row(row.name, *("-" if each is None else f"{1 / each:.2f} x" for each in saved))
    content = {
        "policy": name,
        "model": shape,
        "tokens": tokens,
        "stage": stage.value,
        "machine": str(on.config),
        "rows": [
            {
                "name": row.name,
                "features": sorted(row.features),
                "cycles_ratio": row.cycles,
                "bytes_ratio": row.bytes,
                "energy_ratio": row.energy,
            }
            for row in rows
        ],
    }
    write_text(output, json.dumps(content, indent=2) + "\n")
    if as_json:
        print_json(content)
    by = "in closed form" if stage is Stage.DECODE else "by the cycle model"
    show(table, f"of attention in 8 bits; cycles {by}, energy modelled")
    say(output)
