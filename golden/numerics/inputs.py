"""Operands of the attention block."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.codes import BoolArray, Codes, IntArray
from dtqatten.golden.numerics.local_values import Tiling
from dtqatten.golden.numerics.masks import IDS_MAX
from dtqatten.golden.numerics.products import CHANNELS_MAX

__all__ = ["Inputs"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """One block's operands; leading dimensions before ``heads`` are a batch.

    Queries and keys are two lists, of tokens of their own, in an order of their own. What is shared
    between heads (K and V of grouped queries) is repeated.

    Parameters
    ----------
    q : Codes ``[..., heads, n_q, d]``
    k, v : Codes ``[..., heads, n_k, d]``
        Up to 256 channels and 65,536 keys.
    q_bits : int array ``[..., n_q]``, optional
    k_bits, v_bits : int array ``[..., n_k]``, optional
        Precision of each token: 8, 4 or 0; None is 8 everywhere. A query or key of 0 bits is
        pruned, which gives exactly what leaving it out gives. V at 0 bits alone leaves the weights
        as they are and adds nothing.
    mask : bool array ``[..., n_q, n_k]``, optional
        True where a query sees a key; all heads alike. None: everything is visible.
    importance : uint32 array ``[..., n_k]``, optional
        Importance of the tokens in earlier blocks, to be added to.
    cuts : tuple of int
        Places in the list of keys at which segments begin, besides 0, ascending. A segment has up
        to 1024 keys.
    sinks : int16 array ``[..., heads]``, optional
        Sink of each head (:mod:`~dtqatten.golden.numerics.sinks`).
    observed : bool array ``[..., n_q]``, optional
        Queries whose probabilities add to the importance; None: all.
    tiling : Tiling, optional
        Row blocks, groups and tiles of keys, by which a ``value_share`` below 256 chooses, row
        blocks are tried in 4 bits, and tiles have exponents.
    softcap : int, optional
        Cap of the scores (:mod:`~dtqatten.golden.numerics.score_terms`).
    bias : int array ``[..., heads, n_q, n_k]``, optional
        What is added to each score behind the cap, likewise.
    key_bias : int16 array ``[..., heads, n_k]``, optional
        What is added to the scores of each key instead, likewise.
    order : tuple of int, optional
        Numbers of the segments in the order in which they are merged; None: that of the list.

    Raises
    ------
    ValueError
        If shapes disagree, a segment has more keys than the divisor has bits for, places of cuts
        are not in order, or ``order`` does not name each segment once.
    """

    q: Codes
    k: Codes
    v: Codes
    q_bits: IntArray | None = None
    k_bits: IntArray | None = None
    v_bits: IntArray | None = None
    mask: BoolArray | None = None
    importance: IntArray | None = None
    cuts: tuple[int, ...] = ()
    sinks: IntArray | None = None
    observed: BoolArray | None = None
    tiling: Tiling | None = None
    softcap: int | None = None
    bias: IntArray | None = None
    key_bias: IntArray | None = None
    order: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        q, k, v = self.q.codes.shape, self.k.codes.shape, self.v.codes.shape
        if k[:-1] != v[:-1] or q[:-2] != k[:-2] or q[-1] != k[-1]:
            raise ValueError(
                f"shapes disagree: Q {q}, K {k}, V {v}; batch and heads must be equal in all, "
                "tokens in K and V, channels in Q and K"
            )
        if self.v.gains is not None and (self.v.gains < 0).any():
            raise ValueError("a gain of V is negative: weights of P x V have no sign")
        if k[-1] > CHANNELS_MAX or v[-1] > CHANNELS_MAX:
            raise ValueError(
                f"a head has {max(k[-1], v[-1])} channels, more than {CHANNELS_MAX}: split it"
            )
        if k[-2] > IDS_MAX:
            raise ValueError(f"a row has {k[-2]} keys, more than {IDS_MAX}: evict some")
        spans = list(self.spans())
        if any(span.start >= span.stop for span in spans):
            raise ValueError(f"cuts are {self.cuts}: give places in 1..{k[-2] - 1}, ascending")
        longest = max(span.stop - span.start for span in spans)
        if longest > softmax.KEYS_MAX:
            raise ValueError(
                f"a segment has {longest} keys, more than {softmax.KEYS_MAX}: cut it (equal_cuts)"
            )
        if self.order is not None and sorted(self.order) != list(range(len(spans))):
            raise ValueError(
                f"order is {self.order}: name each of the segments 0..{len(spans) - 1} once"
            )
        batch, n_q, n_k = q[:-3], q[-2], k[-2]
        for name, shape in (
            ("q_bits", (*batch, n_q)),
            ("k_bits", (*batch, n_k)),
            ("v_bits", (*batch, n_k)),
            ("mask", (*batch, n_q, n_k)),
            ("importance", (*batch, n_k)),
            ("sinks", q[:-2]),
            ("bias", (*q[:-1], n_k)),
            ("key_bias", (*q[:-2], n_k)),
            ("observed", (*batch, n_q)),
        ):
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                raise ValueError(f"{name} has shape {np.shape(value)}, but must have {shape}")
        if self.key_bias is not None and (self.softcap is not None or self.bias is not None):
            raise ValueError("biases of keys with soft caps or biases of pairs: use one")

    def spans(self) -> Iterator[slice]:
        """Places of each segment's keys."""
        ends = [0, *self.cuts, self.k.codes.shape[-2]]
        return (slice(*pair) for pair in itertools.pairwise(ends))

    def visible(self) -> BoolArray:
        """Which keys each query sees, pruned tokens left out: ``[..., n_q, n_k]``."""
        shape = (*self.q.codes.shape[:-3], self.q.codes.shape[-2], self.k.codes.shape[-2])
        seen: BoolArray = np.ones(shape, bool) if self.mask is None else np.asarray(self.mask, bool)
        if self.q_bits is not None:
            seen = seen & (np.asarray(self.q_bits) > 0)[..., :, None]
        if self.k_bits is not None:
            seen = seen & (np.asarray(self.k_bits) > 0)[..., None, :]
        return seen
