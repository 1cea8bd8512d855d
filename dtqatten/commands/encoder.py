"""``dtqatten encoder``: a sentence through an encoder whose attention runs on the RTL."""

from pathlib import Path
from typing import Annotated

import typer

from dtqatten.commands.options import fail, needs, refuse
from dtqatten.configuration.core import PRESETS, configured

__all__ = ["encoder"]

TEXT = (
    "The old lighthouse keeper counted the ships that passed before dawn, and wrote their names "
    "in a book that nobody else would ever read."
)


def encoder(
    text: Annotated[str, typer.Option(help="What to embed.")] = TEXT,
    model: Annotated[
        str, typer.Option(help="Encoder of the BERT family: hub id, folder or `minilm`.")
    ] = "minilm",
    policy: Annotated[
        Path | None,
        typer.Option(help="Policy file; the one searched on STS-B if none.", dir_okay=False),
    ] = None,
    preset: Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")] = "tiny",
) -> None:
    """Run every attention of an encoder on the simulated machine, the rest in PyTorch."""
    with needs("algorithm"), needs("sim"):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Table

        from dtqatten.algorithm.models import load
        from dtqatten.algorithm.policy import Policy
        from dtqatten.algorithm.tasks.embedding import encoded, padded
        from dtqatten.sim.machine.axi import simulated_device
        from dtqatten.sim.machine.encoder import config_for, run_encoder
    from dtqatten.configuration.system import SystemConfig

    machine = configured(preset)
    chosen = Policy.load(policy or _searched())
    loaded = load(model, causal=False)
    config = loaded.model.config
    core = config_for(machine, chosen).replace(
        d_head=config.hidden_size // config.num_attention_heads,
        heads=max(machine.heads, config.num_attention_heads),
    )
    system = SystemConfig(core=core)
    batch = padded(loaded, encoded(loaded, [text], config.max_position_embeddings))
    tokens = batch["input_ids"].shape[1]
    if tokens > core.n_max:
        raise refuse(f"{tokens} tokens, more than the {core.n_max} of {preset}: shorten the text")
    typer.echo(f"compiling {system}")
    device = simulated_device(system, timeout=4_000_000)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("layers on the machine", total=loaded.layers)
        run = run_encoder(loaded.model, chosen, device, batch, lambda _: bar.advance(task))
    typer.echo(f'{loaded.name}, {tokens} tokens: "{text}"')
    table = Table("layer", "tokens", "in 4 bits", "cycles", "bytes read", "bytes written")
    for number, layer in enumerate(run.layers):
        shown = (layer.tokens, layer.four_bit, layer.cycles, layer.bytes_read, layer.bytes_written)
        table.add_row(str(number), *map(str, shown))
    Console().print(table)
    typer.echo(f"embedding equal to the golden algorithm's, bit by bit: {run.equal}")
    typer.echo(f"cosine to the encoder in float: {run.cosine:.5f}")
    if not run.equal:
        raise fail("the machine's embedding differs from the golden algorithm's")


def _searched() -> Path:
    from importlib import resources

    return Path(str(resources.files("dtqatten.algorithm"))) / "policies/minilm-stsb.json"
