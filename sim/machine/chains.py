"""Chains of layers for the whole machine, and what the golden model makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.driver.layers import Layer, Result
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.attention import Inputs, Options, Outputs, attention
from dtqatten.golden.numerics.codes import Codes, IntArray, quantize
from dtqatten.golden.numerics.order import boundaries, promote
from dtqatten.golden.numerics.select import select

__all__ = ["Expected", "compare_results", "expected", "random_chain"]


@dataclass(frozen=True, eq=False)
class Expected:
    """A layer of a chain, by the golden model.

    Parameters
    ----------
    outputs : Outputs
    ids : int array ``[k0]``
        What it keeps.
    rows : int array ``[tokens]``
        Rows of the tensors that it computed on.
    four_bit : int
        How many first ones of those are of the 4-bit class.
    """

    outputs: Outputs
    ids: IntArray
    rows: IntArray
    four_bit: int


def _shared(codes: Codes, heads: int) -> Codes:
    """Repeat heads of K and V for the query heads that share them."""
    repeats = heads // codes.codes.shape[0]
    gains = None if codes.gains is None else np.repeat(codes.gains, repeats, 0)
    return Codes(np.repeat(codes.codes, repeats, 0), np.repeat(codes.scale, repeats), gains)


def expected(config: Config, layers: Sequence[Layer]) -> list[Expected]:
    """Run a chain through :func:`dtqatten.golden.numerics.attention.attention`."""
    results: list[Expected] = []
    positions: IntArray = np.arange(0)
    for layer in layers:
        if layer.chained:
            before = results[-1]
            kept = layers[len(results) - 1]
            rows, four_bit = before.ids, kept.k0 - kept.k1
            positions = positions[rows]
        else:
            rows, four_bit = np.arange(layer.stored), layer.four_bit
            positions = rows
        q, k, v = (_shared(codes, layer.heads).take(rows) for codes in (layer.q, layer.k, layer.v))
        edges = boundaries(four_bit, len(rows), config.rows, config.cols, config.group)
        carried = None
        if layer.cumulative and not layer.fresh and results:
            carried = results[-1].outputs.importance[rows]
        outputs = attention(
            Inputs(
                q,
                k,
                v,
                promote(edges.q, len(rows)),
                promote(edges.k, len(rows)),
                promote(edges.v, len(rows)),
                softmax.causal_mask(positions, positions) if layer.causal else None,
                carried,
            ),
            replace(layer.options, p_planes=config.planes),
        )
        chosen = select(outputs.importance, layer.k0, layer.k1)
        results.append(Expected(outputs, chosen.ids, rows, four_bit))
    return results


def compare_results(
    layers: Sequence[Layer], results: Sequence[Result], wanted: Sequence[Expected]
) -> None:
    """Compare what the machine gave with the golden model, bit by bit.

    Raises
    ------
    AssertionError
        If an output, an id or an importance differs.
    """
    assert len(results) == len(wanted), f"{len(results)} results of {len(wanted)} layers"
    for number, (layer, result, golden) in enumerate(zip(layers, results, wanted, strict=True)):
        assert np.array_equal(result.output, golden.outputs.output), f"outputs of layer {number}"
        assert np.allclose(result.output_unit, golden.outputs.output_unit, rtol=1e-12)
        if layer.ids:
            assert result.ids is not None
            assert np.array_equal(result.ids, golden.ids), f"ids of layer {number}"
        if layer.report:
            importance = golden.outputs.importance
            assert result.importance is not None
            assert np.array_equal(result.importance, importance), f"importance of layer {number}"


def random_chain(
    config: Config,
    rng: np.random.Generator,
    *,
    layers: int,
    tokens: int | None = None,
    heads: int | None = None,
) -> list[Layer]:
    """Return a chain of random layers with random options, as the configuration has them.

    Parameters
    ----------
    config : Config
    rng : numpy.random.Generator
    layers : int
        Layers of the chain.
    tokens, heads : int, optional
        Of layers that are not chained, of all layers; drawn by default.
    """

    def flip(share: float = 0.5) -> bool:
        return bool(rng.random() < share)

    def pick(low: int, high: int) -> int:
        return (low, high, int(rng.integers(low, high + 1)))[int(rng.integers(3))]

    chain: list[Layer] = []
    for number in range(layers):
        chained = number > 0 and flip(0.8)
        if chained:
            before = chain[-1]
            stored = before.stored if not before.chained else chain[-2].k0
            count = before.k0
        else:
            stored = count = tokens or pick(1, config.n_max)
        kv_heads = heads or pick(1, min(3, config.heads))
        repeats = 1 if heads else pick(1, min(3, config.heads // kv_heads))

        def codes(many: int, gains: bool, n: int = stored) -> Codes:
            values = rng.normal(size=(many, n, config.d_head)) * rng.uniform(0.2, 2, (many, n, 1))
            return quantize(values, "token" if gains else "head")

        k0 = pick(1, count)
        eight = flip()
        cumulative = config.cumulative and flip(0.7)
        carried = chained and chain[-1].cumulative
        chain.append(
            Layer(
                q=codes(kv_heads * repeats, flip()),
                k=codes(kv_heads, flip()),
                v=codes(kv_heads, config.v_gains),
                k0=k0,
                k1=pick(0, k0),
                chained=chained,
                four_bit=0 if chained else pick(0, count),
                causal=flip(),
                report=flip(),
                cumulative=cumulative,
                fresh=cumulative and (not carried or flip(0.3)),
                ids=flip(0.8),
                options=Options(
                    p_planes=config.planes,
                    p_follows_token=flip(0.3),
                    p_follows_query=flip(0.3),
                    output_bits=8 if eight else 16,
                    output_shift=pick(0, 7) if eight else 0,
                    count_normalize=config.count_normalize and flip(),
                ),
            )
        )
    return chain
