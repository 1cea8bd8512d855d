"""Formats of numbers: which one a policy has, and what each change of it is worth."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.report.methods import POLICIES, Method
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.files.errors import UsageError
from dtqatten.golden.numerics.gains import Gains

__all__ = ["CHANGES", "formats", "numbers_of", "own_policy"]

#: What changes the plain format, in which weights of P are signed, Q keeps its mean, all tiles of
#: a row have one exponent and gains are those of the largest magnitudes: names, and fields of a
#: policy with their values.
CHANGES: dict[str, dict[str, Any]] = {
    "unsigned weights": {"unsigned_weights": True},
    "centered queries": {"center_queries": True},
    "tile exponents": {"block_exponents": True},
    "signed gains": {"gains": Gains.SIGNED},
}


def numbers_of(policy: Policy, mode: Mode = Mode.FAKE_QUANT) -> str:
    """Return the name of a policy's format of numbers."""
    if mode is Mode.FLOAT:
        return "float32"
    names = [
        name
        for name, fields in CHANGES.items()
        if all(getattr(policy, field) == value for field, value in fields.items())
    ]
    return " + ".join(names) or "signed weights"


def own_policy(model: str, task: str, ending: str = "") -> Policy:
    """Return the policy that comes with the project for a model and task.

    Raises
    ------
    UsageError
        If there is none.
    """
    path = POLICIES / f"{model}-{task}{ending}.json"
    if not path.is_file():
        raise UsageError(f"{path.stem} is no policy of the project: choose another MODEL:TASK")
    return Policy.load(path)


def formats(model: str, task: str) -> Iterator[Method]:
    """Yield a searched policy with each change of the format of numbers alone and together.

    Each in modes ``fake-quant`` and ``integer``.
    """
    base = own_policy(model, task).replace(record={})
    usual = Policy.flat(1)
    plain = {field: getattr(usual, field) for fields in CHANGES.values() for field in fields}
    for mode in (Mode.FAKE_QUANT, Mode.INTEGER):
        for number in range(len(CHANGES) + 1):
            for names in combinations(CHANGES, number):
                changed = dict(plain)
                for name in names:
                    changed |= CHANGES[name]
                policy = base.replace(**changed)
                format_ = numbers_of(policy)
                name = format_ if mode is Mode.FAKE_QUANT else f"{format_}, {mode} mode"
                yield Method(name, policy, mode)
