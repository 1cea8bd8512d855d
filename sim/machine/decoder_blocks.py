"""Attention blocks of a decoder: on a machine with a cache a layer, or golden on its tiles."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dtqatten.algorithm.block.integer import integer
from dtqatten.algorithm.block.local_values import tiles_of
from dtqatten.algorithm.block.operands import Operands, Result
from dtqatten.algorithm.block.quantized import Quantized
from dtqatten.algorithm.policy import Policy
from dtqatten.configuration.core import Config
from dtqatten.driver.cache import Cache
from dtqatten.driver.device import Device
from dtqatten.files.errors import UsageError
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import Codes
from dtqatten.golden.numerics.local_values import SHARE_ALL
from dtqatten.golden.numerics.order import aligned, promote, query_tile
from dtqatten.golden.numerics.progressive import flat_sum
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.interface.registers import Control

__all__ = ["BlockCall", "CachedBlocks", "StepRun", "TiledBlocks", "block_calls"]


@dataclass(frozen=True, eq=False)
class BlockCall:
    """Queries and keys of a block, as lists of a machine.

    Parameters
    ----------
    queries, keys : TokenList
    rows : int array
        Places of the queries in Q.
    window : int or None
        How many positions a query sees; None: all up to its own.
    """

    queries: TokenList
    keys: TokenList
    rows: np.ndarray
    window: int | None


def _listed(ids: np.ndarray, bits: np.ndarray) -> TokenList:
    """Return tokens as a list: those of 4 bits first."""
    four = ids[bits == 4]
    return TokenList(np.concatenate([four, ids[bits != 4]]), len(four))


def _window(layer: int, seen: np.ndarray, positions: np.ndarray, ids: np.ndarray) -> int | None:
    """Return how many positions each query sees, or None if it sees all up to its own.

    Parameters
    ----------
    layer : int
        For messages.
    seen : bool array ``[queries, keys]``
    positions, ids : int array
        Of the queries, and of the keys.

    Raises
    ------
    UsageError
        If queries see other keys.
    """
    behind = positions[:, None] - ids
    if np.array_equal(seen, behind >= 0):
        return None
    window = int(np.max(behind, where=seen, initial=0)) + 1
    if not np.array_equal(seen, (behind >= 0) & (behind < window)):
        raise UsageError(
            f"layer {layer} has a mask that is neither causal nor a sliding window (blocks, say): "
            "the machine's calls take one set of keys, and see them so; use mode integer"
        )
    return window


def block_calls(layer: int, op: Operands, n_max: int, rows: int) -> Iterator[BlockCall]:
    """Yield a block's calls: as many queries a call as a machine takes at a time.

    That is a head's rows, or those of a row block where it tries them in 4 bits.

    Parameters
    ----------
    layer : int
        For messages.
    op : Operands
    n_max, rows : int
        Rows of a head, and of a row block, at most.

    Raises
    ------
    UsageError
        If it is of more than one sequence, queries see other keys than by a causal mask or a
        sliding window, or scores are capped or have biases.
    """
    batch, heads, m, _ = op.q.codes.shape
    shared, n = op.k.codes.shape[1:3]
    of_head = n_max if op.threshold is None else rows
    most = max(1, of_head // (heads // shared))
    if batch != 1:
        raise UsageError(f"a batch of {batch}: the machine takes one sequence at a time")
    unknown = [name for name in op.terms.named() if name != "sinks"]
    if unknown:
        raise UsageError(
            f"layer {layer} has {unknown[0]}, which the machine has not: use mode integer"
        )
    seen = np.ones((1, n), bool) if op.visible is None else op.visible[0, 0].cpu().numpy()
    ids = np.flatnonzero(seen.any(0))
    positions = np.arange(n - m, n)
    window = _window(layer, np.broadcast_to(seen, (m, n))[:, ids], positions, ids)
    keys = _listed(ids, op.k_bits[0].cpu().numpy()[ids])
    counted = np.flatnonzero(op.queries[0].cpu().numpy() > 0)
    bits = op.q_bits[0].cpu().numpy()
    for first in range(0, len(counted), most):
        places = counted[first : first + most]
        queries = _listed(positions[places], bits[places])
        yield BlockCall(queries, keys, queries.ids - positions[0], window)


class TiledBlocks:
    """Golden blocks whose tokens of 4 bits are promoted as on a machine's tiles.

    Where a policy mixes precisions, tokens that share a tile with one of 8 bits have 8 bits too. To
    be the ``compute`` of a :class:`~dtqatten.algorithm.runtime.Session`.

    Parameters
    ----------
    config : Config
        The machine's.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(self, layer: int, op: Operands) -> Result:
        """Compute a block."""
        config = self.config
        group = op.q.codes.shape[1] // op.k.codes.shape[1] if config.grouped else 1
        tile = query_tile(config.rows, group)
        q_bits, k_bits, v_bits = (bits.clone() for bits in (op.q_bits, op.k_bits, op.v_bits))

        def promoted(bits: Tensor, places: np.ndarray, four_bit: int, tile: int) -> None:
            n = len(places)
            made = promote(aligned(four_bit, n, tile), n)
            bits[0, places] = torch.from_numpy(made).to(bits)

        for call in block_calls(layer, op, config.n_max, config.rows):
            promoted(q_bits, call.rows, call.queries.four_bit, tile)
            promoted(k_bits, call.keys.ids, call.keys.four_bit, config.cols)
            promoted(v_bits, call.keys.ids, call.keys.four_bit, config.group)
        tiled = op.value_share < SHARE_ALL or op.threshold is not None or op.block_exponents
        tiles = tiles_of(op) if tiled else None
        return integer(
            dataclasses.replace(op, q_bits=q_bits, k_bits=k_bits, v_bits=v_bits, tiles=tiles)
        )


@dataclass
class StepRun:
    """What a forward pass took on the machine, by its own counters.

    Parameters
    ----------
    tokens, new : int
        Tokens in the cache; those of this pass.
    layers : int
        Layers so far.
    keys, four_bit : int
        Keys that were computed on, in all layers; those of them in 4 bits.
    cycles, bytes_read, bytes_written : int
    """

    tokens: int
    new: int
    layers: int = 0
    keys: int = 0
    four_bit: int = 0
    cycles: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


class CachedBlocks:
    """Attention blocks of a decoder on a machine, each layer on a cache in its memory.

    To be the ``compute`` of a :class:`~dtqatten.algorithm.runtime.Session`.

    Parameters
    ----------
    device : Device
        On a machine of :func:`~dtqatten.sim.machine.decoder.decoder_config`.
    policy : Policy
    tokens : int
        Room of each cache.
    tell : callable
        Called after each layer with the pass so far.

    Attributes
    ----------
    steps : list of StepRun
        A forward pass each.
    """

    def __init__(
        self,
        device: Device,
        policy: Policy,
        tokens: int,
        tell: Callable[[StepRun], object] = lambda _: None,
    ) -> None:
        self.device, self.policy, self.tokens, self.tell = device, policy, tokens, tell
        self.steps: list[StepRun] = []
        self._caches: list[Cache] = []

    def __call__(self, layer: int, op: Operands) -> Result:
        """Compute a block.

        Raises
        ------
        UsageError
            As of :func:`block_calls`.
        LayoutError
            If there are more keys than the machine has room for.
        """
        heads, m, d = op.q.codes.shape[1:]
        n = op.k.codes.shape[2]
        if layer == 0:
            self.steps.append(StepRun(n, m))
        cache = self._stored(layer, op)
        sizes, step = self.device.sizes, self.steps[-1]
        q = _codes(op.q, 0)
        sinks = op.terms.sink_codes()
        output = torch.zeros(1, heads, m, d, dtype=torch.float64)
        drawn = torch.zeros(1, 1, n, dtype=torch.float64)
        for call in block_calls(layer, op, sizes["n_max"], sizes["rows"]):
            made = cache.call(
                q.take(call.rows),
                call.queries,
                call.keys,
                window=call.window,
                sinks=sinks,
                report=self.policy.ranks,
                options=Options(
                    p_planes=op.p_planes,
                    unsigned_weights=op.unsigned_weights,
                    block_exponents=op.block_exponents,
                    signed_gains=op.signed_gains,
                    p_follows_token=op.p_follows_token,
                    p_follows_query=op.p_follows_query,
                    softmax_scale=op.scaling,
                    value_share=op.value_share,
                    flat_sum=None if op.threshold is None else flat_sum(op.threshold),
                ),
            )
            self.device.set_register("control", Control.CLEAR_COUNTERS)
            (result,) = self.device.run([made])
            output[0][:, call.rows] = torch.from_numpy(result.values)
            if result.importance is not None:
                total = torch.from_numpy(result.importance.astype(np.float64))
                drawn[0, 0, call.keys.ids] += total / 2**16
            step.cycles += self.device.register("cycles")
            step.bytes_read += self.device.register("read_bytes")
            step.bytes_written += self.device.register("write_bytes")
        step.layers += 1
        step.keys += len(call.keys)
        step.four_bit += call.keys.four_bit
        self.tell(step)
        return Result(output, drawn if self.policy.ranks else None)

    def _stored(self, layer: int, op: Operands) -> Cache:
        """Return a layer's cache, with the new tokens in it."""
        if layer == len(self._caches):
            first = (_codes(x, 0) for x in (op.k, op.v))
            k, v = first
            gains = {"k_gains": k.gains is not None, "v_gains": v.gains is not None}
            biased = 0 if op.terms.key_bias is None else op.q.codes.shape[1]
            self._caches.append(
                Cache(self.device, self.tokens, k.scale, v.scale, biased=biased, **gains)
            )
        cache = self._caches[layer]
        k, v = (_codes(x, cache.stored) for x in (op.k, op.v))
        if not all(np.array_equal(a.scale, b.scale) for a, b in ((k, cache.k), (v, cache.v))):
            before = np.arange(cache.stored)
            cache.rescale(*(_codes(x, 0).take(before) for x in (op.k, op.v)))
        biases = op.terms.bias_codes()
        cache.append(k, v, None if biases is None else biases[0, :, cache.stored :])
        return cache


def _codes(quantized: Quantized, first: int) -> Codes:
    """Return the codes of one sequence's tokens from a place on, for the driver."""
    made = quantized.numpy(quantized.codes.shape[1])
    gains = None if made.gains is None else made.gains[0][:, first:]
    return Codes(made.codes[0][:, first:], made.scale[0], gains)
