"""How near the integer block is to float64: outputs, importance, rankings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.golden.numerics.attention import Inputs, Options, Outputs, attention
from dtqatten.golden.numerics.codes import (
    FloatArray,
    Granularity,
    IntArray,
    dequantize,
    quantize,
)
from dtqatten.golden.numerics.local_values import Tiling
from dtqatten.golden.numerics.reference import Reference, reference
from dtqatten.golden.numerics.select import top

__all__ = ["Agreement", "agreement", "compare", "rank_agreement", "sink", "weight_error"]


@dataclass(frozen=True, eq=False)
class Agreement:
    """How near an output is to a reference.

    Parameters
    ----------
    cosine : float64 array ``[heads]``
        Cosine similarity of each head's output.
    largest : float64 array ``[heads]``
        Largest error of each head's output, relative to the head's largest output.
    rms : float
        Root mean square error of all outputs relative to that of the outputs.
    importance : float
        Largest relative error of a token's importance.
    """

    cosine: FloatArray
    largest: FloatArray
    rms: float
    importance: float


def compare(out: Outputs, exact: Reference) -> Agreement:
    """Compare a block's output and importance with a reference, head by head."""
    got, want = out.values, exact.output
    flat, other = got.reshape(got.shape[0], -1), want.reshape(want.shape[0], -1)
    lengths = np.linalg.norm(flat, axis=1) * np.linalg.norm(other, axis=1)
    return Agreement(
        cosine=(flat * other).sum(1) / lengths,
        largest=np.abs(flat - other).max(1) / np.abs(other).max(1),
        rms=float(np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2))),
        importance=float(np.abs(out.importance / 2**16 / exact.importance - 1).max()),
    )


def agreement(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    granularity: Granularity | str = Granularity.HEAD,
    options: Options | None = None,
    bits: IntArray | None = None,
    *,
    quantized_reference: bool = False,
    tiling: Tiling | None = None,
) -> Agreement:
    """Run integer block and reference on the same operands and compare.

    Parameters
    ----------
    q, k, v : float array ``[heads, n, d]``
        Operands.
    granularity : Granularity
        Scales per head or token.
    options : Options, optional
        Choices of the block.
    bits : int array ``[n]``, optional
        Precision of each token in Q, K and V, 4 or 8.
    quantized_reference : bool
        Give the reference the dequantized codes, which leaves out the error of quantization.
    tiling : Tiling, optional
        Tiles of keys, where they have exponents.
    """
    chosen = Options() if options is None else options
    cq, ck, cv = (quantize(x, granularity) for x in (q, k, v))
    if quantized_reference:
        q, k, v = (dequantize(c, bits) for c in (cq, ck, cv))
    exact = reference(q, k, v, softmax_scale=chosen.softmax_scale)
    inputs = Inputs(cq, ck, cv, bits, bits, bits, tiling=tiling)
    return compare(attention(inputs, chosen), exact)


def rank_agreement(a: ArrayLike, b: ArrayLike, share: float) -> float:
    """Share of the ``round(share * n)`` most important tokens that two rankings have in common."""
    k = round(share * np.size(a))
    return len(np.intersect1d(top(a, k), top(b, k))) / max(k, 1)


def sink(
    nats: float, spread: float = 0.0, n: int = 1024, d: int = 64
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return Q, K and V of a query that one key draws most, and the others together more.

    Parameters
    ----------
    nats : float
        How far the other keys' logits are below the sink's.
    spread : float
        Standard deviation of the others' logits, in nats.
    n, d : int
        Keys and channels.

    Returns
    -------
    q, k, v : float array ``[1, 1, d]``, ``[1, n, d]``
        V is -1 at the sink and 1 elsewhere, so that an output says whose weight was lost.
    """
    q, k, v = np.zeros((1, 1, d)), np.zeros((1, n, d)), np.ones((1, n, d))
    q[..., :2] = np.sqrt(d)
    k[:, 0, 0] = nats
    k[:, 1:, 1] = spread * np.random.default_rng(0).normal(size=n - 1)
    v[:, 0] = -1
    return q, k, v


def weight_error(
    qkv: tuple[FloatArray, FloatArray, FloatArray], options: Options, v_bits: int
) -> tuple[float, float]:
    """Return the largest output and its error that is the block's own, not quantization's.

    Parameters
    ----------
    qkv : tuple of float array
        Operands.
    options : Options
        Choices of the block.
    v_bits : int
        Precision of all tokens of V, 4 or 8.
    """
    q, k, v = (quantize(x) for x in qkv)
    bits = np.full(v.codes.shape[-2], v_bits)
    exact = reference(dequantize(q), dequantize(k), dequantize(v, bits)).output
    got = attention(Inputs(q, k, v, v_bits=bits), options).values
    return float(np.abs(exact).max()), float(np.abs(got - exact).max())
