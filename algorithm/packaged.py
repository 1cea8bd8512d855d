"""Policies that come with the project, by name."""

from importlib import resources
from pathlib import Path

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError

__all__ = ["find_policy", "packaged_policy", "policy_names"]


def policy_names() -> list[str]:
    """Return the names of the policies that come with the project."""
    folder = resources.files("dtqatten.algorithm") / "policies"
    return sorted(each.name[:-5] for each in folder.iterdir() if each.name.endswith(".json"))


def packaged_policy(name: str) -> Policy:
    """Return a searched policy that comes with the project.

    Raises
    ------
    PolicyError
        If there is none of that name.
    """
    if name not in policy_names():
        raise PolicyError(f"no policy {name!r}: choose one of {', '.join(policy_names())}")
    folder = resources.files("dtqatten.algorithm") / "policies"
    with resources.as_file(folder / f"{name}.json") as path:
        return Policy.load(path)


def find_policy(text: str) -> Policy:
    """Return the policy of a file, or of a name; a file of that name comes first.

    Raises
    ------
    PolicyError
        If there is neither, or the file is no policy.
    """
    if text in policy_names() and not Path(text).is_file():
        return packaged_policy(text)
    if not Path(text).exists():
        raise PolicyError(
            f"cannot read the policy {text}: no such file, and none of that name comes with "
            f"dtqatten: choose a file, or one of {', '.join(policy_names())}"
        )
    return Policy.load(text)
