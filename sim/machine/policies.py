"""Policies on the machine: which build runs each, and whether it is exact on a text."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.tasks.catalogue import TASKS
from dtqatten.algorithm.tasks.embedding import encoded, padded
from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.errors import UsageError
from dtqatten.sim.machine.axi import simulated_device
from dtqatten.sim.machine.decoder import (
    decoder_config,
    decoder_refusals,
    has_sinks,
    memory_of,
    run_decoder,
)
from dtqatten.sim.machine.encoder import config_for, refusals, run_encoder

__all__ = ["PolicyRun", "build_of", "causal", "run_policy", "unsupported"]


@dataclass(frozen=True)
class PolicyRun:
    """A text under a policy, on the machine and on the golden model.

    Parameters
    ----------
    tokens, new : int
        Of the text; generated ones.
    exact : bool
        Embedding, or tokens and logits, are the golden algorithm's in every bit.
    cycles, bytes_read, bytes_written : int
        Of all layers, by the machine's own counters.
    """

    tokens: int
    new: int
    exact: bool
    cycles: int
    bytes_read: int
    bytes_written: int


def causal(policy: Policy) -> bool:
    """Whether a policy is for a decoder, by its task.

    Raises
    ------
    UsageError
        If the task is not known.
    """
    if policy.task not in TASKS:
        raise UsageError(f"the policy is for task {policy.task!r}: choose of {', '.join(TASKS)}")
    return TASKS[policy.task].causal


def unsupported(policy: Policy) -> list[str]:
    """Return what of a policy the machine does not do; nothing if it runs."""
    return decoder_refusals(policy) if causal(policy) else refusals(policy)


def build_of(config: Config, policy: Policy, loaded: Loaded, tokens: int) -> Config:
    """Return a configuration with what a policy and its model need.

    Parameters
    ----------
    config : Config
        What it is made from.
    policy : Policy
    loaded : Loaded
        The model.
    tokens : int
        Of the text and of what is generated.

    Raises
    ------
    PolicyError
        If the machine cannot do what the policy asks for.
    """
    model = loaded.model.config
    if loaded.causal:
        sinks = has_sinks(loaded.model)
        return decoder_config(config, policy, model, tokens, sinks=sinks)
    heads = model.num_attention_heads
    return config_for(config, policy).replace(
        d_head=model.hidden_size // heads,
        heads=max(config.heads, heads),
        n_max=max(config.n_max, tokens),
    )


def run_policy(
    loaded: Loaded,
    policy: Policy,
    config: Config,
    text: str,
    new: int,
    tell: Callable[[object], object] = lambda _: None,
) -> PolicyRun:
    """Run a text through a model whose every attention is on the simulated machine.

    Parameters
    ----------
    loaded : Loaded
    policy : Policy
    config : Config
        What the machine is made from.
    text : str
        To embed, or to go on from.
    new : int
        Tokens that a decoder generates.
    tell : callable
        Called after each layer.

    Raises
    ------
    PolicyError
        If the machine cannot do what the policy asks for.
    AssertionError
        If the machine keeps other tokens than the policy.
    """
    if not loaded.causal:
        batch = padded(loaded, encoded(loaded, [text], loaded.model.config.max_position_embeddings))
        tokens = batch["input_ids"].shape[1]
        core = build_of(config, policy, loaded, tokens)
        device = simulated_device(SystemConfig(core=core), timeout=4_000_000)
        embedded = run_encoder(loaded.model, policy, device, batch, tell)
        return PolicyRun(tokens, 0, embedded.equal, *_sums(embedded.layers))
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    tokens = ids.shape[1] + new
    core = build_of(config, policy, loaded, tokens)
    size = memory_of(core, loaded.model.config, tokens)
    device = simulated_device(SystemConfig(core=core), size=size, timeout=20_000_000)
    generated = run_decoder(
        loaded.model,
        policy,
        device,
        core,
        ids,
        new,
        special_ids=loaded.special_ids,
        tell=tell,
    )
    return PolicyRun(ids.shape[1], new, generated.equal, *_sums(generated.steps))


def _sums(runs: list) -> tuple[int, int, int]:
    """Return cycles, bytes read and bytes written of all layers or steps."""
    each = [dataclasses.asdict(run) for run in runs]
    cycles, read, written = (
        sum(run[name] for run in each) for name in ("cycles", "bytes_read", "bytes_written")
    )
    return cycles, read, written
