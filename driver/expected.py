"""What the golden model makes of a chain of layers, and whether a machine gave that."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.driver.errors import LayoutError
from dtqatten.driver.layers import Layer, Result
from dtqatten.golden.numerics.attention import Inputs, Options, Outputs, attention
from dtqatten.golden.numerics.calls import shared
from dtqatten.golden.numerics.codes import IntArray
from dtqatten.golden.numerics.masks import causal_mask
from dtqatten.golden.numerics.order import boundaries, promote
from dtqatten.golden.numerics.select import select

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
    rows : int array ``[tokens]``
        Rows of the tensors that it computed on.
    four_bit : int
        How many first ones of those are of the 4-bit class.
    positions : int array ``[tokens]``
        Places of those tokens in the layer that began the chain, which a causal mask compares.
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


def expected_layer(config: Config, layer: Layer, before: Expected | None = None) -> Expected:
    """Run a layer through :func:`dtqatten.golden.numerics.attention.attention`.

    Parameters
    ----------
    config : Config
        The machine's.
    layer : Layer
    before : Expected, optional
        The layer before it in the chain; the first one has none.

    Raises
    ------
    LayoutError
        If the layer is chained and there is none before it.
    """
    if layer.chained:
        if before is None:
            raise LayoutError("the first layer is chained: there is no layer before it")
        rows, positions = before.ids, before.positions[before.ids]
        four_bit = before.kept_four_bit
    else:
        rows = positions = np.arange(layer.stored)
        four_bit = layer.four_bit
    q, k, v = (shared(codes, layer.heads).take(rows) for codes in (layer.q, layer.k, layer.v))
    edges = boundaries(four_bit, len(rows), config.rows, config.cols, config.group)
    carried = None
    if layer.cumulative and not layer.fresh and before is not None:
        carried = before.outputs.importance[rows]
    inputs = Inputs(
        q,
        k,
        v,
        promote(edges.q, len(rows)),
        promote(edges.k, len(rows)),
        promote(edges.v, len(rows)),
        causal_mask(positions, positions) if layer.causal else None,
        carried,
    )
    options = replace(layer.options, p_planes=config.planes)
    outputs = attention(inputs, options)
    chosen = select(outputs.importance, layer.k0, layer.k1)
    kept = layer.k0 - layer.k1
    return Expected(outputs, chosen.ids, kept, rows, four_bit, positions, inputs, options)


def expected(config: Config, layers: Sequence[Layer]) -> list[Expected]:
    """Run a chain through the golden model."""
    results: list[Expected] = []
    for layer in layers:
        results.append(expected_layer(config, layer, results[-1] if results else None))
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

    def check(equal: object, what: str) -> None:
        # No `assert`: it is there under `python -O`, too.
        if not equal:
            raise AssertionError(what)

    check(len(results) == len(wanted), f"{len(results)} results of {len(wanted)} layers")
    for number, (layer, result, golden) in enumerate(zip(layers, results, wanted, strict=True)):
        outputs = golden.outputs
        check(np.array_equal(result.output, outputs.output), f"outputs of layer {number}")
        same_unit = np.allclose(result.output_unit, outputs.output_unit, rtol=1e-12)
        check(same_unit, f"unit of the outputs of layer {number}")
        if layer.ids:
            same_ids = result.ids is not None and np.array_equal(result.ids, golden.ids)
            check(same_ids, f"ids of layer {number}")
        if layer.report:
            found = result.importance
            same = found is not None and np.array_equal(found, outputs.importance)
            check(same, f"importance of layer {number}")
