"""Bytes that decode steps read: each query reads its keys, and V of the groups that it chose."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dtqatten.algorithm.block.operands import Result
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.session.blocks import Block
from dtqatten.golden.numerics.codes import Granularity
from dtqatten.golden.numerics.local_values import Arrays
from dtqatten.interface.descriptor import BIAS_BYTES

__all__ = ["StepBytes", "step_bytes"]


@dataclass(frozen=True)
class StepBytes:
    """What a block's queries read, each in a step of its own.

    Parameters
    ----------
    total : float
        Bytes of Q, K, V, gains and biases.
    tried, flat : float
        Keys of the heads of K whose low planes wait for a verdict; those whose low planes are read.
    """

    total: float
    tried: float = 0.0
    flat: float = 0.0


def step_bytes(
    policy: Policy, block: Block, result: Result, living: Tensor, arrays: Arrays
) -> StepBytes:
    """Return the bytes of decode steps, one for each query that counts.

    K is read in the bits of its tokens; of a progressive layer in 4, and in 8 of heads with a row
    that is computed again. V is read of the groups that are multiplied, where the query heads that
    share it are one row block, as a machine with ``chosen_values`` reads it; else whole. Gains of
    both and biases of keys are read of all keys.

    Parameters
    ----------
    policy : Policy
    block : Block
    result : Result
    living : bool tensor ``[batch, heads]``
        Heads that are computed.
    arrays : Arrays
        Of the machine, with ``stepwise``.
    """
    heads, n_q, d = block.q.shape[1:]
    kv_heads = block.k.shape[1]
    group = heads // kv_heads
    shared = living.unflatten(1, (kv_heads, -1)).any(-1).double()
    counted, bits = block.counted.double(), block.k_bits.double()
    visible = torch.ones(()) if block.visible is None else block.visible[:, 0]
    reads = visible.expand(len(bits), n_q, bits.shape[1]).double() * counted[..., None]
    kept = (bits > 0).double()
    # Keys that each query reads, and their bits in V.
    keys = (reads @ kept[..., None])[..., 0]
    wide = (reads @ bits[..., None])[..., 0]
    of_heads = shared.sum(1)
    whole = float((wide.sum(1) * of_heads).sum())
    k_bits, tried, flat = whole, 0.0, 0.0
    if result.again is not None:
        again = result.again & living[..., None]
        low = again.unflatten(1, (kv_heads, -1)).any(2).double()
        tried = float((keys.sum(1) * of_heads).sum())
        flat = float((low * keys[:, None]).sum())
        k_bits = 4 * (tried + flat)
    v_bits = whole
    one_block = group <= arrays.rows and (arrays.grouped or group == 1)
    if result.multiplied is not None and one_block:
        rows = result.multiplied.sum(2).unflatten(1, (kv_heads, group)).amax(2)
        v_bits = float((rows * shared[..., None] * bits[:, None]).sum())
    q_bits = float((block.q_bits.double() * counted).sum(1) @ living.double().sum(1))
    if result.again is not None:
        q_bits = float(8 * counted.sum(1) @ living.double().sum(1))
    total = (q_bits + k_bits + v_bits) * d / 8
    if policy.granularity is Granularity.TOKEN:
        total += 2 * float((keys.sum(1) * of_heads).sum())
        total += float(counted.sum(1) @ living.double().sum(1))
    if block.key_bias is not None:
        total += BIAS_BYTES * float(keys.sum(1) @ living.double().sum(1))
    return StepBytes(total, tried, flat)
