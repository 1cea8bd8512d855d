"""What every kind of layer has: queries, options, and what comes back."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.driver.errors import LayoutError
from dtqatten.golden.memory import gain_bytes, head_table_bytes, tensor_bytes
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import Codes, FloatArray, IntArray
from dtqatten.golden.numerics.gains import check_signs
from dtqatten.golden.numerics.heads import head_weight
from dtqatten.golden.numerics.local_values import SHARE_ALL
from dtqatten.golden.numerics.output import OUTPUT_FRACTION
from dtqatten.interface.descriptor import Flag

__all__ = ["Block", "Result", "check_gains", "check_key_bias", "grouped"]


def check_key_bias(bias: IntArray | None, shape: tuple[int, int]) -> None:
    """Refuse biases of keys that are not int16 of a shape ``[heads, keys]``.

    Raises
    ------
    LayoutError
        With what they are, and what to give.
    """
    if bias is None or bias.shape != shape or bias.dtype != np.int16:
        found = "None" if bias is None else f"{bias.dtype} of shape {bias.shape}"
        raise LayoutError(
            f"key_bias is {found}: give int16 of {shape}, one of each key for each query head "
            "(quantize_key_bias)"
        )


def check_gains(name: str, codes: Codes, signed: bool) -> None:
    """Refuse gains that are not of the kind that a machine has.

    Parameters
    ----------
    name : str
        Of the tensor, for the message.
    codes : Codes
    signed : bool
        Gains are even, and may be negative.

    Raises
    ------
    LayoutError
        If one is not.
    """
    try:
        check_signs(name, codes.gains, signed)
    except ValueError as error:
        raise LayoutError(str(error)) from None


def grouped(values: NDArray[Any], group: int) -> NDArray[Any]:
    """Return ``[heads, m, ...]`` as ``[heads // group, m * group, ...]``, a query's rows together.

    Row ``i * group + j`` of a head is query ``i`` of the ``j``-th query head of its group.
    """
    heads, m, *rest = values.shape
    rows = values.reshape(heads // group, group, m, *rest).swapaxes(1, 2)
    return rows.reshape(heads // group, m * group, *rest)


@dataclass(frozen=True, eq=False, kw_only=True)
class Block(ABC):
    """An attention block of a chain: :class:`~dtqatten.driver.layers.Layer` and others.

    Parameters
    ----------
    q : Codes ``[heads, m, d_head]``
    k, v : Codes ``[kv_heads, n, d_head]``
    k0, k1 : int
        Keys to keep for the next layer, and how many of them in 8 bits.
    causal, report, cumulative, fresh : bool
        Causal mask; importance is wanted; it is added to that of earlier layers; that is taken as
        0.
    ids : bool
        Whether the kept ids are wanted.
    keep_heads : int
        Heads to keep for the next layer; 0: heads are not ranked.
    heads_chained : bool
        Compute the heads that the previous layer keeps, of all that Q, K and V have: those with
        which the chain of heads began. Their importance goes on.
    key_bias : int16 array ``[heads, n]``, optional
        Biases of the keys for each query head, as
        :func:`~dtqatten.golden.numerics.score_terms.quantize_key_bias` gives them.
    chosen_values : bool
        Read V after each head's row block has chosen its share, of these groups alone: with a
        ``value_share`` of the options, and heads that are one row block, as in a decode step.
    options : Options
        ``softmax_scale``, ``output_bits``, ``output_shift``, ``p_follows_token``,
        ``p_follows_query``, ``count_normalize``, ``value_share`` and ``flat_sum``;
        ``unsigned_weights``, ``block_exponents`` and ``signed_gains``, which must be as the machine
        has them; ``p_planes`` is the machine's.
    """

    q: Codes
    k: Codes
    v: Codes
    k0: int
    k1: int
    causal: bool = False
    report: bool = False
    cumulative: bool = False
    fresh: bool = False
    ids: bool = True
    keep_heads: int = 0
    heads_chained: bool = False
    key_bias: IntArray | None = None
    chosen_values: bool = False
    options: Options = field(default_factory=Options)

    @property
    def heads(self) -> int:
        """Query heads, those that are pruned included."""
        return self.q.codes.shape[0]

    @property
    def kv_heads(self) -> int:
        """Heads of K and V."""
        return self.k.codes.shape[0]

    @property
    @abstractmethod
    def chained(self) -> bool:
        """Whether keys are those that the layer before keeps."""

    @property
    def placed(self) -> Mapping[str, int]:
        """Addresses of what is in memory already, by the name of the address field."""
        return {}

    @property
    @abstractmethod
    def limits(self) -> Iterator[tuple[int, str, str]]:
        """How many there are of something, its name, and the register that limits it."""

    def row_blocks(self, queries: int) -> Iterator[tuple[int, str, str]]:
        """Limit the rows of heads that are to be one row block, as of :attr:`limits`.

        Those are heads whose keys are in 4 bits first, or whose values come after a choice.
        """
        asked = {
            "a flat_sum": self.options.flat_sum is not None,
            "chosen_values": self.chosen_values,
        }
        for what in (name for name, on in asked.items() if on):
            if self.group == 1 and self.heads != self.kv_heads:
                raise LayoutError(
                    f"{self.heads} query heads share {self.kv_heads} of K and V with {what}: "
                    "their rows are to be one row block; group them, or leave it out"
                )
            yield queries * self.group, f"rows of a head with {what}", "rows"
        if self.chosen_values and self.options.value_share == SHARE_ALL:
            raise LayoutError(
                f"chosen_values with a value_share of {SHARE_ALL}, which is all: leave it out, or "
                "take a smaller share"
            )

    @property
    def biased(self) -> Iterator[tuple[int, str, str]]:
        """Limit the query heads whose keys have biases, as of :attr:`limits`.

        Raises
        ------
        LayoutError
            If biases are of another shape or kind.
        """
        bias = self.key_bias
        if bias is None:
            return
        check_key_bias(bias, (self.heads, self.k.codes.shape[1]))
        yield self.group, "query heads of a group with key_bias", "bias_heads"

    @property
    def sinks(self) -> IntArray | None:
        """Sink of each head, if there are any."""
        return None

    @property
    def window(self) -> int | None:
        """How many positions a query sees; None: all."""
        return None

    @property
    def held(self) -> bool:
        """Whether importance is that of a cache, by id, which is added to."""
        return False

    @property
    def group(self) -> int:
        """Query heads that have the rows of a head of K and V together."""
        return 1

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
            Flag.WINDOW: self.window is not None,
            Flag.SINKS: self.sinks is not None,
            Flag.HELD: self.held,
            Flag.KEY_BIAS: self.key_bias is not None,
            Flag.UNSIGNED_WEIGHTS: self.options.unsigned_weights,
            Flag.BLOCK_EXPONENTS: self.options.block_exponents,
            Flag.SIGNED_GAINS: self.options.signed_gains,
            Flag.LOCAL_VALUES: self.options.value_share < SHARE_ALL,
            Flag.PROGRESSIVE: self.options.flat_sum is not None,
            Flag.CHOSEN_VALUES: self.chosen_values,
            Flag.HEADS_CHAINED: self.heads_chained,
            Flag.HEAD_REPORT: self.keep_heads > 0,
        }
        flags = Flag(0)
        for flag, on in wanted.items():
            if on:
                flags |= flag
        return flags

    def fields(self, before: int, heads: int = 0) -> dict[str, int]:
        """Return the descriptor's fields but for addresses, ``next`` and ``ready``.

        Parameters
        ----------
        before : int
            How many tokens the layer before keeps; of chained layers only.
        heads : int
            How many heads it keeps; of layers with ``heads_chained`` only.
        """
        chained = self.heads_chained
        return {
            "flags": int(self.flags),
            "heads": heads if chained else self.heads,
            "kv_heads": heads if chained else self.kv_heads,
            "keep_heads": self.keep_heads,
            "stored_heads": self.heads if chained else 0,
            "output_shift": self.options.output_shift,
            "k0": self.k0,
            "k1": self.k1,
            "window": self.window or 0,
            "value_share": self.options.value_share % SHARE_ALL,
            "flat_sum": self.options.flat_sum or 0,
        }

    def contents(self) -> dict[str, bytes]:
        """Return what the machine reads, by the name of the address field."""
        factor = softmax.multiplier(
            self.q.unit * np.repeat(self.k.unit, self.heads // self.kv_heads),
            self.q.codes.shape[2],
            self.options.softmax_scale,
        )
        weights = None
        if self.keep_heads:
            weights = head_weight(self.output_unit(), self.q.codes.shape[2])
        found = {"head_table": head_table_bytes(factor.m, factor.shift, self.sinks, weights)}
        for name in ("q", "k", "v"):
            codes: Codes = getattr(self, name)
            if name in self.placed:
                continue
            group = self.group if name == "q" else 1
            found[name] = tensor_bytes(grouped(codes.codes, group))
            if codes.gains is not None:
                signed = self.options.signed_gains and name != "v"
                found[f"{name}_gains"] = gain_bytes(grouped(codes.gains, group), signed)
        if self.key_bias is not None and "key_bias" not in self.placed:
            found["key_bias"] = self.key_bias.astype("<i2").tobytes()
        return found

    def query_heads(self, output: NDArray[np.integer], heads: int) -> NDArray[np.integer]:
        """Return an output as it lies in memory by query head: ``[heads, queries, d_head]``."""
        group, d = self.group, self.q.codes.shape[2]
        rows = output.reshape(heads // group, -1, group, d)
        return rows.swapaxes(1, 2).reshape(heads, -1, d)

    def output_unit(self) -> FloatArray:
        """Return the worth of one unit of the output, ``[heads]``."""
        unit = np.repeat(self.v.unit, self.heads // self.kv_heads)
        if self.options.output_bits == 8:
            return unit / (1 << self.options.output_shift)
        return unit / (1 << OUTPUT_FRACTION)


@dataclass(frozen=True, eq=False)
class Result:
    """Results of a layer.

    Parameters
    ----------
    output : int16 array (int8 with ``output_bits`` 8) ``[heads, queries, d_head]``
        Attention output, queries in the order of the layer.
    output_unit : float array ``[heads]``
        Worth of one unit.
    ids : int array ``[k0]`` or None
        Kept keys, places in the layer's order, 4-bit class first.
    bits : int array ``[k0]``
        Their precisions.
    importance : uint32 array ``[keys]`` or None
    heads : int array ``[heads]`` or None
        Heads of the output, ascending, if they are those that the layer before kept; None: all.
    kept_heads : int array ``[keep_heads]`` or None
        Those that the layer keeps, if it ranks them.
    head_importance : uint32 array or None
        Importance of all heads then, those that are pruned included.
    """

    output: NDArray[np.integer]
    output_unit: FloatArray
    ids: NDArray[np.int64] | None
    bits: NDArray[np.uint8]
    importance: NDArray[np.uint32] | None
    heads: NDArray[np.int64] | None = None
    kept_heads: NDArray[np.int64] | None = None
    head_importance: NDArray[np.uint32] | None = None

    @property
    def values(self) -> FloatArray:
        """The output as float64."""
        return self.output * self.output_unit[:, None, None]
