"""What the golden model makes of a chain, and that every difference from it is told."""

from dataclasses import replace

import numpy as np
import pytest

from dtqatten import PRESETS
from dtqatten.driver.errors import LayoutError
from dtqatten.driver.expected import compare_results, expected, expected_layer
from dtqatten.driver.layers import Layer, Result
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.options import Options
from dtqatten.sim.machine.chains import random_chain

TINY = PRESETS["tiny"]


def chain() -> list[Layer]:
    q, k, v = (quantize(x) for x in np.random.default_rng(0).normal(size=(3, 2, 10, 32)))
    return [Layer(q=q, k=k, v=v, k0=6, k1=2, report=True)]


def result_of(layer: Layer) -> Result:
    """What a machine that is right gives."""
    golden = expected_layer(TINY, layer)
    out = golden.outputs
    bits = np.repeat(np.array([4, 8], np.uint8), [layer.k0 - layer.k1, layer.k1])
    return Result(out.output, layer.output_unit(), golden.ids, bits, out.importance)


def test_equal_results_pass_and_each_difference_is_named() -> None:
    layers = chain()
    golden, right = expected(TINY, layers), result_of(layers[0])
    compare_results(layers, [right], golden)
    other = right.output.copy()
    other[1, 3, 5] ^= 1
    importance = np.asarray(right.importance) + np.eye(1, 10, 4, dtype=np.int64)[0]
    for wrong, says in (
        (replace(right, output=other), "outputs of layer 0"),
        (replace(right, output_unit=right.output_unit * 2), "unit of the outputs of layer 0"),
        (replace(right, ids=np.asarray(right.ids)[::-1]), "ids of layer 0"),
        (replace(right, ids=None), "ids of layer 0"),
        (replace(right, importance=importance), "importance of layer 0"),
        (replace(right, importance=None), "importance of layer 0"),
    ):
        with pytest.raises(AssertionError, match=says):
            compare_results(layers, [wrong], golden)
    with pytest.raises(AssertionError, match="0 results of 1 layers"):
        compare_results(layers, [], golden)


def test_layer_by_layer_is_the_chain() -> None:
    layers = random_chain(TINY, np.random.default_rng(3), layers=4, tokens=12, heads=2)
    before = None
    for layer, golden in zip(layers, expected(TINY, layers), strict=True):
        before = expected_layer(TINY, layer, before)
        assert np.array_equal(before.outputs.output, golden.outputs.output)
        assert np.array_equal(before.ids, golden.ids)
        assert before.kept_four_bit == layer.k0 - layer.k1


def test_a_chain_begins_with_a_layer_of_its_own() -> None:
    with pytest.raises(LayoutError, match="there is no layer before it"):
        expected_layer(TINY, replace(chain()[0], chained=True))


def test_a_machine_of_other_numbers_is_refused() -> None:
    (layer,) = chain()
    unsigned = replace(layer, options=Options(unsigned_weights=True))
    raised = replace(layer, options=Options(block_exponents=True))
    signed = replace(layer, options=Options(signed_gains=True))
    tried = replace(layer, options=Options(flat_sum=100_000))
    biased = replace(layer, key_bias=np.zeros((layer.heads, layer.stored), np.int16))
    for machine, other, says in (
        (TINY, biased, "has a key_bias, but the machine has no biases of keys: .* bias_heads"),
        (TINY, unsigned, "unsigned_weights is True, the machine's False"),
        (TINY.replace(unsigned_weights=True), layer, "unsigned_weights is False, the machine's"),
        (TINY, raised, "block_exponents is True, the machine's False"),
        (TINY, signed, "signed_gains is True, the machine's False"),
        (TINY, tried, "flat_sum is 100000, but the machine has no progressive layers"),
    ):
        with pytest.raises(LayoutError, match=says):
            expected_layer(machine, other)
    wide = expected_layer(TINY.replace(unsigned_weights=True), unsigned).outputs.weights.p
    assert wide.max() == 255
