"""Policies that a machine does not run."""

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
    """Refuse a policy of other weights than a machine is given.

    Raises
    ------
    PolicyError
        If the machine's weights are unsigned or have exponents, and the policy's do not.
    """
    for name in ("unsigned_weights", "block_exponents"):
        if getattr(config, name) and not getattr(policy, name):
            raise PolicyError(
                f"the machine has {name}, the policy has not: set it in the policy, or leave it "
                "out of the machine"
            )
