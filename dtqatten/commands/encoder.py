"""``dtqatten encoder``: a sentence through an encoder whose attention runs on the RTL."""

import dataclasses
from typing import Annotated

import typer

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import (
    ConfigOption,
    JsonOption,
    PolicyOption,
    StartOption,
    fail,
    machine,
    needs,
    refuse,
)

__all__ = ["encoder"]

#: Policy searched for the model and task of the default.
SEARCHED = "minilm-stsb"

TEXT = (
    "The old lighthouse keeper counted the ships that passed before dawn, and wrote their names "
    "in a book that nobody else would ever read."
)


def encoder(
    text: Annotated[str, typer.Option(help="What to embed.")] = TEXT,
    model: Annotated[
        str, typer.Option(help="Encoder of the BERT family: hub id, folder or `minilm`.")
    ] = "minilm",
    policy: PolicyOption = None,
    preset: StartOption = None,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run every attention of an encoder on the simulated machine, the rest in PyTorch.

    Without --policy it is the one searched on STS-B, without --preset and --config the machine is
    that of preset tiny.
    """
    with needs("algorithm", "sim"):
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.table import Table

        from dtqatten.algorithm.models import load
        from dtqatten.algorithm.packaged import find_policy
        from dtqatten.algorithm.tasks.embedding import encoded, padded
        from dtqatten.sim.machine.axi import simulated_device
        from dtqatten.sim.machine.encoder import config_for, run_encoder
    described = machine(preset, file, usual="tiny")
    chosen = find_policy(policy or SEARCHED)
    loaded = load(model, causal=False)
    config = loaded.model.config
    core = config_for(described.config, chosen).replace(
        d_head=config.hidden_size // config.num_attention_heads,
        heads=max(described.config.heads, config.num_attention_heads),
    )
    system = described.system(core)
    batch = padded(loaded, encoded(loaded, [text], config.max_position_embeddings))
    tokens = batch["input_ids"].shape[1]
    if tokens > core.n_max:
        raise refuse(
            f"{tokens} tokens, more than the {core.n_max} of {described.name}: shorten the text"
        )
    say(system)
    device = simulated_device(system, timeout=4_000_000)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with progress(*columns) as bar:
        task = bar.add_task("layers on the machine", total=loaded.layers)
        run = run_encoder(loaded.model, chosen, device, batch, lambda _: bar.advance(task))
    table = Table("layer", "tokens", "in 4 bits", "cycles", "bytes read", "bytes written")
    for number, layer in enumerate(run.layers):
        shown = (layer.tokens, layer.four_bit, layer.cycles, layer.bytes_read, layer.bytes_written)
        table.add_row(str(number), *map(str, shown))
    show(
        f'{loaded.name}, {tokens} tokens: "{text}"',
        table,
        f"embedding equal to the golden algorithm's, bit by bit: {run.equal}",
        f"cosine to the encoder in float: {run.cosine:.5f}",
    )
    if as_json:
        layers = [dataclasses.asdict(layer) for layer in run.layers]
        print_json({"layers": layers, "equal": run.equal, "cosine": run.cosine})
    if not run.equal:
        raise fail("the machine's embedding differs from the golden algorithm's")
