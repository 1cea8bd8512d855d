"""How a block is computed: on integers, as if on integers, or in floating point."""

import dataclasses
import enum
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dtqatten.algorithm.block.fake_quant import fake_quant
from dtqatten.algorithm.block.integer import integer
from dtqatten.algorithm.block.key_bias import bias_codes, bias_nats
from dtqatten.algorithm.block.operands import BASE_ARRAYS, Operands, Result
from dtqatten.algorithm.block.quantized import Quantized, Rule, quantize, quantize_exactly
from dtqatten.algorithm.block.rounding import straight
from dtqatten.algorithm.block.steps import plain
from dtqatten.algorithm.block.terms import NO_TERMS, Terms
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.session.cache import CacheLayer
from dtqatten.golden.numerics.codes import Granularity
from dtqatten.golden.numerics.local_values import SHARE_ALL, Arrays
from dtqatten.golden.numerics.softmax import KEYS_MAX

__all__ = ["Block", "Machine", "Mode", "compute"]


class Mode(enum.StrEnum):
    """How a block is computed."""

    #: The golden block, bit for bit.
    INTEGER = "integer"
    #: The same steps in PyTorch: fast, batched, differentiable.
    FAKE_QUANT = "fake-quant"
    #: The same tokens in floating point.
    FLOAT = "float"


@dataclass(frozen=True, eq=False)
class Block:
    """What a layer's attention is asked for.

    Parameters
    ----------
    layer : int
    q, k, v : tensor ``[batch, heads, n, d]``
        Of the new tokens, conditioned; K and V may have fewer heads.
    q_bits, k_bits : tensor ``[batch, n_q]``, ``[batch, n_k]``
        Precisions, 0 where a token is pruned or padding.
    valid : bool tensor ``[batch, n_k]``
        Keys that are no padding.
    visible : bool tensor ``[batch, 1, n_q or 1, n_k]``, optional
        Which keys a query sees; None is all.
    counted : bool tensor ``[batch, n_q]``
        Queries that count for importance and costs.
    scaling : float
        Factor of the scores.
    real : bool tensor ``[batch, n_q]``
        Queries that are no padding.
    terms : Terms
        What else is done to the scores.
    key_bias : tensor ``[batch, heads, n]``, optional
        Biases of the new keys, in nats.
    listed : int tensor ``[batch, n]``, optional
        As of :class:`~dtqatten.algorithm.block.operands.Operands`.
    """

    layer: int
    q: Tensor
    k: Tensor
    v: Tensor
    q_bits: Tensor
    k_bits: Tensor
    valid: Tensor
    visible: Tensor | None
    counted: Tensor
    scaling: float
    real: Tensor
    terms: Terms = NO_TERMS
    key_bias: Tensor | None = None
    listed: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Machine:
    """What a block is computed on.

    Parameters
    ----------
    instead : callable, optional
        Called with layer and operands in place of the golden block, in mode ``integer``.
    arrays : Arrays
        Of the machine.
    heads : bool tensor ``[batch, heads]``, optional
        Heads whose results are used; None is all.
    probe : callable, optional
        Called with layer, operands and result of a block in mode ``fake-quant``.
    """

    instead: Callable[[int, Operands], Result] | None = None
    arrays: Arrays = BASE_ARRAYS
    heads: Tensor | None = None
    probe: Callable[[int, Operands, Result], object] | None = None


def compute(
    block: Block,
    policy: Policy,
    mode: Mode,
    held: CacheLayer | None,
    *,
    ranked: bool,
    machine: Machine,
) -> Result:
    """Compute a block.

    Parameters
    ----------
    block : Block
    policy : Policy
    mode : Mode
    held : CacheLayer, optional
        Codes of the tokens before, which the new ones join.
    ranked : bool
        Whether importance is wanted.
    machine : Machine

    Raises
    ------
    ValueError
        If the mode has no cache, or nothing that can be replaced.
    PolicyError
        If the policy's rule is not one of such scores.
    """
    _refuse_terms(block, policy)
    _refuse_long_rows(block, policy)
    if mode is Mode.FLOAT:
        if held is not None:
            raise ValueError("mode float has no cache of codes: use fake-quant or integer")
        queries = block.counted.to(block.q.dtype)
        terms = dataclasses.replace(block.terms, key_bias=block.key_bias)
        return plain(block.q, block.k, block.v, block.visible, block.scaling, queries, terms)
    exact = mode is Mode.INTEGER
    if machine.instead is not None and not exact:
        raise ValueError(
            f"session.compute is set in mode {mode}: it takes the golden block's place, "
            "attach in mode integer"
        )
    op = dataclasses.replace(
        _operands(block, policy, exact, held), arrays=machine.arrays, heads=machine.heads
    )
    if machine.instead is not None:
        return machine.instead(block.layer, op)
    if exact:
        return integer(op)
    result = fake_quant(op, ranked=ranked)
    if machine.probe is not None:
        machine.probe(block.layer, op, result)
    return result


def _operands(block: Block, policy: Policy, exact: bool, held: CacheLayer | None) -> Operands:
    """Quantize a block's Q, K and V, and put what the cache holds before K and V.

    Parameters
    ----------
    block : Block
    policy : Policy
    exact : bool
        Quantize with the golden model.
    held : CacheLayer, optional
        Codes of the tokens before, which the new ones join.
    """
    rules = policy.layers[block.layer]
    make = quantize_exactly if exact else quantize
    gains = policy.gains if policy.granularity is Granularity.TOKEN else None
    new = slice(block.k_bits.shape[1] - block.k.shape[2], None)
    # Rows are tried with their queries in 8 bits: these are few, and the verdict is theirs.
    q_bits = block.q_bits.clamp_min(4 if rules.threshold is None else 8)
    q = make(block.q, _kept(block.q_bits), Rule(gains, q_bits))
    rule = Rule(gains, block.k_bits[:, new])
    if held is None:
        keep = _kept(block.k_bits[:, new])
        k, v = make(block.k, keep, rule), make(block.v, keep, rule.of_values)
    else:
        codes = held.join(block.k, block.v, make, block.valid[:, new], rule)
        k, v = (_working(x, block.q, exact) for x in codes)
    terms = block.terms
    if block.key_bias is not None:
        terms = dataclasses.replace(terms, key_bias=_biases(block.key_bias, block, held))
    return Operands(
        q=q,
        k=k,
        v=v,
        q_bits=q_bits,
        k_bits=block.k_bits.clamp_min(4),
        v_bits=block.k_bits.clamp_min(4),
        visible=block.visible,
        scaling=block.scaling,
        queries=block.counted.to(block.q.dtype),
        listed=block.listed,
        p_planes=policy.p_planes,
        unsigned_weights=policy.unsigned_weights,
        block_exponents=policy.block_exponents,
        signed_gains=policy.signed_gains,
        p_follows_token=policy.p_follows_token,
        p_follows_query=policy.p_follows_query,
        value_share=rules.value_share,
        threshold=rules.threshold,
        terms=terms,
    )


def _biases(new: Tensor, block: Block, held: CacheLayer | None) -> Tensor:
    """Round biases of a block's new keys to 16 bits; return those of all, in nats."""
    codes = bias_codes(new, block.layer)
    if held is None:
        return straight(new, bias_nats(codes, new.dtype))
    return bias_nats(held.join_bias(codes), new.dtype)


def _refuse_terms(block: Block, policy: Policy) -> None:
    """Refuse a policy whose rules are of plain scores where a model's are not."""
    found = block.terms.named()
    if found and policy.layers[block.layer].threshold is not None:
        raise PolicyError(
            f"layer {block.layer} is progressive, which is not defined for {found[0]}: set its "
            "threshold to null"
        )
    if policy.center and (block.terms.sinks is not None or block.terms.softcap is not None):
        raise PolicyError(
            f"the policy centers K and V, which changes results under {found[0]} (layer "
            f"{block.layer}): set center to false"
        )
    if policy.center_queries and (block.terms.bias is not None or block.terms.softcap is not None):
        raise PolicyError(
            f"the policy centers Q, whose means are biases of keys, which is not defined for "
            f"{found[0]} (layer {block.layer}): set center_queries to false"
        )


def _refuse_long_rows(block: Block, policy: Policy) -> None:
    """Refuse rules that need a whole row at once where rows are cut into segments."""
    rules, keys = policy.layers[block.layer], block.k_bits.shape[1]
    if keys <= KEYS_MAX:
        return
    for name, on, off in (
        ("values", rules.value_share < SHARE_ALL, "1"),
        ("threshold", rules.threshold is not None, "null"),
    ):
        if on:
            raise PolicyError(
                f"layer {block.layer} has {name}, and {keys} keys, more than {KEYS_MAX} of a row "
                f"that is computed at once: set {name} to {off}, or shorten the text"
            )


def _kept(bits: Tensor) -> Tensor | None:
    """Return tokens of any bits, None where these are all."""
    kept = bits > 0
    return None if bool(kept.all()) else kept


def _working(x: Quantized, like: Tensor, exact: bool) -> Quantized:
    """Codes of a cache as numbers to compute with."""
    kind = torch.float32 if exact else like.dtype
    return Quantized(x.codes.to(kind), x.scale, None if x.gains is None else x.gains.to(kind))
