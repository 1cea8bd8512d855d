"""Codes of the weights of P x V: which there are, and their nibbles."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.configuration.limits import EXPONENT_MAX
from dtqatten.golden.numerics.codes import IntArray, code_range, four_bit, split

__all__ = ["BALANCED", "WeightCode"]


@dataclass(frozen=True)
class WeightCode:
    """Codes of weights, which are never negative.

    Balanced codes have signed nibbles, as Q, K and V have, and use half of them: the highest nibble
    of a weight is in [0, 7]. Unsigned ones have nibbles in [0, 15], so that a weight of the highest
    nibble alone has 16 levels in place of 8.

    Parameters
    ----------
    planes : int
        Nibbles of a weight, 2 or 3.
    unsigned : bool
        Nibbles are unsigned.
    exponents : bool
        A row has an exponent for each tile of its keys, by which small weights are scaled up before
        they are rounded.

    Raises
    ------
    ValueError
        If ``planes`` is neither 2 nor 3.
    """

    planes: int = 2
    unsigned: bool = False
    exponents: bool = False

    def __post_init__(self) -> None:
        if self.planes not in (2, 3):
            raise ValueError(f"planes is {self.planes}: a weight has 2 nibbles, or 3 for 12 bits")

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the code of a machine."""
        return cls(config.planes, config.unsigned_weights, config.block_exponents)

    @property
    def top(self) -> int:
        """Weight of a row's maximum: 119 or 1911 if balanced, 255 or 4095 if unsigned."""
        return 16 * self.unit - 1 if self.unsigned else code_range(self.planes)[1]

    @property
    def unit(self) -> int:
        """Worth of one of the highest nibble: 16, or 256 with three planes."""
        return 16 ** (self.planes - 1)

    @property
    def fraction(self) -> int:
        """Bits of a weight below a code, which exponents ask for: the largest exponent."""
        return EXPONENT_MAX if self.exponents else 0

    def highest(self, weights: IntArray) -> IntArray:
        """Keep the highest nibble only, rounded to nearest: half up.

        ``((p + 8) >> 4) << 4``; with three planes the half is 136 if balanced, 128 if unsigned. An
        unsigned nibble stays at 15.
        """
        if not self.unsigned:
            return four_bit(weights, self.planes)
        kept: IntArray = np.minimum((weights + self.unit // 2) // self.unit, 15) * self.unit
        return kept

    def split(self, weights: IntArray) -> IntArray:
        """Cut weights into nibbles, ``[planes, ...]``, highest plane first.

        Raises
        ------
        ValueError
            If a weight is outside 0..``top``.
        """
        if weights.size and not (weights.min() >= 0 and weights.max() <= self.top):
            bad = weights.min() if weights.min() < 0 else weights.max()
            raise ValueError(f"weight {bad} is outside 0..{self.top}")
        if not self.unsigned:
            return np.stack(split(weights, self.planes))
        planes = [weights >> 4 * i & 15 for i in reversed(range(self.planes))]
        return np.stack(planes).astype(np.int8)


#: Weights unless said otherwise.
BALANCED = WeightCode()
