"""A layer as arrays: its descriptor, the bytes it reads, and what comes back."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dtqatten.driver.errors import LayoutError
from dtqatten.golden.memory import head_table_bytes, tensor_bytes
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import Codes, FloatArray
from dtqatten.golden.numerics.output import OUTPUT_FRACTION
from dtqatten.interface.descriptor import Flag

__all__ = ["Layer", "Result"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """One attention block.

    Parameters
    ----------
    q : Codes ``[heads, stored, d_head]``
    k, v : Codes ``[kv_heads, stored, d_head]``
        All tokens that the previous layer computed, in its order.
    k0, k1 : int
        Tokens to keep for the next layer, and how many of them in 8 bits.
    chained : bool
        Compute on the tokens that the previous layer keeps; else on all ``stored``.
    four_bit : int
        Not chained: tokens in 4 bits, the first ones.
    causal, report, cumulative, fresh : bool
        Causal mask; importance is wanted; it is added to that of earlier layers; that is taken as
        0.
    ids : bool
        Whether the kept ids are wanted.
    options : Options
        ``softmax_scale``, ``output_bits``, ``output_shift``, ``p_follows_token``,
        ``p_follows_query`` and ``count_normalize``; ``p_planes`` is the machine's.
    """

    q: Codes
    k: Codes
    v: Codes
    k0: int
    k1: int
    chained: bool = False
    four_bit: int = 0
    causal: bool = False
    report: bool = False
    cumulative: bool = False
    fresh: bool = False
    ids: bool = True
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        q, k, v = self.q.codes.shape, self.k.codes.shape, self.v.codes.shape
        if len(q) != 3 or k != v or q[1:] != k[1:] or q[0] % k[0]:
            raise LayoutError(
                f"shapes disagree: Q {q}, K {k}, V {v}; give [heads, n, d] with tokens and "
                "channels alike, K and V with heads that divide those of Q"
            )

    @property
    def heads(self) -> int:
        """Query heads."""
        return self.q.codes.shape[0]

    @property
    def stored(self) -> int:
        """Tokens in the tensors."""
        return self.q.codes.shape[1]

    @property
    def flags(self) -> Flag:
        """Flags of the descriptor."""
        wanted = {
            Flag.CHAINED: self.chained,
            Flag.CAUSAL: self.causal,
            Flag.CODES: self.options.output_bits == 8,
            Flag.Q_GAINS: self.q.gains is not None,
            Flag.K_GAINS: self.k.gains is not None,
            Flag.V_GAINS: self.v.gains is not None,
            Flag.REPORT: self.report,
            Flag.CUMULATIVE: self.cumulative,
            Flag.FRESH: self.fresh,
            Flag.COUNT: self.options.count_normalize,
            Flag.FOLLOWS: self.options.p_follows_token,
            Flag.FOLLOWS_QUERY: self.options.p_follows_query,
            Flag.IDS: self.ids,
        }
        flags = Flag(0)
        for flag, on in wanted.items():
            if on:
                flags |= flag
        return flags

    def fields(self, tokens: int) -> dict[str, int]:
        """Return the descriptor's fields but for addresses, ``next`` and ``ready``."""
        return {
            "flags": int(self.flags),
            "heads": self.heads,
            "kv_heads": self.k.codes.shape[0],
            "stored": self.stored,
            "tokens": tokens,
            "four_bit": 0 if self.chained else self.four_bit,
            "output_shift": self.options.output_shift,
            "k0": self.k0,
            "k1": self.k1,
        }

    def contents(self) -> dict[str, bytes]:
        """Return what the machine reads, by the name of the address field."""
        repeats = self.heads // self.k.codes.shape[0]
        factor = softmax.multiplier(
            self.q.unit * np.repeat(self.k.unit, repeats),
            self.q.codes.shape[2],
            self.options.softmax_scale,
        )
        found = {name: tensor_bytes(getattr(self, name).codes) for name in ("q", "k", "v")}
        found["head_table"] = head_table_bytes(factor.m, factor.shift)
        for name in ("q", "k", "v"):
            gains = getattr(self, name).gains
            if gains is not None:
                found[f"{name}_gains"] = np.asarray(gains, np.uint8).tobytes()
        return found

    def output_unit(self) -> FloatArray:
        """Return the worth of one unit of the output, ``[heads]``."""
        unit = np.repeat(self.v.unit, self.heads // self.k.codes.shape[0])
        if self.options.output_bits == 8:
            return unit / (1 << self.options.output_shift)
        return unit / (1 << OUTPUT_FRACTION)


@dataclass(frozen=True, eq=False)
class Result:
    """Results of a layer.

    Parameters
    ----------
    output : int16 array (int8 with ``output_bits`` 8) ``[heads, tokens, d_head]``
        Attention output, tokens in the order of the layer.
    output_unit : float array ``[heads]``
        Worth of one unit.
    ids : int array ``[k0]`` or None
        Kept tokens, places in the layer's order, 4-bit class first.
    bits : int array ``[k0]``
        Their precisions.
    importance : uint32 array ``[tokens]`` or None
    """

    output: NDArray[np.integer]
    output_unit: FloatArray
    ids: NDArray[np.int64] | None
    bits: NDArray[np.uint8]
    importance: NDArray[np.uint32] | None

    @property
    def values(self) -> FloatArray:
        """The output as float64."""
        return self.output * self.output_unit[:, None, None]
