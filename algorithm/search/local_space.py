"""Shares of V of a decoder's layers, searched by their mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.search.spaces import GRID, Template

__all__ = ["SHARES", "LocalSpace", "least_errors"]

#: Shares of V whose errors are measured, in twentieths.
SHARES = (3, 5, 7, 10, 13, 16, GRID)


def least_errors(errors: NDArray[np.float64], mean: float) -> Sequence[float]:
    """Return a share of V a layer: those of least total error whose mean is at most ``mean``.

    Each layer takes the share that minimizes ``error + price * share``, at the lowest price at
    which the mean is kept: what a Lagrangian allows of a sum of separate curves.

    Parameters
    ----------
    errors : array ``[layers, shares]``
        Of :func:`dtqatten.algorithm.search.sensitivity.errors_of_values`.
    mean : float
        At least the first of :data:`SHARES`.
    """
    shares = np.array(SHARES) / SHARES[-1]

    def at(price: float) -> NDArray[np.float64]:
        chosen: NDArray[np.float64] = shares[np.argmin(errors + price * shares, axis=1)]
        return chosen

    low, high = 0.0, 1.0 + 2 * float(errors.max()) / (shares[1] - shares[0])
    if at(low).mean() <= mean + 1e-9:
        return [float(share) for share in at(low)]
    for _ in range(60):
        price = (low + high) / 2
        low, high = (price, high) if at(price).mean() > mean + 1e-9 else (low, price)
    return [float(share) for share in at(high)]


@dataclass(frozen=True)
class LocalSpace(Template):
    """The mean share of V, and the threshold of progressive keys, of a decoder's steps.

    Each layer's own share follows from the mean by what its output loses
    (:func:`least_errors`).

    Parameters
    ----------
    template, vary : Policy, tuple of str
        Everything but shares of V and thresholds; options that are searched too.
    errors : array ``[layers, shares]``
        Of :func:`dtqatten.algorithm.search.sensitivity.errors_of_values`.
    min_values : float
        Least mean share.
    progressive : bool
        Thresholds are searched; else the template's are kept.

    Raises
    ------
    PolicyError
        If the least mean share is below the first of :data:`SHARES`, or above 1.
    """

    errors: NDArray[np.float64]
    min_values: float = 0.5
    progressive: bool = False

    def __post_init__(self) -> None:
        least = SHARES[0] / GRID
        if not least <= self.min_values <= 1:
            raise PolicyError(
                f"a mean share of V of {self.min_values} is not searched: give {least} to 1"
            )

    def suggest(self, trial: optuna.trial.BaseTrial) -> Policy:
        """Return the policy of a trial: mean shares on the 5 % grid, thresholds on one of 1 %."""
        fewest = math.ceil(GRID * self.min_values - 1e-9)
        shares = least_errors(self.errors, trial.suggest_int("values", fewest, GRID) / GRID)
        layers = tuple(
            replace(old, values=share)
            for old, share in zip(self.template.layers, shares, strict=True)
        )
        if self.progressive:
            threshold = trial.suggest_int("threshold", 0, 10) / 100 or None
            layers = tuple(replace(layer, threshold=threshold) for layer in layers)
        return self.varied(trial).replace(layers=layers)

    def starts(self) -> list[dict[str, Any]]:
        """Parameters of first trials: all V, three quarters and the least; no threshold and 2 %."""
        fewest = math.ceil(GRID * self.min_values - 1e-9)
        means = sorted({GRID, max(fewest, 3 * GRID // 4), fewest}, reverse=True)
        found = [{"values": mean} for mean in means]
        if self.progressive:
            found = [x | {"threshold": t} for x in found for t in (0, 2)]
        return [self.started(params) for params in found]
