"""What is searched: ratios by layer, or SpAtten's schedule, and options of the policy beside."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.spatten import spatten
from dtqatten.golden.numerics.gains import Gains

__all__ = ["GRID", "OPTIONS", "Space", "SpattenSpace", "Template"]

#: Steps of a ratio: 5 %.
GRID = 20
#: Fields of a policy that can be searched beside the ratios, and what is tried.
OPTIONS: dict[str, tuple[Any, ...]] = {
    "granularity": ("head", "token"),
    "importance": ("cumulative", "block"),
    "count_normalize": (False, True),
    "pruned": ("drop", "freeze", "ffn"),
    "prune_queries": (False, True),
    # Tokens joined by +, because a choice is a text or a number.
    "protect": ("", "first", "special", "first+last"),
    "recent": (0, 16, 64),
    "rotate": (False, True),
    "smooth": (None, 0.3, 0.5, 0.7),
    "center": (False, True),
    "center_queries": (False, True),
    "p_planes": (2, 3),
    "unsigned_weights": (False, True),
    "block_exponents": (False, True),
    "p_follows_token": (False, True),
    "p_follows_query": (False, True),
}


@dataclass(frozen=True)
class Template:
    """A policy, and the options of it that are searched.

    Parameters
    ----------
    template : Policy
        All that is not searched.
    vary : tuple of str
        Names in ``OPTIONS``.

    Raises
    ------
    PolicyError
        If a name is not there.
    """

    template: Policy
    vary: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if odd := sorted(set(self.vary) - set(OPTIONS)):
            raise PolicyError(f"cannot vary {', '.join(odd)}: choose of {', '.join(OPTIONS)}")
        if "granularity" in self.vary and self.template.gains is not Gains.LARGEST:
            raise PolicyError(
                f"cannot vary granularity with gains {self.template.gains}, which granularity head "
                f"has not: set gains to {Gains.LARGEST} in the policy"
            )

    def varied(self, trial: optuna.trial.BaseTrial) -> Policy:
        """Return the template with a trial's options."""
        found = {name: trial.suggest_categorical(name, OPTIONS[name]) for name in self.vary}
        if "protect" in found:
            found["protect"] = tuple(x for x in found["protect"].split("+") if x)
        return self.template.replace(**found)

    def started(self, params: Mapping[str, int]) -> dict[str, Any]:
        """Return parameters of a first trial with the template's own options."""
        own = {name: getattr(self.template, name) for name in self.vary}
        if "protect" in own:
            own["protect"] = "+".join(own["protect"])
        # Where the template has what is not tried, the sampler chooses.
        return {**params, **{name: x for name, x in own.items() if x in OPTIONS[name]}}


@dataclass(frozen=True)
class Space(Template):
    """Ratios to be searched; other fields of a policy come from a template unless they vary.

    Layers are searched in groups of neighbours that share their ratios. The first layer, which
    cannot prune, is a group of its own.

    Parameters
    ----------
    template, vary : Policy, tuple of str
        Everything but the ratios; options that are searched too.
    groups : int
        Groups of layers after the first, 1 to the number of those layers.
    max_eight : float
        Largest share of 8-bit tokens; 0 leaves only the pruned shares to be searched.
    max_zero : float
        Largest share of pruned tokens; 0 leaves only the 8-bit shares to be searched.
    min_values : float
        Least share of the groups of tokens whose V a row block multiplies; 1 leaves the template's.

    Raises
    ------
    PolicyError
        If a value is out of range.
    """

    groups: int
    max_eight: float = 1.0
    max_zero: float = 0.95
    min_values: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.max_eight <= 1:
            raise PolicyError(f"max_eight is {self.max_eight}, outside 0..1: use 1 for no limit")
        if not 0 <= self.max_zero <= 0.95:
            raise PolicyError(f"max_zero is {self.max_zero}, outside 0..0.95: a token is left")
        if not 1 / GRID <= self.min_values <= 1:
            raise PolicyError(f"min_values is {self.min_values}, outside 0.05..1: use 1 for all V")
        if self.max_eight < 1 / GRID and self.max_zero < 1 / GRID and not self._local:
            raise PolicyError("max_eight and max_zero leave nothing to search: raise one to 0.05")
        rest = len(self.template.layers) - 1
        if not 1 <= self.groups <= max(rest, 1):
            raise PolicyError(
                f"groups is {self.groups}, outside 1..{max(rest, 1)}: "
                "there are no more layers after the first"
            )

    @property
    def _local(self) -> bool:
        """Whether shares of V are searched."""
        return self.min_values < 1

    def group(self, layer: int) -> int:
        """Group of a layer; the first layer is group 0."""
        rest = len(self.template.layers) - 1
        return 0 if layer == 0 else 1 + (layer - 1) * self.groups // max(rest, 1)

    def suggest(self, trial: optuna.trial.BaseTrial) -> Policy:
        """Return the policy of a trial.

        Pruned shares are searched as increments, because a pruned token stays pruned; 8-bit shares
        are what is left at most.
        """
        steps: list[tuple[int, int, int | None]] = []
        pruned = 0
        most, least = (int(GRID * share + 1e-9) for share in (self.max_eight, self.max_zero))
        for group in range(self.groups + 1):
            if group and least:
                pruned = min(pruned + trial.suggest_int(f"more_0_{group}", 0, 6), least)
            eight = trial.suggest_int(f"share_8_{group}", 0, most) if most else 0
            values = None
            if self._local:
                fewest = math.ceil(GRID * self.min_values - 1e-9)
                values = trial.suggest_int(f"values_{group}", fewest, GRID)
            steps.append((pruned, min(eight, GRID - pruned), values))
        return self.varied(trial).replace(layers=self.build(steps))

    def build(self, steps: Sequence[tuple[int, int, int | None]]) -> tuple[LayerPolicy, ...]:
        """Return the layers of ``(pruned, 8-bit, values)`` grid steps, one of each a group.

        None leaves the template's values.
        """
        layers = []
        for index, old in enumerate(self.template.layers):
            pruned, eight, values = steps[self.group(index)]
            shares = pruned / GRID, (GRID - pruned - eight) / GRID, eight / GRID
            layers.append(
                LayerPolicy(
                    share_0=shares[0],
                    share_4=shares[1],
                    share_8=shares[2],
                    heads=old.heads,
                    values=old.values if values is None else values / GRID,
                    threshold=old.threshold,
                )
            )
        return tuple(layers)

    def starts(self) -> list[dict[str, Any]]:
        """Parameters of sensible first trials: no pruning, steps in late layers, and ramps.

        Where shares of V are searched, with all V and with half of it.
        """
        found = [self.started(params) for params in self._ratios()]
        if not self._local:
            return found
        half = max(GRID // 2, math.ceil(GRID * self.min_values - 1e-9))
        return [
            params | {f"values_{group}": share for group in range(self.groups + 1)}
            for params in found
            for share in (half, GRID)
        ]

    def _ratios(self) -> list[dict[str, int]]:
        if max(self.max_zero, self.max_eight) < 1 / GRID:
            return [{}]
        if self.max_zero < 1 / GRID:
            most = int(GRID * self.max_eight + 1e-9)
            levels = sorted({min(level, most) for level in (0, 3, 6, 12)})
            return [{f"share_8_{g}": x for g in range(self.groups + 1)} for x in levels]
        found = []
        for level, last in ((2, 2), (4, 2), (3, 1), (6, 1)):
            params = {f"more_0_{g}": 0 for g in range(1, self.groups + 1)}
            params[f"more_0_{max(self.groups + 1 - last, 1)}"] = level
            if self.max_eight >= 1 / GRID:
                params |= {f"share_8_{g}": 0 for g in range(self.groups + 1)}
            found.append(params)
        for ends, power in ((0, 1), (6, 4), (9, 4), (3, 1), (6, 1), (9, 1)):
            most = int(GRID * self.max_eight + 1e-9)
            for eight in sorted({0, min(6, most), most}):
                if ends and eight == GRID:
                    continue
                params = {f"share_8_{g}": eight for g in range(self.groups + 1) if most}
                goal = [round(ends * (g / self.groups) ** power) for g in range(self.groups + 1)]
                for g in range(1, self.groups + 1):
                    params[f"more_0_{g}"] = min(goal[g] - goal[g - 1], 6)
                if params not in found:
                    found.append(params)
        return found


@dataclass(frozen=True)
class SpattenSpace(Template):
    """SpAtten's schedule, to be searched in the same way.

    Parameters
    ----------
    template, vary : Policy, tuple of str
        Everything but the schedule; options that are searched too.
    progressive : bool
        Thresholds of progressive quantization are searched; else there are none.
    prune_heads : bool
        Shares of heads are searched; else all stay.
    """

    progressive: bool = True
    prune_heads: bool = True

    def suggest(self, trial: optuna.trial.BaseTrial) -> Policy:
        """Return the policy of a trial: shares on the 5 % grid."""
        layers = len(self.template.layers)
        # Per cent times 2.5; 0 is none.
        threshold = trial.suggest_int("threshold", 0, 8) if self.progressive else 0
        made = spatten(
            layers,
            tokens=trial.suggest_int("tokens", 0, 14) / GRID,
            heads=(trial.suggest_int("heads", 0, 10) if self.prune_heads else 0) / GRID,
            values=trial.suggest_int("values", 0, 10) / GRID,
            threshold=threshold / 40 or None,
            eight=trial.suggest_int("eight", 0, layers),
            late=trial.suggest_int("late", 1, 4),
        )
        return self.varied(trial).replace(layers=made.layers)

    def starts(self) -> list[dict[str, Any]]:
        """Parameters of first trials: one thing at a time, and all together."""
        again = {"threshold": 4} if self.progressive else {}
        heads = {"heads": 4} if self.prune_heads else {}
        none = {"tokens": 0, "values": 0, "eight": 0, "late": 1}
        none |= dict.fromkeys({**again, **heads}, 0)
        found: list[dict[str, int]] = [
            {},
            *([again] if again else []),
            {"tokens": 6, "late": 3},
            *([heads] if heads else []),
            {"values": 6},
            {"eight": len(self.template.layers)},
            {**again, "tokens": 6, **dict.fromkeys(heads, 2), "values": 4},
        ]
        return [self.started({**none, **changes}) for changes in found]
