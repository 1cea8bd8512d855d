"""What the golden model makes of a chain of layers, and whether a machine gave that."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.driver.blocks import Block, Result
from dtqatten.driver.cache import Cache
from dtqatten.driver.calls import Call
from dtqatten.driver.errors import LayoutError
from dtqatten.driver.layers import Layer
from dtqatten.driver.segments import chunk_length
from dtqatten.golden.numerics.attention import Inputs, Options, Outputs, attention
from dtqatten.golden.numerics.calls import layer_call
from dtqatten.golden.numerics.codes import BoolArray, IntArray
from dtqatten.golden.numerics.heads import head_weight, ranked_heads
from dtqatten.golden.numerics.local_values import SHARE_ALL, fetched, tiling
from dtqatten.golden.numerics.masks import position_mask, visited
from dtqatten.golden.numerics.order import query_tile
from dtqatten.golden.numerics.score_terms import no_biases
from dtqatten.golden.numerics.select import select
from dtqatten.golden.numerics.tokens import CacheImportance, TokenList

__all__ = ["Expected", "compare_results", "expected", "expected_layer"]


@dataclass(frozen=True, eq=False)
class Expected:
    """A layer of a chain, by the golden model.

    Parameters
    ----------
    outputs : Outputs
    ids : int array ``[k0]``
        What it keeps, 4-bit class first.
    kept_four_bit : int
        How many of those are of the 4-bit class.
    rows : int array ``[keys]``
        Places in K and V of the keys that it computed on.
    four_bit : int
        How many first ones of those are of the 4-bit class.
    positions : int array ``[keys]``
        Of those, in the layer that began the chain: ids of a cache, where it had one.
    held : CacheImportance, optional
        Importance of the cache after the layer, where it keeps that.
    fetched : bool array ``[kv_heads, groups]``, optional
        Groups of keys whose V each head that is computed needs, if row blocks choose first.
    alive : bool array ``[heads]``
        Heads that it computes, of all in its tensors.
    head_importance : uint32 array ``[heads]``
        Importance of all heads after the layer, if it ranks them.
    kept_heads : bool array ``[heads]``
        Heads that the next layer may be chained to.
    inputs : Inputs
        What the golden block was given: codes of the rows, promoted precisions.
    options : Options
        Of the golden block.
    """

    outputs: Outputs
    ids: IntArray
    kept_four_bit: int
    rows: IntArray
    four_bit: int
    positions: IntArray
    inputs: Inputs
    options: Options
    alive: BoolArray
    head_importance: IntArray
    kept_heads: BoolArray
    held: CacheImportance | None = None
    fetched: BoolArray | None = None

    @property
    def flat(self) -> BoolArray | None:
        """Which heads of K have a flat row, if they were in 4 bits first."""
        trial, block = self.outputs.trial, self.inputs.tiling
        if trial is None or block is None:
            return None
        heads = trial.again.reshape(len(np.unique(block.blocks)), -1)
        return np.asarray(heads.any(-1), bool)


def expected_layer(
    config: Config,
    layer: Block,
    before: Expected | None = None,
    held: CacheImportance | None = None,
) -> Expected:
    """Run a layer through :func:`dtqatten.golden.numerics.attention.attention`.

    Parameters
    ----------
    config : Config
        The machine's.
    layer : Block
    before : Expected, optional
        The layer before it in the chain; the first one has none.
    held : CacheImportance, optional
        What the cache has before the layer, where it keeps importance.

    Raises
    ------
    LayoutError
        If the layer is chained and there is none before it, or the machine has other weights or no
        progressive layers.
    """
    _check_options(config, layer)
    keys, positions = _keys(layer, before)
    if isinstance(layer, Call):
        queries, query_positions = layer.queries, layer.queries.ids
        q = layer.q
    else:
        queries, query_positions = keys, positions
        q = layer.q.take(keys.ids)
    alive, earlier = _heads(layer, before)
    own, shared = np.flatnonzero(alive), np.arange(layer.kv_heads)
    shared = own if layer.heads_chained else shared
    biases = layer.key_bias
    if biases is None:
        biases = no_biases(config, layer.heads, layer.k.codes.shape[1])
    inputs = layer_call(
        q.of_heads(own),
        layer.k.of_heads(shared),
        layer.v.of_heads(shared),
        queries,
        keys,
        causal=False,
        sinks=None if layer.sinks is None else layer.sinks[own],
        key_bias=None if biases is None else biases[own],
        segment=config.n_max,
        chunk=_chunk(config, layer, len(keys)),
        tile=(query_tile(config.rows, layer.group), config.cols, config.group),
    )
    carried = None
    if layer.cumulative and not layer.fresh and before is not None:
        carried = before.outputs.importance[keys.ids]
    mask = None
    if layer.causal or layer.window is not None:
        mask = position_mask(query_positions, positions, causal=layer.causal, window=layer.window)
    if held is not None:
        carried = held.read(keys.ids)
    tiles = None
    by_tiles = layer.options.flat_sum is not None or config.block_exponents
    if layer.options.value_share < SHARE_ALL or by_tiles:
        tiles = tiling(
            len(own),
            len(queries),
            len(keys),
            (config.rows, config.cols, config.group),
            group=layer.group,
            chunk=_chunk(config, layer, len(keys)),
            cuts=inputs.cuts,
        )
    inputs = replace(inputs, mask=mask, importance=carried, tiling=tiles)
    options = replace(layer.options, p_planes=config.planes, importance_saturates=held is not None)
    outputs = attention(inputs, options)
    first = layer.protected if isinstance(layer, Call) and layer.held else None
    chosen = select(outputs.importance, layer.k0, layer.k1, protected=first)
    weight = head_weight(outputs.output_unit, q.codes.shape[-1])
    ranked = ranked_heads(outputs.output, weight, alive, earlier, layer.keep_heads)
    return Expected(
        outputs,
        chosen.ids,
        layer.k0 - layer.k1,
        keys.ids,
        keys.four_bit,
        positions,
        inputs,
        options,
        alive,
        *ranked,
        None if held is None else held.written(keys.ids, outputs.importance),
        _fetched(config, layer, outputs, query_positions, positions),
    )


def _fetched(
    config: Config, layer: Block, outputs: Outputs, queries: IntArray, keys: IntArray
) -> BoolArray | None:
    """Return which groups of V each head needs, where row blocks choose before they are read.

    Parameters
    ----------
    config : Config
    layer : Block
    outputs : Outputs
        Of the golden block.
    queries, keys : int array
        Positions.
    """
    if not layer.chosen_values:
        return None
    tiles = visited(queries, keys, config.cols, causal=layer.causal, window=layer.window)
    weights = outputs.weights.p
    heads = weights.reshape(len(weights) // layer.group, -1, len(keys))
    tile = (config.cols, config.group)
    return np.stack([fetched(rows, layer.options.value_share, tile, tiles) for rows in heads])


def _heads(layer: Block, before: Expected | None) -> tuple[BoolArray, IntArray]:
    """Return which heads a layer computes, and the importance of all from before."""
    if not layer.heads_chained:
        return np.ones(layer.heads, bool), np.zeros(layer.heads, np.uint32)
    if before is None:
        raise LayoutError("heads of the first layer are chained: there is no layer before it")
    return before.kept_heads, before.head_importance


def _chunk(config: Config, layer: Block, keys: int) -> int | None:
    """Return how many queries the machine computes at a time, if that is not all of them."""
    if keys <= config.n_max:
        return None
    return chunk_length(layer, config.merge_rows, config.rows, config.n_max)


def _check_options(config: Config, layer: Block) -> None:
    """Refuse what a machine computes otherwise, or not at all."""
    options = layer.options
    for name in ("unsigned_weights", "block_exponents", "signed_gains"):
        asked, built = getattr(options, name), getattr(config, name)
        if asked != built:
            raise LayoutError(
                f"{name} is {asked}, the machine's {built}: change the layer's, or generate "
                "another machine"
            )
    if layer.key_bias is not None and not config.bias_heads:
        raise LayoutError(
            "the layer has a key_bias, but the machine has no biases of keys: leave it out, or "
            "generate it with bias_heads"
        )
    if options.flat_sum is not None and not config.progressive:
        raise LayoutError(
            f"flat_sum is {options.flat_sum}, but the machine has no progressive layers: leave it "
            "out, or generate it with progressive"
        )


def _keys(layer: Block, before: Expected | None) -> tuple[TokenList, IntArray]:
    """Return the places of a layer's keys in K and V, and their positions."""
    if layer.chained:
        if before is None:
            raise LayoutError("the first layer is chained: there is no layer before it")
        return TokenList(before.ids, before.kept_four_bit), before.positions[before.ids]
    if isinstance(layer, Call):
        assert layer.keys is not None
        return layer.keys, layer.keys.ids
    assert isinstance(layer, Layer)
    keys = TokenList(np.arange(layer.stored), layer.four_bit)
    return keys, keys.ids


def expected(config: Config, layers: Sequence[Block]) -> list[Expected]:
    """Run a chain through the golden model; importance of caches is what is in memory now."""
    results: list[Expected] = []
    caches: dict[int, CacheImportance | None] = {}
    for layer in layers:
        before = results[-1] if results else None
        if isinstance(layer, Call) and layer.held and (cache := layer.cache) is not None:
            held = caches.get(id(cache)) or cache.importance
            results.append(expected_layer(config, layer, before, held))
            caches[id(cache)] = results[-1].held
        else:
            results.append(expected_layer(config, layer, before))
    return results


def compare_results(
    layers: Sequence[Block], results: Sequence[Result], wanted: Sequence[Expected]
) -> None:
    """Compare what the machine gave with the golden model, bit by bit.

    Raises
    ------
    AssertionError
        If an output, an id or an importance differs, that of caches after the last layer included.
    """

    def check(equal: object, what: str) -> None:
        # No `assert`: it is there under `python -O`, too.
        if not equal:
            raise AssertionError(what)

    caches: dict[int, tuple[Cache, Expected]] = {}
    check(len(results) == len(wanted), f"{len(results)} results of {len(wanted)} layers")
    for number, (layer, result, golden) in enumerate(zip(layers, results, wanted, strict=True)):
        outputs = golden.outputs
        check(np.array_equal(result.output, outputs.output), f"outputs of layer {number}")
        same_unit = np.allclose(result.output_unit, outputs.output_unit, rtol=1e-12)
        check(same_unit, f"unit of the outputs of layer {number}")
        if layer.ids:
            same_ids = result.ids is not None and np.array_equal(result.ids, golden.ids)
            check(same_ids, f"ids of layer {number}")
        if isinstance(layer, Call) and layer.held and layer.cache is not None:
            caches[id(layer.cache)] = (layer.cache, golden)
        if layer.heads_chained:
            same = np.array_equal(np.asarray(result.heads), np.flatnonzero(golden.alive))
            check(same, f"heads of layer {number}")
        if layer.keep_heads:
            kept, found = np.flatnonzero(golden.kept_heads), result.head_importance
            check(
                np.array_equal(np.asarray(result.kept_heads), kept), f"kept heads of layer {number}"
            )
            same = found is not None and np.array_equal(found, golden.head_importance)
            check(same, f"importance of the heads of layer {number}")
        if layer.report:
            found = result.importance
            same = found is not None and np.array_equal(found, outputs.importance)
            check(same, f"importance of layer {number}")
    for cache, golden in caches.values():
        assert golden.held is not None
        same = np.array_equal(cache.importance.values, golden.held.values)
        check(same, "importance that a cache keeps")
