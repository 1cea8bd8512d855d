"""Choices of the attention block."""

from dataclasses import dataclass

from dtqatten.golden.numerics.local_values import SHARE_ALL
from dtqatten.golden.numerics.output import OUTPUT_FRACTION
from dtqatten.golden.numerics.progressive import FLAT_SUM_MAX
from dtqatten.golden.numerics.weights import WeightCode

__all__ = ["Options"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Choices of the block.

    Parameters
    ----------
    p_planes : int
        Nibbles of a weight of P x V: 2 (8 bits) or 3 (12 bits).
    unsigned_weights : bool
        Nibbles of a weight are unsigned (:mod:`~dtqatten.golden.numerics.weights`).
    block_exponents : bool
        A row has an exponent for each tile of its keys
        (:mod:`~dtqatten.golden.numerics.narrowing`); a ``tiling`` says which keys share one.
    signed_gains : bool
        Gains of Q and K are even, and may be negative (:mod:`~dtqatten.golden.numerics.gains`).
    p_follows_token : bool
        A weight keeps only its highest plane where its token's V has 4 bits.
    p_follows_query : bool
        A weight keeps only its highest plane where its query has 4 bits. With both, a pair of
        tokens has a weight of more than 4 bits only where both have 8.
    output_bits : int
        16: eight fraction bits. 8: a balanced code.
    output_shift : int
        Left shift, 0 to 7, of an 8-bit output before it is rounded: outputs, being averages, are
        smaller than V. The unit shrinks by ``2**output_shift``.
    count_normalize : bool
        Divide a token's importance by the number of queries that saw it.
    softmax_scale : float, optional
        Factor of the scores; ``1/sqrt(d)`` if None.
    importance_saturates : bool
        Importance that is added to stays at its largest value, 2**32 - 1. If not, a block whose sum
        might pass it is refused.
    value_share : int
        Groups of keys whose V each row block multiplies, in 1/256 of those with a weight
        (:mod:`~dtqatten.golden.numerics.local_values`): 1 to 256, which is all.
    flat_sum : int, optional
        Keys are in 4 bits first; a row block with a row whose exponentials sum to more is computed
        again with them in 8 (:mod:`~dtqatten.golden.numerics.progressive`). None: each key is in
        its own precision.

    Raises
    ------
    ValueError
        If a value is not one of those listed.
    """

    p_planes: int = 2
    unsigned_weights: bool = False
    block_exponents: bool = False
    signed_gains: bool = False
    p_follows_token: bool = False
    p_follows_query: bool = False
    output_bits: int = 16
    output_shift: int = 0
    count_normalize: bool = False
    softmax_scale: float | None = None
    importance_saturates: bool = False
    value_share: int = SHARE_ALL
    flat_sum: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.value_share <= SHARE_ALL:
            raise ValueError(
                f"value_share is {self.value_share}, outside 1..{SHARE_ALL}: "
                f"give 1/{SHARE_ALL} of the groups of keys, or {SHARE_ALL} for all"
            )
        if self.flat_sum is not None and not 0 <= self.flat_sum <= FLAT_SUM_MAX:
            raise ValueError(
                f"flat_sum is {self.flat_sum}, outside 0..{FLAT_SUM_MAX}: see progressive.flat_sum"
            )
        for name, values in (("p_planes", (2, 3)), ("output_bits", (8, 16))):
            if getattr(self, name) not in values:
                raise ValueError(f"{name} is {getattr(self, name)!r}: choose one of {values}")
        if not 0 <= self.output_shift <= OUTPUT_FRACTION - 1:
            raise ValueError(
                f"output_shift is {self.output_shift}, outside 0..{OUTPUT_FRACTION - 1}: "
                "choose a value in that range"
            )
        if self.output_shift and self.output_bits == 16:
            raise ValueError(
                f"output_shift is {self.output_shift} with a 16-bit output: use 0, or output_bits 8"
            )

    @property
    def weight_code(self) -> WeightCode:
        """Codes of the weights of P x V."""
        return WeightCode(self.p_planes, self.unsigned_weights, self.block_exponents)
