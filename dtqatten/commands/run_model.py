"""``dtqatten run --model``: a real model whose attention runs on the simulated machine."""

import dataclasses
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import Machine, fail, machine, needs, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dtqatten.algorithm.models import Loaded
    from dtqatten.algorithm.policy import Policy

__all__ = ["counted", "run_model"]

#: Policy searched for the default encoder and its task.
SEARCHED = "minilm-stsb"

EMBEDDED = (
    "The old lighthouse keeper counted the ships that passed before dawn, and wrote their names "
    "in a book that nobody else would ever read."
)
#: 64 tokens of SmolLM2.
CONTINUED = (
    "The history of computing is a story of machines that grew smaller and faster every year. The "
    "first electronic computers filled whole rooms and were programmed with switches and cables. "
    "Later, transistors took the place of tubes, and integrated circuits put thousands of them on "
    "a single piece of silicon. By the end of the century, a computer"
)


def run_model(
    name: str,
    prompt: str | None,
    generate: int | None,
    policy: str | None,
    preset: str | None,
    file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Run every attention of a model on the simulated machine, the rest in PyTorch.

    Parameters
    ----------
    name : str
        Hub id, folder, or a name of :data:`dtqatten.algorithm.models.NAMES`.
    prompt : str or None
        Text to embed, or to go on from.
    generate : int or None
        Tokens to generate; None embeds the text with an encoder.
    policy : str or None
        File or packaged name. None: that searched on STS-B for an encoder, all tokens in 8 bits
        with a gain each for a decoder.
    preset : str or None
    file : Path or None
        The machine, by default of preset tiny; the model's heads and channels are put in its place.
    as_json : bool
        Print results as JSON, too.
    """
    with needs("algorithm", "sim"):
        # What is not installed is told before anything is loaded.
        import torch  # noqa: F401

        from dtqatten.algorithm.models import load
        from dtqatten.algorithm.packaged import find_policy
        from dtqatten.sim.machine import axi  # noqa: F401
    described = machine(preset, file, usual="tiny")
    if generate is None:
        searched = find_policy(policy or SEARCHED)
        text = EMBEDDED if prompt is None else prompt
        _embed(load(name, causal=False), described, text, searched, as_json)
    else:
        chosen = None if policy is None else find_policy(policy)
        text = CONTINUED if prompt is None else prompt
        _generate(load(name, causal=True), described, text, generate, chosen, as_json)


@contextmanager
def counted(total: int, what: str) -> "Iterator[Callable[[object], None]]":
    """Show how many of ``total`` layers have run; yield what is called after each."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with progress(*columns, TimeElapsedColumn()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda _: bar.advance(task)


def _embed(
    loaded: "Loaded", described: Machine, text: str, chosen: "Policy", as_json: bool
) -> None:
    """Embed a text with an encoder.

    Parameters
    ----------
    loaded : Loaded
    described : Machine
    text : str
    chosen : Policy
    as_json : bool
    """
    with needs("algorithm", "sim"):
        from rich.table import Table

        from dtqatten.algorithm.tasks.embedding import encoded, padded
        from dtqatten.sim.machine.axi import simulated_device
        from dtqatten.sim.machine.encoder import run_encoder
        from dtqatten.sim.machine.policies import build_of
    batch = padded(loaded, encoded(loaded, [text], loaded.model.config.max_position_embeddings))
    tokens, most = batch["input_ids"].shape[1], described.config.n_max
    if tokens > most:
        raise refuse(f"{tokens} tokens, more than the {most} of {described.name}: shorten the text")
    system = described.system(build_of(described.config, chosen, loaded, tokens))
    say(system)
    device = simulated_device(system, timeout=4_000_000)
    with counted(loaded.layers, "layers on the machine") as tell:
        run = run_encoder(loaded.model, chosen, device, batch, tell)
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


def _generate(
    loaded: "Loaded",
    described: Machine,
    text: str,
    new: int,
    policy: "Policy | None",
    as_json: bool,
) -> None:
    """Generate what follows a text with a decoder.

    Parameters
    ----------
    loaded : Loaded
    described : Machine
    text : str
    new : int
        Tokens.
    policy : Policy or None
        None: all tokens in 8 bits, a gain each.
    as_json : bool
    """
    with needs("algorithm", "sim"):
        from rich.table import Table

        from dtqatten.algorithm.policy import Policy
        from dtqatten.sim.machine.axi import simulated_device
        from dtqatten.sim.machine.decoder import (
            decoder_config,
            has_sinks,
            memory_of,
            run_decoder,
        )
    chosen = policy or Policy.flat(loaded.layers, granularity="token", prune_queries=False)
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    prompt = ids.shape[1]
    if not prompt:
        raise refuse("--prompt is no token: give it a word at least")
    sinks = has_sinks(loaded.model)
    core = decoder_config(described.config, chosen, loaded.model.config, prompt + new, sinks=sinks)
    system = described.system(core)
    say(system)
    size = memory_of(core, loaded.model.config, prompt + new)
    device = simulated_device(system, size=size, timeout=20_000_000)
    with counted(loaded.layers * new, "layers on the machine") as tell:
        run = run_decoder(
            loaded.model,
            chosen,
            device,
            core,
            ids,
            new,
            special_ids=loaded.special_ids,
            tell=tell,
        )
    table = Table(
        *("step", "tokens", "new", "keys in 4 bits", "cycles", "bytes read", "bytes written"),
    )
    for number, step in enumerate(run.steps):
        four = f"{step.four_bit / step.keys:.0%}"
        counts = (step.cycles, step.bytes_read, step.bytes_written)
        table.add_row(*map(str, (number, step.tokens, step.new, four, *counts)))
    made: Any = loaded.tokenizer.decode(run.machine)
    same = sum(a == b for a, b in zip(run.machine, run.floating, strict=False))
    show(
        f'{loaded.name}, {loaded.layers} layers, {prompt} tokens: "{text}"',
        f"generates {made!r}",
        table,
        f"tokens and logits equal to the golden algorithm's, bit by bit: {run.equal}",
        f"tokens as in float: {same} of {len(run.floating)}",
    )
    if as_json:
        steps = [dataclasses.asdict(step) for step in run.steps]
        print_json(
            {"steps": steps, "tokens": run.machine, "float": run.floating, "equal": run.equal}
        )
    if not run.equal:
        raise fail("the machine's tokens differ from the golden algorithm's")
