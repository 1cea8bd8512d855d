"""Policies that a machine does not run as it is."""

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.configuration.core import Config

__all__ = ["refuse", "refuse_weights"]


def refuse(found: list[str]) -> None:
    """Refuse a policy by what the machine does not do of it.

    Raises
    ------
    PolicyError
        If there is anything.
    """
    if found:
        raise PolicyError(f"the policy {found[0]}, which the machine does not: choose another")


def refuse_weights(config: Config, policy: Policy) -> None:
    """Refuse a policy of other weights, or scores in another unit, than a machine is given.

    Raises
    ------
    PolicyError
        If the machine's weights are unsigned or have exponents, its gains a sign, or its keys can
        have biases, and the policy's do not.
    """
    for name in ("unsigned_weights", "block_exponents", "signed_gains"):
        if getattr(config, name) and not getattr(policy, name):
            raise PolicyError(
                f"the machine has {name}, the policy has not: set it in the policy, or leave it "
                "out of the machine"
            )
    if config.bias_heads and not policy.center_queries:
        raise PolicyError(
            "the machine has bias_heads, and so rounds scores to 1/256 octaves, which the policy "
            "does not: set center_queries in the policy, or leave bias_heads out of the machine"
        )
