"""Calls with more keys than the machine takes at once: chunks of queries, segments of keys."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np

from dtqatten.driver.blocks import Block
from dtqatten.driver.calls import Call
from dtqatten.driver.errors import LayoutError
from dtqatten.golden.memory import list_bytes
from dtqatten.golden.numerics.masks import position_mask
from dtqatten.golden.numerics.order import query_tile
from dtqatten.golden.numerics.segments import longest_first
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.interface.descriptor import ADDRESS_ALIGNMENT, BIAS_BYTES, Flag

__all__ = ["Segment", "chunk_length", "head_parts", "pieces", "sharing"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Segment(Call):
    """Some heads and queries of a call against some of its keys: a descriptor of its own.

    Parameters
    ----------
    first_head : int
        Of the call's query heads, the first one.
    begins : bool
        It is the first of its heads.
    span : slice
        Places in the call's list of keys.
    continues, holds : bool
        It is not the first, or not the last segment of its queries.
    at : dict of int
        Addresses of what earlier segments have put into memory, by the name of the address field.
    """

    first_head: int
    begins: bool
    span: slice
    continues: bool
    holds: bool
    at: dict[str, int] = field(default_factory=dict)

    @property
    def own(self) -> TokenList:
        """The segment's keys."""
        assert self.keys is not None
        first, last = self.span.start, self.span.stop
        four_bit = min(max(self.keys.four_bit - first, 0), last - first)
        return TokenList(self.keys.ids[first:last], four_bit)

    @property
    def ranks(self) -> bool:
        """Whether the rows have this segment only, whose keys are ranked then."""
        return not (self.continues or self.holds)

    @property
    def listed(self) -> bool:
        """Whether the keys take a list: their places do not follow each other."""
        return bool((np.diff(self.own.ids) != 1).any())

    @property
    def placed(self) -> Mapping[str, int]:
        """Addresses of what is in memory already, by the name of the address field."""
        return {**super().placed, **self.at}

    @property
    def limits(self) -> Iterator[tuple[int, str, str]]:
        """How many there are of something, its name, and the register that limits it."""
        yield from ((n, what, of) for n, what, of in super().limits if what != "keys")
        yield len(self.own), "keys", "n_max"
        yield self.heads * len(self.queries), "rows of a chunk", "merge_rows"

    @property
    def flags(self) -> Flag:
        """Flags of the descriptor."""
        flags = super().flags
        flags |= Flag.CONTINUES if self.continues else Flag(0)
        return flags | (Flag.HOLDS if self.holds else Flag(0))

    def fields(self, before: int, heads: int = 0) -> dict[str, int]:
        """Return the descriptor's fields but for addresses, ``next`` and ``ready``."""
        own = self.own
        return super().fields(before, heads) | {
            "tokens": len(own),
            "four_bit": own.four_bit,
            "key_start": 0 if self.listed else int(own.ids[0]),
            "k0": len(own) if self.ranks else 0,
        }

    def contents(self) -> dict[str, bytes]:
        """Return what the machine reads, by the name of the address field."""
        found = super().contents()
        if self.listed:
            found["key_list"] = list_bytes(self.own.ids)
        return {name: raw for name, raw in found.items() if name not in self.at}


def head_parts(call: Block, merge_rows: int) -> list[slice]:
    """Return the query heads that are computed at a time: all, or whole heads of K and V if any.

    Parameters
    ----------
    call : Block
    merge_rows : int
        Of the machine.

    Raises
    ------
    LayoutError
        If more query heads are grouped than rows are held.
    """
    heads, shared = call.heads, call.heads // call.kv_heads
    if heads <= merge_rows:
        return [slice(0, heads)]
    if shared <= merge_rows:
        most = merge_rows // shared * shared
        return [slice(at, min(at + most, heads)) for at in range(0, heads, most)]
    if call.group > 1:
        raise LayoutError(
            f"{shared} query heads share the rows of a head of K and V, more than the {merge_rows} "
            f"rows that the machine holds: leave grouped out, or generate it with merge_rows "
            f"{shared} or more"
        )
    return [
        slice(at, min(at + merge_rows, first + shared))
        for first in range(0, heads, shared)
        for at in range(first, first + shared, merge_rows)
    ]


def chunk_length(call: Block, merge_rows: int, rows: int, n_max: int) -> int:
    """Return how many queries are computed at a time: whole row blocks if there are any.

    Parameters
    ----------
    call : Block
    merge_rows, rows, n_max : int
        Of the machine.
    """
    together = max(part.stop - part.start for part in head_parts(call, merge_rows))
    most = min(merge_rows // together, n_max // call.group)
    tile = query_tile(rows, call.group)
    return most - most % tile if most >= tile else most


def pieces(block: Block, sizes: Mapping[str, int]) -> list[Block]:
    """Return the descriptors that a block takes: one, or a segment each.

    A call of more keys than ``n_max`` is cut into heads, of which the machine holds the rows, these
    into chunks of queries, and its list of keys into segments of ``n_max`` from its beginning on,
    where the machine merges rows. Segments come in the order of
    :func:`~dtqatten.golden.numerics.segments.longest_first`; one that no query of a chunk sees is
    left out.

    Parameters
    ----------
    block : Block
    sizes : mapping
        The machine's registers.

    Raises
    ------
    LayoutError
        If a call in segments wants importance, or cannot be cut into heads.
    """
    most, held = sizes["n_max"], sizes["merge_rows"]
    if not isinstance(block, Call) or block.keys is None or len(block.keys) <= most or not held:
        return [block]
    keys = block.keys
    ranked = block.ids or block.report or block.cumulative or block.options.count_normalize
    if ranked or block.k1 or block.k0 != len(keys):
        raise LayoutError(
            f"{len(keys)} keys are computed in segments of {most}, whose rows have no importance: "
            "leave k0, k1, ids, report, cumulative and count_normalize out, or generate the "
            f"machine with n_max {len(keys)}"
        )
    length = chunk_length(block, held, sizes["rows"], most)
    found: list[Block] = []
    for part in head_parts(block, held):
        for first in range(0, len(block.queries), length):
            chunk = slice(first, min(first + length, len(block.queries)))
            found += _chunk(block, part, chunk, most)
    return found


def _places(call: Call, part: slice, shared: slice) -> dict[str, int]:
    """Return where some heads of a cache are, by the name of the address field.

    Parameters
    ----------
    call : Call
    part, shared : slice
        Query heads, and heads of K and V.

    Raises
    ------
    LayoutError
        If they do not begin at a multiple of :data:`ADDRESS_ALIGNMENT`.
    """
    _, capacity, d = call.k.codes.shape
    found = {}
    for name, first, each in (
        ("k", shared.start, capacity * d),
        ("v", shared.start, capacity * d),
        ("k_gains", shared.start, capacity),
        ("v_gains", shared.start, capacity),
        ("key_bias", part.start, capacity * BIAS_BYTES),
    ):
        if name not in call.placed:
            continue
        if first * each % ADDRESS_ALIGNMENT:
            raise LayoutError(
                f"a head of a cache of {capacity} places takes {each} bytes of {name}, no multiple "
                f"of {ADDRESS_ALIGNMENT}, and the machine does not hold all heads: make "
                f"the cache of {-(-capacity // ADDRESS_ALIGNMENT) * ADDRESS_ALIGNMENT} places"
            )
        found[name] = call.placed[name] + first * each
    return found


def _chunk(call: Call, part: slice, chunk: slice, most: int) -> list[Segment]:
    """Return the segments of some of a call's heads and queries.

    Parameters
    ----------
    call : Call
    part, chunk : slice
        Query heads, and queries.
    most : int
        Keys of a segment.
    """
    assert call.keys is not None
    ids, keys = call.queries.ids[chunk], call.keys.ids
    four_bit = min(max(call.queries.four_bit - chunk.start, 0), len(ids))
    each = call.heads // call.kv_heads
    shared = slice(part.start // each, -(-part.stop // each))
    given = {each.name: getattr(call, each.name) for each in fields(Call)}
    given |= {
        "q": call.q.take(np.arange(chunk.start, chunk.stop)).of_heads(part),
        "k": call.k.of_heads(shared),
        "v": call.v.of_heads(shared),
        "sinks": None if call.sinks is None else call.sinks[part],
        "key_bias": None if call.key_bias is None else call.key_bias[part],
        "queries": TokenList(ids, four_bit),
        "first_head": part.start,
        "at": _places(call, part, shared),
    }
    spans = [
        slice(most * number, min(most * (number + 1), len(keys)))
        for number in longest_first(len(keys), call.keys.four_bit, most)
    ]
    seen = [
        span
        for span in spans
        if position_mask(ids, keys[span], causal=call.causal, window=call.window).any()
    ] or spans[-1:]
    return [
        Segment(
            **given,
            begins=chunk.start == 0 and span is seen[0],
            span=span,
            continues=span is not seen[0],
            holds=span is not seen[-1],
        )
        for span in seen
    ]


def sharing(piece: Block, before: Mapping[str, int]) -> Block:
    """Return a piece of a call that uses what the pieces before it have put into memory.

    Parameters
    ----------
    piece : Block
    before : mapping
        Fields of the descriptor before, of the same call.
    """
    if not isinstance(piece, Segment) or piece.begins:
        return piece
    names = ["k", "v", "head_table", "k_gains", "v_gains", "key_bias"]
    if piece.continues:
        names += ["q", "q_gains", "query_list"]
    return replace(piece, at={name: before[name] for name in names if name in before})
