"""Where passes keep what belongs to the tiles of keys, and how they walk over it."""

from typing import Any

from amaranth.hdl import Const, Value
from amaranth.lib import data

from dtqatten.configuration.core import Config
from dtqatten.hw.base.replay_store import ReplayStore
from dtqatten.hw.base.sequence_store import SequenceStore
from dtqatten.hw.payloads.softmax import tiles

__all__ = ["tile_store", "walk"]

#: Of a head whose rows come once.
NOT_KEPT = Const(0, 1)


def tile_store(config: Config, item: data.StructLayout, heads: int) -> ReplayStore | SequenceStore:
    """Return a store of an item a key, a word a tile, for as many of the longest heads.

    Parameters
    ----------
    config : Config
    item : data.StructLayout
    heads : int
    """
    kind = SequenceStore if config.skip_tiles else ReplayStore
    return kind(item, config.cols, heads * tiles(config))


def walk(
    config: Config, store: ReplayStore | SequenceStore, row: data.View, kept: Value = NOT_KEPT
) -> list[Any]:
    """Return what makes a store that is read for a row give the word of the row's tile.

    Parameters
    ----------
    config : Config
    store : ReplayStore or SequenceStore
    row : View
        With the fields of ``flags_layout``.
    kept : Value
        The head's rows come once more.
    """
    block_end = row.last_row & row.last_tile
    head_end: Value = block_end & row.last_block & ~kept
    if isinstance(store, SequenceStore):
        return [store.word.eq(row.tile), store.release.eq(head_end)]
    return [
        store.step.eq(row.last_row),
        store.rewind.eq(block_end),
        store.release.eq(head_end),
    ]
