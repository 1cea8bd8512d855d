"""Random chains of layers for the whole machine."""

from typing import Any

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.driver.blocks import Block
from dtqatten.driver.calls import Call
from dtqatten.driver.layers import Layer
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import Codes, IntArray, quantize
from dtqatten.golden.numerics.gains import Gains
from dtqatten.golden.numerics.sinks import NO_SINK
from dtqatten.golden.numerics.tokens import TokenList

__all__ = ["random_chain", "random_list"]


def random_list(rng: np.random.Generator, count: int, below: int) -> TokenList:
    """Return a list of ``count`` tokens with ids below ``below``, in classes of any size."""
    ids = rng.permutation(below)[:count]
    four_bit = int(rng.integers(0, count + 1))
    classes = (np.sort(ids[:four_bit]), np.sort(ids[four_bit:]))
    return TokenList(np.concatenate(classes), four_bit)


def _sinks(rng: np.random.Generator, heads: int) -> IntArray:
    """Return sinks near the scores, at both ends, or none."""
    ends = (NO_SINK, NO_SINK + 1, -NO_SINK - 1)
    return rng.choice([*ends, *rng.integers(-2000, 2000, 9)], heads).astype(np.int16)


def _biases(rng: np.random.Generator, shape: tuple[int, int]) -> IntArray:
    """Return biases near the scores, some at the ends."""
    near = rng.integers(-2000, 2001, shape)
    ends = rng.choice([-(2**15), 2**15 - 1], shape)
    return np.where(rng.random(shape) < 0.02, ends, near).astype(np.int16)


def random_chain(
    config: Config,
    rng: np.random.Generator,
    *,
    layers: int,
    tokens: int | None = None,
    heads: int | None = None,
    calls: float = 0.0,
    segments: float = 0.0,
) -> list[Block]:
    """Return a chain of random layers with random options, as the configuration has them.

    Parameters
    ----------
    config : Config
    rng : numpy.random.Generator
    layers : int
        Layers of the chain.
    tokens, heads : int, optional
        Of layers that are not chained, of all layers; drawn by default.
    calls : float
        Share of the layers whose queries are not their keys.
    segments : float
        Share of those that have more keys than fit at once, where the machine merges rows.
    """

    def flip(share: float = 0.5) -> bool:
        return bool(rng.random() < share)

    def pick(low: int, high: int) -> int:
        return (low, high, int(rng.integers(low, high + 1)))[int(rng.integers(3))]

    def sequence(count: int, below: int) -> TokenList:
        """Return tokens in any order, or one after the other."""
        if flip():
            return random_list(rng, count, below)
        start = pick(0, below - count)
        return TokenList(np.arange(start, start + count), pick(0, count))

    chain: list[Block] = []
    # Heads that the last layer computes.
    left = 0
    # Keys that the last layer computes on.
    computed = 0
    for number in range(layers):
        call = flip(calls)
        # Segments keep no ids.
        ranked = bool(computed) and computed <= config.n_max
        chained = number > 0 and flip(0.5 if call else 0.8) and ranked
        kept = chain[-1].k0 if chain else 0
        kv_heads = heads or pick(1, min(3, config.heads))
        shared_by = min(8 if config.grouped else 3, config.heads // kv_heads)
        repeats = 1 if heads else pick(1, shared_by)
        heads_chained, keep_heads = False, 0
        if config.head_pruning:
            heads_chained = number > 0 and chain[-1].keep_heads > 0 and flip(0.8)
            if heads_chained:
                kv_heads, repeats, left = chain[-1].heads, 1, chain[-1].keep_heads
            else:
                kv_heads = pick(1, config.heads // repeats)
                left = kv_heads * repeats
            keep_heads = int(rng.integers(1, left + 1)) if flip(0.9) else 0

        # Of V and, with a sign, of Q and K.
        kinds = [Gains.LEAST_ERROR if number % 2 else Gains.LARGEST]
        kinds += [Gains.SIGNED] * config.signed_gains

        def codes(many: int, gains: bool, n: int, kind: Gains = kinds[-1]) -> Codes:
            values = rng.normal(size=(many, n, config.d_head)) * rng.uniform(0.2, 2, (many, n, 1))
            return quantize(values, "token" if gains else "head", gains=kind)

        most = min(tokens or config.n_max, config.n_max)
        # In segments, keys are not ranked.
        biased = config.bias_heads > 0 and flip(0.8)
        many_keys = call and bool(config.merge_rows) and not chained and flip(segments)
        grouped = config.grouped and call and flip(0.8) and repeats <= most
        if biased:
            grouped = grouped and repeats <= config.bias_heads
        if many_keys:
            grouped = grouped and repeats <= config.merge_rows
        rows = most // repeats if grouped else most
        if (config.progressive or config.chosen_values) and flip(0.8):
            # As few as a row block has.
            rows = min(rows, max(1, config.rows // (repeats if grouped else 1)))
        queries = sequence(pick(1, rows), config.positions) if call else None
        keys = None
        stored = computed
        if not chained:
            stored = tokens or pick(1, config.n_max)
            if many_keys:
                stored = pick(config.n_max + 1, config.positions)
                keys = sequence(pick(config.n_max + 1, min(4 * config.n_max, stored)), stored)
            elif call:
                stored = pick(1, config.positions)
                keys = sequence(pick(1, min(most, stored)), stored)
        count = kept if chained else stored if keys is None else len(keys)
        k0 = count if many_keys else pick(1, count)
        eight = flip()
        limit = None
        if config.progressive and (grouped or repeats == 1):
            of_query = repeats if grouped else 1
            rows = of_query * (count if queries is None else len(queries))
            if rows <= config.rows and flip(0.8):
                limit = int(rng.choice([0, 65535, 150_000, 1_000_000, 1 << 26]))
        chooses = False
        share = int(rng.choice([1, 90, 255, 256])) if config.local_values else 256
        if config.chosen_values and (grouped or repeats == 1):
            rows = (repeats if grouped else 1) * (count if queries is None else len(queries))
            chooses = rows <= config.rows and share < 256 and flip(0.8)
        cumulative = config.cumulative and not many_keys and flip(0.7)
        carried = chained and chain[-1].cumulative
        shared: dict[str, Any] = {
            "q": codes(kv_heads * repeats, flip(), stored if queries is None else len(queries)),
            "k": codes(kv_heads, flip(), stored),
            "v": codes(kv_heads, config.v_gains, stored, kinds[0]),
            "k0": k0,
            "k1": 0 if many_keys else pick(0, k0),
            "causal": flip(),
            "report": flip() and not many_keys,
            "cumulative": cumulative,
            "fresh": cumulative and (not carried or flip(0.3)),
            "ids": flip(0.8) and not many_keys,
            "keep_heads": keep_heads,
            "heads_chained": heads_chained,
            "key_bias": _biases(rng, (kv_heads * repeats, stored)) if biased else None,
            "chosen_values": chooses,
            "options": Options(
                p_planes=config.planes,
                unsigned_weights=config.unsigned_weights,
                block_exponents=config.block_exponents,
                signed_gains=config.signed_gains,
                p_follows_token=flip(0.3),
                p_follows_query=flip(0.3),
                output_bits=8 if eight else 16,
                output_shift=pick(0, 7) if eight else 0,
                count_normalize=config.count_normalize and not many_keys and flip(),
                value_share=share,
                flat_sum=limit,
            ),
        }
        if queries is not None:
            many = len(shared["q"].codes)
            windowed, sunk = config.windows and flip(), config.sinks and flip()
            chain.append(
                Call(
                    queries=queries,
                    keys=keys,
                    grouped=grouped,
                    window=pick(1, config.positions) if windowed else None,
                    sinks=_sinks(rng, many) if sunk else None,
                    **shared,
                )
            )
        else:
            four_bit = 0 if chained else pick(0, count)
            chain.append(Layer(chained=chained, four_bit=four_bit, **shared))
        computed = count
    return chain
