"""Treatment of one layer of a model: its tokens' precisions, and what SpAtten prunes beside."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from dtqatten.algorithm.policy_file import refuse_unknown
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.golden.numerics.local_values import SHARE_ALL

__all__ = ["LayerPolicy"]


@dataclass(frozen=True, kw_only=True)
class LayerPolicy:
    """Treatment of one layer.

    Parameters
    ----------
    share_0, share_4, share_8 : float
        Shares of the tokens with 0, 4 and 8 bits, sum 1. A pruned token stays pruned in all later
        layers, so that at least as many are pruned as in any layer before.
    heads : float
        Share of the heads that are computed; the others are those of least output so far.
    values : float
        Share of the groups of kept tokens whose V a row block multiplies, by weight there.
    threshold : float, optional
        Progressive quantization: keys are in 4 bits first, queries in 8; a row block with a row
        whose largest probability is below the threshold is computed again with keys in 8. Needs
        ``share_8 = 0`` for V in 4 bits or ``share_4 = 0`` for V in 8 bits.

    Raises
    ------
    PolicyError
        If a value is out of range.
    """

    share_0: float
    share_4: float
    share_8: float
    heads: float = 1.0
    values: float = 1.0
    threshold: float | None = None

    def __post_init__(self) -> None:
        for name in ("share_0", "share_4", "share_8", "heads", "values", "threshold"):
            value = getattr(self, name)
            if name == "threshold" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise PolicyError(f"{name} is {value!r}: give a number in 0..1")
            if not 0 <= value <= 1:
                raise PolicyError(f"{name} is {value}, outside 0..1: choose a value in that range")
        if abs(sum(self.shares) - 1) > 1e-6:
            raise PolicyError(f"shares are {self.shares}, sum {sum(self.shares):g}: make it 1")
        if self.heads == 0 or self.values == 0 or self.share_0 == 1:
            raise PolicyError("a layer keeps at least one token, head and value: leave a share")

    @classmethod
    def parsed(cls, index: int, content: dict[str, Any]) -> "LayerPolicy":
        """Make a layer's policy from what a file holds of it."""
        refuse_unknown(f"layer {index}", content, [f.name for f in dataclasses.fields(cls)])
        try:
            return cls(**content)
        except TypeError:
            raise PolicyError(f"layer {index} needs share_0, share_4 and share_8") from None
        except PolicyError as e:
            raise PolicyError(f"layer {index}: {e}") from None

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of 0, 4 and 8 bits."""
        return self.share_0, self.share_4, self.share_8

    @property
    def value_share(self) -> int:
        """``values`` as the machine has it, in 1/256, 1 to 256."""
        return max(1, round(self.values * SHARE_ALL))

    def kept_heads(self, heads: int) -> int:
        """How many of a model's heads are left, if as many were before."""
        return max(1, round(self.heads * heads))
