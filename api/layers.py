"""Attention layers as float arrays, one after the other, as the machine's chain takes them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtqatten.configuration.core import Config
from dtqatten.driver.layers import Layer
from dtqatten.files.errors import UsageError
from dtqatten.golden.numerics.codes import FloatArray, Granularity, quantize
from dtqatten.golden.numerics.gains import Gains
from dtqatten.golden.numerics.options import Options
from dtqatten.golden.numerics.select import PAPER_SHARES, counts

__all__ = ["Cascade", "Shares"]

#: Shares of tokens with 0, 4 and 8 bits.
Shares = tuple[float, float, float]


def _floats(name: str, array: ArrayLike) -> FloatArray:
    values = np.asarray(array)
    if values.ndim != 4 or 0 in values.shape:
        raise UsageError(
            f"{name} has shape {values.shape}: give [layers, heads, tokens, d], none of them 0"
        )
    if not np.issubdtype(values.dtype, np.floating) and not np.issubdtype(values.dtype, np.integer):
        raise UsageError(f"{name} is {values.dtype}: give real numbers")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise UsageError(f"{name} holds NaN or infinite values: the machine has no code for them")
    return values


class Cascade:
    """Layers in which each keeps tokens for the next.

    Parameters
    ----------
    q : array ``[layers, heads, n, d]``
    k, v : array ``[layers, kv_heads, n, d]``
        Of all tokens in all layers, also of those that turn out to be pruned.
    bits : int array ``[n]``, optional
        Precision of each token in the first layer, 0, 4 or 8; all 8 by default.
    shares : (float, float, float), or one a layer
        Shares of the ``n`` tokens that have 0, 4 and 8 bits in the layer after.
    causal : bool
        A token sees itself and those before it.

    Attributes
    ----------
    tokens : int array
        Tokens of the layer that comes next, in the machine's order: 4-bit ones first.
    precision : uint8 array
        Their bits.

    Raises
    ------
    ValueError
        If an argument cannot be used; the message says which, and what can.
    """

    def __init__(
        self,
        q: ArrayLike,
        k: ArrayLike,
        v: ArrayLike,
        *,
        bits: ArrayLike | None = None,
        shares: Shares | Sequence[Shares] = PAPER_SHARES,
        causal: bool = False,
    ) -> None:
        self.q, self.k, self.v = _floats("q", q), _floats("k", k), _floats("v", v)
        of_q, of_k, of_v = self.q.shape, self.k.shape, self.v.shape
        if of_k != of_v or of_q[0] != of_k[0] or of_q[2:] != of_k[2:] or of_q[1] % of_k[1]:
            raise UsageError(
                f"shapes disagree: q {of_q}, k {of_k}, v {of_v}; layers, tokens and channels are "
                "alike, and the heads of k and v divide those of q"
            )
        self.layers, self.heads, self.n, self.d_head = of_q
        given = np.asarray(shares, dtype=np.float64)
        if given.ndim == 1:
            given = np.broadcast_to(given, (self.layers, *given.shape))
        if given.shape != (self.layers, 3):
            raise UsageError(
                f"shares have shape {given.shape}: give those of 0, 4 and 8-bit tokens, once for "
                f"all layers or for each of the {self.layers}"
            )
        self._keeps = [counts(self.n, (zero, four, eight)) for zero, four, eight in given.tolist()]
        first = np.full(self.n, 8) if bits is None else np.asarray(bits)
        if first.shape != (self.n,) or not np.isin(first, (0, 4, 8)).all() or not first.any():
            raise UsageError(f"bits: give {self.n} of them, a token each: 0, 4 or 8, not all 0")
        self.causal = causal
        self.tokens: NDArray[np.int64] = np.concatenate(
            [np.flatnonzero(first == b) for b in (4, 8)]
        )
        self.precision: NDArray[np.uint8] = first[self.tokens].astype(np.uint8)
        self._stored, self._bits = self.tokens, self.precision
        self._at = 0

    def next_layer(self, config: Config) -> Layer:
        """Return the layer that comes next, as the driver takes it.

        Chained layers store what the layer before them computed on, in its order.
        """
        granularity = Granularity.TOKEN if config.v_gains else Granularity.HEAD
        q, k, v = (
            quantize(
                array[self._at][:, self._stored],
                granularity,
                gains=Gains.served(config, role),
                bits=self._bits,
            )
            for role, array in (("q", self.q), ("k", self.k), ("v", self.v))
        )
        k0, k1 = self._keeps[self._at]
        k0 = min(k0, len(self.tokens))
        return Layer(
            q=q,
            k=k,
            v=v,
            k0=k0,
            k1=min(k0, k1),
            chained=self._at > 0,
            four_bit=0 if self._at else int((self.precision == 4).sum()),
            causal=self.causal,
            report=True,
            cumulative=config.cumulative,
            fresh=config.cumulative and self._at == 0,
            options=Options(
                unsigned_weights=config.unsigned_weights,
                block_exponents=config.block_exponents,
                signed_gains=config.signed_gains,
            ),
        )

    def keep(self, ids: NDArray[np.integer], bits: NDArray[np.integer]) -> None:
        """Go on with the tokens that the layer has kept, places in its order."""
        self._bits = np.full_like(self.precision, 4)
        self._bits[ids] = bits
        self._stored, self.tokens = self.tokens, self.tokens[ids]
        self.precision = np.asarray(bits, np.uint8)
        self._at += 1
