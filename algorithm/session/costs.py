"""What a block costs: bit operations, bytes and tokens, added to a tally.

Bit operations are bits times bits of every pair that is computed in Q K^T and P V. Beside them
stand those that a format of numbers adds: a bit of an adder, or of a level of a shifter, is one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dtqatten.algorithm.block.operands import BASE_ARRAYS, Result
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.session.blocks import Block
from dtqatten.algorithm.session.step_bytes import step_bytes
from dtqatten.algorithm.session.tally import Tally
from dtqatten.golden.numerics.codes import Granularity
from dtqatten.golden.numerics.local_values import Arrays
from dtqatten.interface.descriptor import BIAS_BYTES

__all__ = ["Computed", "account"]

#: Bits of a key's bias, which is added to each of its scores.
BIAS_BITS = 16
#: Bits of a weight before it is rounded: an exponent's two levels of shifts, and the OR of a tile.
WEIGHT_BITS, EXPONENT_LEVELS = 24, 2


@dataclass(frozen=True, eq=False)
class Computed:
    """A block with what came of it.

    Parameters
    ----------
    block : Block
    result : Result
    bits : tensor ``[batch, n]``
        Precision of each token.
    seen : bool tensor ``[batch, 1, n_q or 1, n]``, optional
        What each query sees before anything is pruned; None is all.
    heads : bool tensor ``[batch, heads]``, optional
        Heads that are not pruned; None is all.
    depth : int
        Products that the value array sums before an exponent shifts them.
    """

    block: Block
    result: Result
    bits: Tensor
    seen: Tensor | None
    heads: Tensor | None
    depth: int = BASE_ARRAYS.depth


@torch.no_grad()
def account(tally: Tally, policy: Policy, done: Computed, arrays: Arrays) -> None:
    """Add a block to a tally.

    Bytes are those of all queries at once, or of a decode step each where ``arrays.stepwise``.
    """
    costs = _Costs(policy, done)
    costs.add(tally)
    if arrays.stepwise:
        steps = step_bytes(policy, done.block, done.result, costs.living, arrays)
        tally.bytes += steps.total
        tally.keys_tried += steps.tried
        tally.keys_flat += steps.flat
        tally.bytes_all += costs.all_step_bytes()
    else:
        tally.bytes += costs.bytes()
        tally.bytes_all += costs.all_bytes()


class _Costs:
    """Costs of a block.

    Where heads are alike they are counted for one head, times the share of heads that live.

    Parameters
    ----------
    policy : Policy
    done : Computed
    """

    def __init__(self, policy: Policy, done: Computed) -> None:
        self.policy, self.block, self.result = policy, done.block, done.result
        self.bits, self.seen, self.depth = done.bits, done.seen, done.depth
        block = done.block
        self.heads, self.n_q, self.d = block.q.shape[1:]
        self.kv_heads = block.k.shape[1]
        if done.heads is None:
            device = block.q.device
            self.living = torch.ones(block.q.shape[:2], dtype=torch.bool, device=device)
        else:
            self.living = done.heads
        # K and V are fetched once for all query heads that share them, if any of these lives.
        self.shared = self.living.unflatten(1, (self.kv_heads, -1)).any(-1)
        self.share = float(self.living.double().mean())
        self.rows = block.counted.double()
        self.narrow = self._narrow()
        self.key_bits = block.k_bits.double()
        self.pv, self.pv_narrow = self._pv_bits()
        #: Which queries see which keys, where they see different ones.
        self.sees: Tensor | None = None
        if block.visible is not None and block.visible.shape[-2] > 1:
            self.sees = block.visible[:, 0].double()
        elif block.visible is not None:
            self.key_bits = self.key_bits * block.visible[:, 0, 0]
            self.pv = self.pv * block.visible[:, 0, 0]
            self.pv_narrow = self.pv_narrow * block.visible[:, 0, 0]

    def _narrow(self) -> Tensor:
        """Queries whose weights of P are narrow: ``[batch, heads, n_q]`` where heads differ."""
        if not self.policy.p_follows_query:
            return torch.zeros_like(self.rows)[:, None]
        if self.result.again is not None:
            return torch.zeros_like(self.rows)[:, None]
        return self.rows[:, None] * (self.block.q_bits == 4)[:, None]

    def _pv_bits(self) -> tuple[Tensor, Tensor]:
        """Bits of a weight times those of V, by key: for wide queries, and for narrow ones."""
        bits = self.key_bits
        p_bits = torch.full_like(bits, 4.0 * self.policy.p_planes)
        if self.policy.p_follows_token:
            p_bits = torch.where(bits == 4, torch.full_like(bits, 4.0), p_bits)
        return p_bits * bits, 4.0 * bits

    def add(self, tally: Tally) -> None:
        """Add all to a tally."""
        block, result, policy = self.block, self.result, self.policy
        scores, combine = self._products()
        tokens = [float((block.valid & (self.bits == b)).sum()) for b in (0, 4, 8)]
        if (again := self._again()) is not None:
            scores, kept, twice = self._progressive(again)
            tokens = [tokens[0], kept - twice, twice]
            tally.rows += float(self.rows.sum()) * self.heads * self.share
            tally.rows_again += float(again.sum())
        if result.multiplied is not None:
            combine = self._multiplied(result.multiplied)
        pairs = float(self._pairs().sum())
        tally.bit_operations += float((scores + combine).sum()) * self.heads * self.share
        tally.overhead += float(self._overhead(combine).sum()) * self.heads * self.share
        tally.bit_operations_all += pairs * 128 * self.heads
        tried = 32 * (result.again is not None)
        tally.bit_operations_most += pairs * (64 + tried + 32 * policy.p_planes) * self.heads
        for i in range(3):
            tally.tokens[i] += tokens[i]

    def bytes(self) -> float:
        """Bytes of Q, K, V, gains and biases, each read once for all queries."""
        block = self.block
        q_bytes = float((block.q_bits * block.counted).sum()) * self.d / 8 * self.heads * self.share
        stored = (block.k_bits * block.valid)[:, None] * self.shared[..., None]
        k_bytes = v_bytes = float(stored.sum()) * self.d / 8
        if (again := self._again()) is not None:
            low = again.unflatten(1, (self.kv_heads, -1)).any(-1).any(-1)
            q_bytes = float(self.rows.sum()) * self.d * self.heads * self.share
            kept = (block.valid & (self.bits > 0)).double().sum(1)
            k_bytes = float((kept[:, None] * (self.shared.double() + low)).sum()) * self.d / 2
        return q_bytes + k_bytes + v_bytes + self._gain_bytes() + self._bias_bytes()

    def all_bytes(self) -> float:
        """Bytes of Q, K and V with all tokens in 8 bits."""
        real, valid = float(self._real().sum()), float(self.block.valid.sum())
        return (real * self.heads + 2 * valid * self.kv_heads) * self.d

    def all_step_bytes(self) -> float:
        """Bytes of Q, K and V with all tokens in 8 bits, if each query reads its keys."""
        real, pairs = float(self._real().sum()), float(self._pairs().sum())
        return (real * self.heads + 2 * pairs * self.kv_heads) * self.d

    def _again(self) -> Tensor | None:
        """Rows of a progressive layer that are computed again, ``[batch, heads, n_q]``."""
        if self.result.again is None:
            return None
        return self.result.again & self.block.counted[:, None, :].bool() & self.living[..., None]

    def _real(self) -> Tensor:
        """Queries that are no padding."""
        return self.block.real.double()

    def _pairs(self) -> Tensor:
        """Pairs of query and key of each sequence before anything is pruned."""
        real, seen = self._real(), self.seen
        if seen is None or seen.shape[-2] == 1:
            return real.sum(1) * (self.block.valid if seen is None else seen[:, 0, 0]).sum(1)
        return (seen[:, 0] * real[:, :, None]).sum((1, 2))

    def _products(self) -> tuple[Tensor, Tensor]:
        """Bit operations of both products of each sequence."""
        q_bits = self.block.q_bits.double() * self.rows
        narrow = self.narrow[:, 0]
        if self.narrow.shape[1] > 1:
            narrow = (self.narrow * self.living[..., None]).sum(1)
            narrow = narrow / self.living.sum(1, keepdim=True)
        wide = self.rows - narrow
        if self.sees is None:
            keys = self.key_bits.sum(1)
            combine = wide.sum(1) * self.pv.sum(1) + narrow.sum(1) * self.pv_narrow.sum(1)
            return q_bits.sum(1) * keys, combine
        key_sum = (self.sees @ self.key_bits[..., None])[..., 0]
        pv, pv_narrow = (self.sees @ torch.stack([self.pv, self.pv_narrow], -1)).unbind(-1)
        return (q_bits * key_sum).sum(1), (wide * pv + narrow * pv_narrow).sum(1)

    def _progressive(self, again: Tensor) -> tuple[Tensor, float, float]:
        """Costs of Q K^T where keys are in 4 bits first, in a trial and then in earnest.

        Parameters
        ----------
        again : bool tensor ``[batch, heads, n_q]``
            Rows that are computed again.

        Returns
        -------
        scores : tensor ``[batch]``
            Bit operations.
        kept, twice : float
            Tokens that are computed, and those of them whose rows are computed in 8 bits.
        """
        block, rows = self.block, self.rows
        part = again.double().sum(1) / self.living.sum(1, keepdim=True)  # of the heads
        some = (self.key_bits > 0).double()
        keys = some.sum(1)[:, None] if self.sees is None else (self.sees @ some[..., None])[..., 0]
        # Queries in 8 bits and keys in 4, twice; the keys' low planes for the rows done again.
        scores = ((64 + 32 * part) * keys * rows).sum(1)
        kept = float((block.valid & (self.bits > 0)).sum())
        twice = float((part * rows * (self.bits[:, -self.n_q :] > 0)).sum())
        return scores, kept, twice

    def _overhead(self, combine: Tensor) -> Tensor:
        """Bit operations beside the products of each sequence, of a channel, as all are counted.

        Parameters
        ----------
        combine : tensor ``[batch]``
            Those of P V, whose products are of nibbles.
        """
        each = 0.0
        if self.policy.center_queries:
            each += BIAS_BITS
        if self.policy.block_exponents:
            each += WEIGHT_BITS * (EXPONENT_LEVELS + 1)
        computed = (self.key_bits > 0).double()
        if self.sees is None:
            pairs = self.rows.sum(1) * computed.sum(1)
        else:
            pairs = ((self.sees @ computed[..., None])[..., 0] * self.rows).sum(1)
        added = pairs * each / self.d
        if self.policy.block_exponents:
            # Each sum of products of nibbles is shifted before it is accumulated.
            width = 8 + math.ceil(math.log2(self.depth))
            added = added + combine / 16 * EXPONENT_LEVELS * width / self.depth
        return added

    def _multiplied(self, multiplied: Tensor) -> Tensor:
        """Bit operations of P V of each sequence where row blocks multiply V of some keys.

        Parameters
        ----------
        multiplied : tensor ``[batch, heads, 2, n]``
            As of :class:`~dtqatten.algorithm.block.operands.Result`.
        """
        wide, narrow = (multiplied * self.living[..., None, None]).unbind(2)
        each = wide * self.pv[:, None] + narrow * self.pv_narrow[:, None]
        # Of each living head, then their mean: everything else is counted for one head.
        return each.sum((1, 2)) / self.living.sum(1)

    def _gain_bytes(self) -> float:
        """Bytes of the gains of Q, K and V."""
        if self.policy.granularity is not Granularity.TOKEN:
            return 0.0
        kept = (self.bits > 0)[:, None] & self.shared[..., None]
        return 2 * float(kept.sum()) + float(self.block.counted.sum()) * self.heads * self.share

    def _bias_bytes(self) -> float:
        """Bytes of the biases of keys, 2 of each key for each query head."""
        if self.block.key_bias is None:
            return 0.0
        return BIAS_BYTES * float(((self.bits > 0)[:, None] & self.living[..., None]).sum())
