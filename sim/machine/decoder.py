"""A decoder that generates with every attention on the simulated machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.runtime import attached, calibrated
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.configuration.core import Config
from dtqatten.driver.device import Device
from dtqatten.golden.numerics.codes import Granularity
from dtqatten.golden.numerics.local_values import Arrays
from dtqatten.sim.machine.decoder_blocks import CachedBlocks, StepRun, TiledBlocks
from dtqatten.sim.machine.refusals import refuse, refuse_weights

__all__ = [
    "DecoderRun",
    "decoder_config",
    "decoder_refusals",
    "has_sinks",
    "memory_of",
    "run_decoder",
]


def decoder_refusals(policy: Policy) -> list[str]:
    """Return what of a policy the machine does not do with a decoder; nothing if it runs."""
    return [
        what
        for what, wanted in (
            ("has layers without some heads", any(layer.heads < 1 for layer in policy.layers)),
            (
                "lets pruned tokens be seen by their neighbours (recent)",
                policy.recent
                and not policy.prune_queries
                and any(x.share_0 for x in policy.layers),
            ),
        )
        if wanted
    ]


def has_sinks(model: Any) -> bool:
    """Whether a model's heads have sinks, as gpt-oss's do."""
    return any(name.endswith(".sinks") for name, _ in model.named_parameters())


def decoder_config(
    config: Config, policy: Policy, model: Any, tokens: int, *, sinks: bool = False
) -> Config:
    """Return a configuration that runs a model's attention on so many tokens under a policy.

    It has the heads and channels of the model, room for the tokens, and the options that model and
    policy need; query heads that share K and V are grouped, and masked tiles are skipped. V comes
    after the choice (``chosen_values``) exactly where the policy multiplies a part of it and the
    machine does not merge rows, whatever ``config`` says.

    Parameters
    ----------
    config : Config
        What it is made from.
    policy : Policy
    model : transformers.PretrainedConfig
        Of the decoder.
    tokens : int
        Of the prompt and of what is generated.
    sinks : bool
        Whether the model's heads have sinks (:func:`has_sinks`).

    Raises
    ------
    PolicyError
        If the machine cannot do what the policy asks for.
    ConfigError
        If no machine is that large.
    """
    refuse(decoder_refusals(policy))
    refuse_weights(config, policy)
    heads = model.num_attention_heads
    shared = getattr(model, "num_key_value_heads", heads)
    if policy.progressive and heads // shared > config.rows:
        raise PolicyError(
            f"{heads // shared} query heads share a head of K and V, more than the {config.rows} "
            "rows of a row block, which progressive layers try as one: take more rows"
        )
    d_head = getattr(model, "head_dim", None) or model.hidden_size // heads
    n_max = max(config.n_max, tokens)
    local = any(layer.values < 1 for layer in policy.layers)
    return config.replace(
        d_head=d_head,
        heads=max(config.heads, heads),
        n_max=n_max,
        capacity=max(config.positions, n_max),
        planes=policy.p_planes,
        unsigned_weights=policy.unsigned_weights,
        block_exponents=policy.block_exponents,
        signed_gains=policy.signed_gains,
        v_gains=policy.granularity is Granularity.TOKEN,
        grouped=shared < heads,
        bias_heads=heads // shared if policy.center_queries else 0,
        skip_tiles=True,
        local_values=local,
        chosen_values=local and not config.merge_rows,
        sinks=config.sinks or sinks,
        progressive=policy.progressive,
        windows=config.windows or getattr(model, "sliding_window", None) is not None,
    )


def memory_of(config: Config, model: Any, tokens: int) -> int:
    """Bytes of memory, a power of two, for caches of so many tokens and what else a model needs.

    Parameters
    ----------
    config : Config
        Of :func:`decoder_config`.
    model : transformers.PretrainedConfig
    tokens : int
        Of each cache.
    """
    heads = getattr(model, "num_key_value_heads", None) or model.num_attention_heads
    # Codes, and gains at most, of K and V, and biases of keys; a call has queries and results of
    # n_max rows a head.
    of_key = heads * (config.d_head + 1) + bool(config.bias_heads) * model.num_attention_heads
    caches = 2 * model.num_hidden_layers * tokens * of_key
    call = 4 * config.heads * config.n_max * config.d_head
    return 1 << max(22, (2 * caches + 4 * call).bit_length())


@dataclass(frozen=True, eq=False)
class DecoderRun:
    """What a decoder generates, computed in three ways.

    Parameters
    ----------
    machine, golden, floating : sequence of int
        Tokens behind the prompt: attention on the machine, on the golden block, and without any
        quantization or pruning.
    same_logits : bool
        Whether the machine's logits are those of the golden block, in every bit.
    steps : list of StepRun
    """

    machine: Sequence[int]
    golden: Sequence[int]
    floating: Sequence[int]
    same_logits: bool
    steps: list[StepRun]

    @property
    def equal(self) -> bool:
        """Whether tokens and logits of the machine are those of the golden algorithm."""
        return self.machine == self.golden and self.same_logits


def run_decoder(
    model: Any,
    policy: Policy,
    device: Device,
    config: Config,
    ids: Tensor,
    new: int,
    *,
    special_ids: Sequence[int] = (),
    tell: Callable[[StepRun], object] = lambda _: None,
) -> DecoderRun:
    """Generate tokens, the most probable one each time, with attention on the machine.

    A policy that smooths or centers is calibrated on the prompt.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Decoder with a language-model head.
    policy : Policy
    device : Device
        On a machine of :func:`decoder_config`.
    config : Config
        Of that machine.
    ids : int tensor ``[1, n]``
        The prompt.
    new : int
        Most tokens to generate.
    special_ids : sequence of int
        Special tokens, for policies that protect them.
    tell : callable
        Called after each layer with the pass so far.

    Raises
    ------
    LayoutError
        If the text or the model is too large for the machine.
    UsageError
        If the model has a mask that the machine has not.
    """

    def generated(**options: Any) -> tuple[list[int], tuple[Tensor, ...]]:
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
            **options,
        )
        return made.sequences[0, ids.shape[1] :].tolist(), made.logits

    floating, _ = generated()
    blocks = CachedBlocks(device, policy, ids.shape[1] + new, tell)
    found = []
    options: dict[str, Any] = {
        "special_ids": special_ids,
        "arrays": Arrays.of(config),
        "calibration": calibrated(model, policy, {"input_ids": ids}),
    }
    for compute in (TiledBlocks(config), blocks):
        with attached(model, policy, Mode.INTEGER, **options) as session:
            session.compute = compute
            found.append(generated(past_key_values=session.cache()))
    (golden, wanted), (machine, logits) = found
    same = len(wanted) == len(logits) and all(map(torch.equal, wanted, logits))
    return DecoderRun(machine, golden, floating, same, blocks.steps)
