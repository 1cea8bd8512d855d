"""Policy files: how many tokens of each layer have 0, 4 and 8 bits, and how they are treated.

A policy is data: this module needs neither PyTorch nor transformers, so that a hardware driver can
read what a search found. ``docs/algorithm.md`` describes the file.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy_file import fields_of, text_of
from dtqatten.algorithm.policy_values import (
    Importance,
    PolicyError,
    Protect,
    Pruned,
    Ranking,
    choice,
)
from dtqatten.files.whole import write_text
from dtqatten.golden.numerics.codes import Granularity, IntArray
from dtqatten.golden.numerics.gains import Gains
from dtqatten.golden.numerics.select import counts

__all__ = ["Policy"]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Treatment of a model.

    Parameters
    ----------
    layers : tuple of LayerPolicy
        One a layer. The first prunes nothing: no block before it has ranked the tokens. Where it
        mixes precisions, the first tokens get 8 bits.
    granularity : Granularity
        One scale a head, or one a token.
    gains : Gains
        How gains of tokens are found: by the largest magnitude, or by least squared error, those of
        Q and K also with a sign.
    ranking : Ranking
        Importance, or the random control.
    importance : Importance
        Of all earlier blocks or of the last one.
    count_normalize : bool
        Divide by the number of queries that could see the token; for causal models.
    pruned : Pruned
        What becomes of a pruned token's hidden state.
    prune_queries : bool
        Whether a pruned token's own query is left out. False keeps all queries, at 4 bits where
        the token is pruned, so that every position of a causal model still predicts.
    protect : tuple of Protect
        Tokens that are never pruned.
    recent : int
        Last tokens of a sequence that are never pruned; with ``prune_queries`` False every query
        also sees the ``recent`` keys up to its own, pruned or not.
    rotate : bool
        Hadamard rotation of Q, K and V.
    smooth : float, optional
        Exponent, 0 to 1, of the keys' magnitude in the per-channel factors moved from K to Q.
    center : bool
        Subtract calibrated means from K (which leaves probabilities as they are) and from V (added
        back to the output).
    center_queries : bool
        Subtract calibrated means from Q; what they draw is added to scores as a bias of each key.
    p_planes : int
        Nibbles of a weight of P x V, 2 or 3.
    unsigned_weights : bool
        Those nibbles are unsigned.
    block_exponents : bool
        A row has an exponent for each tile of a machine's keys, which scales small weights up.
    p_follows_token : bool
        A weight keeps only its highest plane where its token has 4 bits.
    p_follows_query : bool
        A weight keeps only its highest plane where its query has 4 bits.
    seed : int
        Of the random ranking.
    model, task : str
        What the policy was made for.
    record : dict
        What its maker measured; free-form, numbers and texts only.

    Raises
    ------
    PolicyError
        If a value is impossible.
    """

    layers: tuple[LayerPolicy, ...]
    granularity: Granularity = Granularity.HEAD
    gains: Gains = Gains.LARGEST
    ranking: Ranking = Ranking.IMPORTANCE
    importance: Importance = Importance.CUMULATIVE
    count_normalize: bool = False
    pruned: Pruned = Pruned.FREEZE
    prune_queries: bool = True
    protect: tuple[Protect, ...] = ()
    recent: int = 0
    rotate: bool = False
    smooth: float | None = None
    center: bool = False
    center_queries: bool = False
    p_planes: int = 2
    unsigned_weights: bool = False
    block_exponents: bool = False
    p_follows_token: bool = False
    p_follows_query: bool = False
    seed: int = 0
    model: str = ""
    task: str = ""
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers or not all(isinstance(x, LayerPolicy) for x in self.layers):
            raise PolicyError("layers must hold at least one LayerPolicy")
        object.__setattr__(self, "layers", tuple(self.layers))
        for name, kind in (
            ("granularity", Granularity),
            ("gains", Gains),
            ("ranking", Ranking),
            ("importance", Importance),
            ("pruned", Pruned),
        ):
            object.__setattr__(self, name, choice(name, getattr(self, name), kind))
        object.__setattr__(
            self, "protect", tuple(choice("protect", x, Protect) for x in self.protect)
        )
        for name in (
            "count_normalize",
            "prune_queries",
            "rotate",
            "center",
            "center_queries",
            "unsigned_weights",
            "block_exponents",
            "p_follows_token",
            "p_follows_query",
        ):
            if not isinstance(getattr(self, name), bool):
                raise PolicyError(f"{name} is {getattr(self, name)!r}: give true or false")
        for name, low, high in (("recent", 0, 1024), ("p_planes", 2, 3), ("seed", 0, 2**32 - 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise PolicyError(f"{name} is {value!r}, not an integer in {low}..{high}")
        if self.smooth is not None and not (
            isinstance(self.smooth, int | float)
            and not isinstance(self.smooth, bool)
            and 0 <= self.smooth <= 1
        ):
            raise PolicyError(f"smooth is {self.smooth!r}, outside 0..1: use 0.5, or null for none")
        if self.gains is not Gains.LARGEST and self.granularity is not Granularity.TOKEN:
            raise PolicyError(
                f"gains is {self.gains} with granularity {self.granularity}, which has none: set "
                f"granularity to {Granularity.TOKEN}, or gains to {Gains.LARGEST}"
            )
        if self.layers[0].share_0 > 0:
            raise PolicyError(
                f"layer 0 prunes {self.layers[0].share_0:.0%}: nothing has ranked the tokens "
                "there, set its share_0 to 0"
            )
        if self.layers[0].heads < 1:
            raise PolicyError("layer 0 prunes heads: no output has ranked them, set heads to 1")

    @property
    def calibrated(self) -> bool:
        """Whether a model's Q, K and V must have been measured."""
        return self.smooth is not None or self.center or self.center_queries

    @property
    def signed_gains(self) -> bool:
        """Whether gains of Q and K have a sign."""
        return self.gains is Gains.SIGNED

    @property
    def ranks(self) -> bool:
        """Whether any layer needs the tokens ranked."""
        return any(max(layer.shares) < 1 for layer in self.layers)

    @property
    def local(self) -> bool:
        """Whether any layer multiplies V of some groups of tokens only."""
        return any(layer.values < 1 for layer in self.layers)

    @property
    def progressive(self) -> bool:
        """Whether keys are in 4 bits first in any layer."""
        return any(layer.threshold is not None for layer in self.layers)

    @property
    def by_arrays(self) -> bool:
        """Whether results depend on the sizes of a machine's arrays."""
        return self.local or self.progressive or self.block_exponents

    @property
    def prunes_heads(self) -> bool:
        """Whether any layer leaves out heads."""
        return any(layer.heads < 1 for layer in self.layers)

    def share_0(self, layer: int) -> float:
        """Share of tokens pruned in a layer, those of the layers before included."""
        return max(x.share_0 for x in self.layers[: layer + 1])

    def replace(self, **changes: Any) -> "Policy":
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @classmethod
    def flat(
        cls, layers: int, shares: tuple[float, float, float] = (0.0, 0.0, 1.0), **options: Any
    ) -> "Policy":
        """Return the same shares in every layer from the second on.

        The first layer, which prunes nothing, has the same ratio of 4 to 8 bits.

        Parameters
        ----------
        layers : int
            Layers of the model.
        shares : tuple of float
            Shares of 0, 4 and 8 bits; all 8 bits by default.
        **options
            Further fields.
        """
        if layers < 1:
            raise PolicyError(f"layers is {layers}: a model has at least 1")
        s0, s4, s8 = shares
        layer = LayerPolicy(share_0=s0, share_4=s4, share_8=s8)
        first = LayerPolicy(share_0=0.0, share_4=s4 / (s4 + s8), share_8=s8 / (s4 + s8))
        return cls(layers=(first, *[layer] * (layers - 1)), **options)

    def precision(
        self,
        layer: int,
        importance: ArrayLike,
        *,
        alive: ArrayLike | None = None,
        protected: ArrayLike | None = None,
    ) -> IntArray:
        """Precision of each token of one sequence in a layer: what a driver programs.

        Protected tokens come first, then the others by importance, ties to the lowest id; tokens
        pruned before stay pruned.

        Parameters
        ----------
        layer : int
            Layer.
        importance : array ``[n]``
            Importance from the blocks before.
        alive, protected : bool array ``[n]``, optional
            Tokens not pruned so far, all if None; tokens that may not be pruned, none if None.

        Returns
        -------
        uint8 array ``[n]``
            0, 4 or 8.

        Raises
        ------
        PolicyError
            If there is no such layer.
        """
        if not 0 <= layer < len(self.layers):
            raise PolicyError(f"layer is {layer}, outside 0..{len(self.layers) - 1}")
        values = np.asarray(importance)
        n = len(values)
        lives = np.ones(n, bool) if alive is None else np.asarray(alive, bool)
        shielded = lives & (np.zeros(n, bool) if protected is None else np.asarray(protected, bool))
        k0, k1 = counts(n, self.layers[layer].shares)
        k0 = min(max(k0, int(shielded.sum())), int(lives.sum()))
        # lexsort: the last key is the first criterion; ids break ties because it is stable.
        order = np.lexsort((_descending(values), ~shielded, ~lives))
        result = np.zeros(n, np.uint8)
        result[order[:k0]] = 4
        result[order[: min(k0, k1)]] = 8
        return result

    def to_json(self) -> str:
        """Return the text of the policy file."""
        return text_of(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Policy":
        """Read the text of a policy file.

        Raises
        ------
        PolicyError
            If the text is not JSON, of another format or version, or holds impossible values.
        """
        content = fields_of(text, [f.name for f in dataclasses.fields(cls)])
        layers = tuple(LayerPolicy.parsed(*each) for each in enumerate(content["layers"]))
        for name in ("protect", "record", "model", "task"):
            kind = {"protect": list, "record": dict}.get(name, str)
            if name in content and not isinstance(content[name], kind):
                raise PolicyError(f"{name} is {content[name]!r}: give a {kind.__name__}")
        return cls(**{**content, "layers": layers})

    def save(self, path: str | Path) -> None:
        """Write the policy file, as a whole or not at all."""
        write_text(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "Policy":
        """Read a policy file.

        Raises
        ------
        PolicyError
            If it cannot be read or used.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise PolicyError(f"cannot read the policy {path}: {e}") from e
        try:
            return cls.from_json(text)
        except PolicyError as e:
            raise PolicyError(f"{path}: {e}") from None


def _descending(values: Any) -> IntArray:
    """Rank of each value from the largest down; equals share a rank, so that ids can decide."""
    _, inverse = np.unique(values, return_inverse=True)
    return -inverse
