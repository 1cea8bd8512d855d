"""Layers of random codes for the core."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.layers import CoreLayer
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import Codes
from dtqatten.golden.numerics.local_values import SHARE_ALL
from dtqatten.golden.numerics.segments import equal_cuts
from dtqatten.golden.numerics.sinks import NO_SINK

__all__ = ["random_chain", "random_layer"]

#: Gains of tokens, without and with a sign.
_GAINS = {False: (1, 255, 128, 200), True: (2, -2, 254, -254, 128, -200)}


def _codes(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    scale: float,
    gains: Sequence[int] | None,
) -> Codes:
    """Return codes ``[heads, n, d]`` at scales up to ``scale``, extremes more often.

    Scales differ by head, so that each has a factor of its own.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    scale : float
    gains : sequence of int, optional
        What gains of tokens are drawn from, if they have any.
    """
    values = np.where(
        rng.random(shape) < 0.9, rng.integers(-128, 120, shape), rng.choice([-120, 119, 0], shape)
    )
    drawn = None if gains is None else rng.choice(gains, shape[:2])
    return Codes(values.astype(np.int8), scale * rng.uniform(0.5, 1, shape[0]), drawn)


def _places(rng: np.random.Generator, span: int, n: int) -> NDArray[np.int64]:
    """Return ``n`` places below ``span``, ascending in each of two classes, or in any order."""
    drawn = rng.permutation(span)[:n]
    edge = int(rng.integers(0, n + 1))
    classes = np.concatenate([np.sort(drawn[:edge]), np.sort(drawn[edge:])])
    return classes if rng.random() < 0.8 else drawn


def _cuts(rng: np.random.Generator, n: int, most: int) -> tuple[int, ...]:
    """Return cuts of ``n`` keys into segments of ``most`` at most: full ones, or of any length."""
    if rng.integers(2):
        return equal_cuts(n, most)
    cuts, at = [], int(rng.integers(1, most + 1))
    while at < n:
        cuts.append(at)
        at += int(rng.integers(1, most + 1))
    return tuple(cuts)


def _flat_sum(rng: np.random.Generator) -> int | None:
    """Return a limit of the rows' sums: none that is reached, all, or one among them; or None."""
    limit = rng.choice([-1, 0, 65535, 90_000, 200_000, 1 << 26])
    return None if limit < 0 else int(limit)


def random_layer(
    config: Config,
    rng: np.random.Generator,
    *,
    heads: int | None = None,
    tokens: int | None = None,
    queries: int | None = None,
    share: float | None = None,
    causal: bool | None = None,
    after: CoreLayer | None = None,
) -> CoreLayer:
    """Return a layer of random codes; what is not given is drawn too, corners more often.

    Queries are the keys' tokens, or others, of which some may be keys; precisions differ by role.
    With cumulative importance a layer ``after`` another one carries on what that one chose. Where
    rows can be merged, most layers have more keys than a segment, and are cut at random.

    Parameters
    ----------
    config : Config
    rng : numpy.random.Generator
    heads, tokens : int, optional
        How many heads of K and V, and keys of each; ``after`` decides on the keys.
    queries : int, optional
        How many, apart from the keys.
    share : float, optional
        Probability that a token has 8 bits in a role.
    causal : bool, optional
        Whether there is a causal mask.
    after : CoreLayer, optional
        Layer on whose chosen tokens this one computes.
    """
    carried = None
    if after is not None:
        carried = after.golden.importance[after.chosen.ids]
        tokens = len(carried)
    group = int(rng.choice([1, 2, 3, 8])) if config.grouped else 1
    if config.bias_heads:
        group = min(group, config.bias_heads)
    heads = int(rng.integers(1, min(config.heads, 3) + 1)) if heads is None else heads
    most = min(config.n_max, 3 * max(config.rows, config.cols))
    # In segments, unless importance is carried from layer to layer.
    segments = 1
    if config.merge_rows and not config.cumulative and after is None and rng.random() < 0.7:
        segments = int(rng.integers(2, 6))
        most = min(segments * config.n_max, config.positions)

    def count() -> int:
        return int(rng.choice([1, most, int(rng.integers(1, most + 1))]))

    n = count() if tokens is None else tokens
    cuts = _cuts(rng, n, config.n_max) if segments > 1 or n > config.n_max else ()
    if queries is None and rng.random() < 0.5:
        queries = count()
    if config.chosen_values and queries is not None and rng.random() < 0.7:
        queries = int(rng.integers(1, max(1, config.rows // group) + 1))
    m = n if queries is None else queries
    share = float(rng.choice([0.0, 0.3, 1.0])) if share is None else share
    causal = bool(rng.integers(2)) if causal is None else causal
    scale = float(rng.choice([1e-4, 3e-3]))

    def codes(
        heads: int, n: int, *, gained: bool, gains: Sequence[int] = _GAINS[config.signed_gains]
    ) -> Codes:
        return _codes(rng, (heads, n, config.d_head), scale, gains if gained else None)

    def bits(n: int) -> NDArray[np.int64]:
        return np.where(rng.random(n) < share, 8, 4)

    # Positions among those of a cache: close together, or anywhere in it.
    span = int(rng.choice([max(m, n), config.positions]))
    start = int(rng.integers(0, config.positions - span + 1))
    k_ids = start + _places(rng, span, n)
    q_ids = k_ids if queries is None else start + _places(rng, span, m)
    window = int(rng.integers(1, span + 1)) if config.windows and rng.integers(2) else None
    gained = bool(rng.integers(2))
    form = int(rng.choice([8, 16]))
    k0 = int(rng.choice([1, n, int(rng.integers(1, n + 1))]))
    sinks = None
    if config.sinks and rng.random() < 0.8:
        ends = (NO_SINK, -NO_SINK - 1)
        drawn = rng.choice([*ends, *rng.integers(-2000, 2001, 4)], heads * group)
        sinks = drawn.astype(np.int16)
    biases, biased = None, False
    if config.bias_heads:
        biased = rng.random() < 0.8
        drawn = rng.integers(-1500, 1501, (heads * group, n)) * biased
        biases = np.where(rng.random(drawn.shape) < 0.02, -(2**15) * biased, drawn)
    holds = config.held_importance and not cuts and carried is None and rng.random() < 0.7
    made = CoreLayer(
        q=codes(heads * group, m, gained=gained),
        k=codes(heads, n, gained=gained),
        v=codes(heads, n, gained=config.v_gains, gains=_GAINS[False]),
        q_bits=bits(m),
        k_bits=bits(n),
        v_bits=bits(n),
        q_ids=q_ids,
        k_ids=k_ids,
        causal=causal,
        window=window,
        sinks=sinks,
        key_bias=biases,
        biased=biased,
        by_token=bool(rng.integers(2)),
        options=Options(
            p_planes=config.planes,
            unsigned_weights=config.unsigned_weights,
            block_exponents=config.block_exponents,
            signed_gains=config.signed_gains,
            p_follows_token=bool(rng.integers(2)),
            p_follows_query=bool(rng.integers(2)),
            output_bits=form,
            output_shift=int(rng.integers(0, 8)) if form == 8 else 0,
            count_normalize=config.count_normalize and bool(rng.integers(2)),
            value_share=int(rng.choice([1, 64, 200, 256])) if config.local_values else SHARE_ALL,
            flat_sum=_flat_sum(rng) if config.progressive and m * group <= config.rows else None,
        ),
        k0=k0,
        k1=int(rng.integers(0, k0 + 1)),
        report=bool(rng.integers(2)),
        cumulative=config.cumulative,
        fresh=config.cumulative and after is None,
        carried=carried,
        held=rng.integers(0, int(rng.choice([1 << 20, 1 << 32])), n) if holds else None,
        protected=np.isin(np.arange(n), rng.permutation(n)[: rng.integers(0, k0 + 1)])
        if holds
        else None,
        cuts=cuts,
    )
    if config.local_values or config.progressive or config.block_exponents:
        made = replace(made, tiling=made.tiled(config))
    if config.chosen_values and m * group <= config.rows:
        chooses = made.options.value_share < SHARE_ALL and rng.random() < 0.8
        made = replace(made, chosen_values=bool(chooses))
    return made


def random_chain(
    config: Config, rng: np.random.Generator, count: int, **given: Any
) -> list[CoreLayer]:
    """Return random layers as of :func:`random_layer`.

    With cumulative importance about half of them carry on what the one before chose.
    """
    layers: list[CoreLayer] = []
    for _ in range(count):
        carries = config.cumulative and layers and rng.random() < 0.5
        layers.append(random_layer(config, rng, after=layers[-1] if carries else None, **given))
    return layers
