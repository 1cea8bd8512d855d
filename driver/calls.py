"""A layer call of generation: queries by their list, keys and values of a cache by theirs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dtqatten.driver.blocks import Block
from dtqatten.driver.errors import LayoutError
from dtqatten.golden.memory import list_bytes
from dtqatten.golden.numerics.codes import BoolArray, IntArray
from dtqatten.golden.numerics.select import protected
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.interface.descriptor import WINDOW_MAX, Flag

if TYPE_CHECKING:
    from dtqatten.driver.cache import Cache

__all__ = ["Call"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Call(Block):
    """One attention block whose queries are not its keys.

    A decode step, a chunk of a prefill against a cache, or cross-attention.

    Parameters
    ----------
    q : Codes ``[heads, m, d_head]``
        Queries in the order of their list.
    k, v : Codes ``[kv_heads, capacity, d_head]``
        The cache, a token at its id.
    queries : TokenList
        Of ``m`` tokens.
    keys : TokenList, optional
        What to compute on. None: the keys that the previous layer keeps, chained; K and V then hold
        the keys that it computed on, in its order.
    cache : Cache, optional
        Has K and V in memory already; see :meth:`Cache.call`.
    window : int, optional
        How many positions a query sees, its own one included; 1 to 65,536.
    sinks : int16 array ``[heads]``, optional
        As :func:`~dtqatten.golden.numerics.sinks.quantize_sinks` gives them.
    grouped : bool
        Query heads that share a head of K and V have its rows together, so that its keys and values
        pass the core once for all of them; ``heads / kv_heads * m`` rows are at most ``n_max``.
    protect_first, protect_last : int
        Of a cache that keeps importance: keys of so many first positions, and of so many last ones
        up to the latest key's, rank before all others; at most ``k0`` keys.
    k0, k1, causal, report, cumulative, fresh, ids, keep_heads, heads_chained, key_bias,
    chosen_values, options
        As of :class:`~dtqatten.driver.blocks.Block`. ``k0`` 0: all keys.

    Raises
    ------
    LayoutError
        If lists and tensors disagree.
    """

    queries: TokenList
    keys: TokenList | None = None
    cache: "Cache | None" = None
    window: int | None = None
    sinks: IntArray | None = None
    grouped: bool = False
    protect_first: int = 0
    protect_last: int = 0
    k0: int = 0
    k1: int = 0
    ids: bool = False

    def __post_init__(self) -> None:
        q, k, v = self.q.codes.shape, self.k.codes.shape, self.v.codes.shape
        if len(q) != 3 or k != v or q[2] != k[2] or q[0] % k[0]:
            raise LayoutError(
                f"shapes disagree: Q {q}, K {k}, V {v}; give [heads, m, d] and [kv_heads, n, d] "
                "with kv_heads that divide heads, K and V alike"
            )
        if q[1] != len(self.queries):
            raise LayoutError(
                f"Q has {q[1]} tokens, but its list {len(self.queries)}: give one each, in order"
            )
        if self.window is not None and not 1 <= self.window <= WINDOW_MAX:
            raise LayoutError(
                f"window is {self.window}, outside 1..{WINDOW_MAX}: use None to see all"
            )
        if self.sinks is not None and (self.sinks.shape != (q[0],) or self.sinks.dtype != np.int16):
            raise LayoutError(
                f"sinks are {self.sinks.dtype} of shape {self.sinks.shape}: give int16, one of "
                f"each of the {q[0]} heads (quantize_sinks)"
            )
        if (self.protect_first or self.protect_last) and not self.held:
            raise LayoutError(
                "keys are protected in a cache that keeps importance: make it with importance=True"
            )
        if self.held and (self.keys is None or self.cumulative or self.report):
            raise LayoutError(
                "a cache that keeps importance has it in memory, by id: it is not chained, "
                "cumulative or reported; read Cache.importance"
            )
        if self.keys is None:
            if not self.k0:
                raise LayoutError("a chained call keeps k0 keys, at least 1: say how many")
            return
        if not len(self.keys):
            raise LayoutError("there are no keys: a query has to see something")
        if self.keys.ids.max() >= self.stored:
            raise LayoutError(
                f"key {self.keys.ids.max()} is beyond the {self.stored} tokens of the cache: "
                "append it first"
            )
        if not self.k0:
            object.__setattr__(self, "k0", len(self.keys))
        if self.protected.sum() > self.k0:
            raise LayoutError(
                f"{self.protected.sum()} keys are protected, more than the k0 = {self.k0} that are "
                "kept: keep those at least"
            )

    @property
    def chained(self) -> bool:
        """Whether keys are those that the layer before keeps."""
        return self.keys is None

    @property
    def held(self) -> bool:
        """Whether importance is that of the cache, by id, which is added to."""
        return self.cache is not None and "held" in self.cache.placed

    @property
    def protected(self) -> BoolArray:
        """Which keys of the list rank before all others."""
        assert self.keys is not None
        return protected(self.keys.ids, first=self.protect_first, last=self.protect_last)

    @property
    def stored(self) -> int:
        """Places of the cache, from 0 on, among which the keys are."""
        return self.k.codes.shape[1] if self.cache is None else self.cache.stored

    @property
    def placed(self) -> Mapping[str, int]:
        """Addresses of what is in memory already, by the name of the address field."""
        return {} if self.cache is None else self.cache.placed

    @property
    def limits(self) -> Iterator[tuple[int, str, str]]:
        """How many there are of something, its name, and the register that limits it."""
        rows = "queries" if self.group == 1 else "rows of a head of K and V"
        yield len(self.queries) * self.group, rows, "n_max"
        yield self.stored if self.keys is None else len(self.keys), "keys", "n_max"
        yield self.k.codes.shape[1], "places of a cache", "capacity"
        yield int(self.queries.ids.max()) + 1, "positions of queries", "capacity"
        yield from self.biased
        yield from self.row_blocks(len(self.queries))

    @property
    def group(self) -> int:
        """Query heads that have the rows of a head of K and V together."""
        return self.heads // self.kv_heads if self.grouped else 1

    @property
    def query_start(self) -> int | None:
        """Position of the first query, if the others follow it; None if it takes a list."""
        ids = self.queries.ids
        return int(ids[0]) if (ids == np.arange(ids[0], ids[0] + len(ids))).all() else None

    @property
    def listed(self) -> bool:
        """Whether the keys take a list: they are not all tokens in order."""
        return self.keys is not None and not np.array_equal(self.keys.ids, np.arange(self.stored))

    @property
    def flags(self) -> Flag:
        """Flags of the descriptor."""
        flags = super().flags
        if self.query_start is None:
            flags |= Flag.QUERY_LIST
        if self.grouped:
            flags |= Flag.GROUPED
        return flags | (Flag.KEY_LIST if self.listed else Flag(0))

    def fields(self, before: int, heads: int = 0) -> dict[str, int]:
        """Return the descriptor's fields but for addresses, ``next`` and ``ready``."""
        return super().fields(before, heads) | {
            "queries": len(self.queries),
            "query_four_bit": self.queries.four_bit,
            "query_start": self.query_start or 0,
            "tokens": before if self.keys is None else len(self.keys),
            "four_bit": 0 if self.keys is None else self.keys.four_bit,
            "stored": self.stored,
            "capacity": self.k.codes.shape[1],
            "protect_first": self.protect_first,
            "protect_last": self.protect_last,
        }

    def contents(self) -> dict[str, bytes]:
        """Return what the machine reads, by the name of the address field."""
        found = super().contents()
        if self.query_start is None:
            found["query_list"] = list_bytes(self.queries.ids)
        if self.keys is not None and self.listed:
            found["key_list"] = list_bytes(self.keys.ids)
        return found
