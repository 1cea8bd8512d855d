"""The refusal of weights that cannot be folded."""

from dtqatten.algorithm.policy_values import PolicyError

__all__ = ["WAY_OUT", "FoldingError"]

#: What to do in place of folding.
WAY_OUT = "pass fold=False to rotate at run time, or take a policy without rotate and smooth"


class FoldingError(PolicyError):
    """Weights that cannot take a rotation, or cannot give it back; the message says why."""
