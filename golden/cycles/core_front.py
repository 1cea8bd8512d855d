"""What stands before the core's units where tiles are skipped: forks, and the planner."""

from dataclasses import dataclass

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.rings import Buffered, Fork
from dtqatten.golden.cycles.softmax_beats import HeadFactor, Key, Query
from dtqatten.golden.cycles.tile_planner import TilePlannerModel
from dtqatten.golden.cycles.tiles import Visit

__all__ = ["CoreFront", "TokenBeats"]


@dataclass(frozen=True)
class TokenBeats:
    """What is valid at the streams that say something of heads and tokens."""

    heads: HeadFactor | None
    queries: Query | None
    keys: Key | None


class CoreFront:
    """Give heads, queries and keys to the softmax, and to the planner where tiles are skipped.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        self.plans = config.skip_tiles
        self._planner = TilePlannerModel(config)
        self._early: Buffered[HeadFactor] = Buffered()
        self._forks = {name: Fork(2) for name in ("heads", "queries", "keys")}

    @property
    def visits(self) -> Visit | None:
        """The tile to visit that is offered to the score array."""
        return self._planner.visits if self.plans else None

    def offered(self, beats: TokenBeats) -> TokenBeats:
        """Return what the softmax is offered."""
        if not self.plans:
            return beats
        return TokenBeats(
            self._early.offered,
            self._forks["queries"].offers(beats.queries)[0],
            self._forks["keys"].offers(beats.keys)[0],
        )

    def _takes(self, softmax: dict[str, bool]) -> dict[str, list[bool]]:
        """Return which sinks of each stream take a beat: softmax, planner."""
        planner = self._planner
        return {
            "heads": [self._early.ready, planner.heads_ready],
            "queries": [softmax["queries"], planner.queries_ready],
            "keys": [softmax["keys"], planner.keys_ready],
        }

    def ready(self, softmax: dict[str, bool]) -> dict[str, bool]:
        """Return whether each stream is taken, where ``softmax`` takes what it is offered."""
        if not self.plans:
            return softmax
        takes = self._takes(softmax)
        return {name: fork.ready(takes[name]) for name, fork in self._forks.items()}

    def clock(self, beats: TokenBeats, softmax: dict[str, bool], visits_ready: bool) -> None:
        """Pass a clock edge.

        Parameters
        ----------
        beats : TokenBeats
            What is valid.
        softmax : dict of bool
            Whether the softmax takes what it is offered.
        visits_ready : bool
            The score array takes a tile to visit.
        """
        if not self.plans:
            return
        takes = self._takes(softmax)
        head, planned = self._forks["heads"].offers(beats.heads)
        _, query = self._forks["queries"].offers(beats.queries)
        _, key = self._forks["keys"].offers(beats.keys)
        self._early.clock(head if self._early.ready else None, taken=softmax["heads"])
        self._planner.clock(planned, query, key, visits_ready)
        for name, fork in self._forks.items():
            fork.clock(getattr(beats, name), takes[name])
