"""What an attention block computes on, and what it gives.

Shapes are those of transformers: ``[batch, heads, tokens, channels]``; K and V may have fewer heads
than Q.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dtqatten.algorithm.block.quantized import Quantized
from dtqatten.algorithm.block.terms import NO_TERMS, Terms
from dtqatten.configuration.core import PRESETS
from dtqatten.golden.numerics.local_values import SHARE_ALL, Arrays, Tiling
from dtqatten.golden.numerics.weights import WeightCode

__all__ = ["BASE_ARRAYS", "Operands", "Result", "narrow_rows", "rows_multiplied"]

#: Arrays of preset ``base``, on which policies are searched and measured.
BASE_ARRAYS = Arrays.of(PRESETS["base"].replace(grouped=True))


@dataclass(frozen=True, eq=False)
class Operands:
    """What a block computes on.

    Parameters
    ----------
    q, k, v : Quantized
        Operands, V and K with as many heads as divide Q's.
    q_bits, k_bits : tensor ``[batch, n_q]``, ``[batch, n_k]``
        4 or 8; what is pruned is left out by ``visible``.
    v_bits : tensor ``[batch, n_k]``
        The same for V.
    visible : bool tensor ``[batch, 1, n_q or 1, n_k]``, optional
        Which keys a query sees; None is all.
    scaling : float
        Factor of the scores.
    p_planes : int
    unsigned_weights, block_exponents, signed_gains, p_follows_token, p_follows_query : bool
        As in :class:`dtqatten.golden.numerics.attention.Options`.
    value_share : int
        Groups of keys whose V a row block multiplies, in 1/256 of those with a weight.
    arrays : Arrays
        Of the machine whose row blocks and groups these are.
    tiles : Tiling, optional
        They themselves, where tokens have other precisions than in the lists that they follow from.
    threshold : float, optional
        Keys are in 4 bits first; row blocks with a row whose largest probability is then below it
        are computed again with them in 8.
    heads : bool tensor ``[batch, heads]``, optional
        Heads whose results are used; None is all. Others may be computed or not.
    queries : tensor ``[batch, n_q]``
        1 for queries that count for importance, 0 for pruned and padding ones.
    listed : int tensor ``[batch, n]``, optional
        Places of queries and keys in the list of the layer before, where a machine's lists follow
        from each other; None is their order in the text.
    terms : Terms
        What is done to the scores.
    """

    q: Quantized
    k: Quantized
    v: Quantized
    q_bits: Tensor
    k_bits: Tensor
    v_bits: Tensor
    visible: Tensor | None
    scaling: float
    queries: Tensor
    p_planes: int = 2
    unsigned_weights: bool = False
    block_exponents: bool = False
    signed_gains: bool = False
    p_follows_token: bool = False
    p_follows_query: bool = False
    value_share: int = SHARE_ALL
    arrays: Arrays = BASE_ARRAYS
    tiles: Tiling | None = None
    listed: Tensor | None = None
    heads: Tensor | None = None
    threshold: float | None = None
    terms: Terms = NO_TERMS

    @property
    def weight_code(self) -> WeightCode:
        """Codes of the weights of P x V."""
        return WeightCode(self.p_planes, self.unsigned_weights, self.block_exponents)

    def part(self, row: slice, shared: slice) -> "Operands":
        """Operands of some sequences and some heads of K and V, with the heads of Q on them."""
        group = self.q.codes.shape[1] // self.k.codes.shape[1]
        heads = slice(shared.start * group, shared.stop * group)
        return dataclasses.replace(
            self,
            q=self.q.part(row, heads),
            k=self.k.part(row, shared),
            v=self.v.part(row, shared),
            q_bits=self.q_bits[row],
            k_bits=self.k_bits[row],
            v_bits=self.v_bits[row],
            visible=None if self.visible is None else self.visible[row],
            queries=self.queries[row],
            terms=self.terms.part(row, heads),
        )

    def parts(self, most: int) -> Iterator[Iterator["Operands"]]:
        """Yield for each group of sequences its groups of heads, of at most ``most`` scores each.

        One head of K and V of one sequence, however large, stays whole.
        """
        batch, shared, n_k = self.k.codes.shape[:3]
        single = self.q.codes.shape[1] // shared * self.q.codes.shape[2] * n_k
        heads = min(max(most // single, 1), shared)
        rows = max(most // (single * shared), 1)
        for row in range(0, batch, rows):
            yield (
                self.part(slice(row, row + rows), slice(head, min(head + heads, shared)))
                for head in range(0, shared, heads)
            )


@dataclass(frozen=True, eq=False)
class Result:
    """What a block gives.

    Parameters
    ----------
    output : tensor ``[batch, heads, n_q, d]``
    importance : tensor ``[batch, heads, n_k]``, optional
        Probability that each key drew from the queries that count.
    again : bool tensor ``[batch, heads, n_q]``, optional
        Rows that were computed a second time, with keys in 8 bits.
    multiplied : tensor ``[batch, heads, 2, n_k]``, optional
        Of the queries that count, how many wide and how many narrow weights V of each key was
        multiplied by; None is those of all that see it.
    unit : tensor ``[batch, heads]``, optional
        Worth of a unit of the output, where that consists of codes.
    """

    output: Tensor
    importance: Tensor | None
    again: Tensor | None = None
    multiplied: Tensor | None = None
    unit: Tensor | None = None

    @classmethod
    def join(cls, parts: Sequence["Result"], axis: int) -> "Result":
        """Put parts together along an axis: 0 for sequences, 1 for heads."""
        if len(parts) == 1:
            return parts[0]

        def joined(name: str) -> Tensor | None:
            found = [getattr(part, name) for part in parts]
            return None if found[0] is None else torch.cat(found, axis)

        return cls(
            torch.cat([part.output for part in parts], axis),
            joined("importance"),
            joined("again"),
            joined("multiplied"),
            joined("unit"),
        )


def narrow_rows(op: Operands) -> Tensor:
    """Queries whose weights are narrow, ``[batch, 1, n_q]``."""
    if not op.p_follows_query:
        return torch.zeros_like(op.q_bits, dtype=torch.bool)[:, None]
    return (op.q_bits == 4)[:, None]


def rows_multiplied(op: Operands, kept: Tensor) -> Tensor:
    """Return :attr:`Result.multiplied` of weights ``[batch, heads, n_q, n_k]`` that are kept."""
    pairs = kept if op.visible is None else kept & op.visible
    narrow = narrow_rows(op)
    rows = torch.stack([~narrow, narrow], -2) * op.queries[:, None, None]
    return rows.to(torch.float64) @ pairs.to(torch.float64)
