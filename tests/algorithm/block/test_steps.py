"""Queries computed at once, each a step of its own, against one query after the other."""

import dataclasses

import pytest
import torch

from dtqatten.algorithm.block.fake_quant import fake_quant
from dtqatten.algorithm.block.integer import integer
from dtqatten.algorithm.block.operands import Operands
from dtqatten.algorithm.block.quantized import Quantized, Rule, quantize_exactly
from dtqatten.golden.numerics.gains import Gains
from dtqatten.golden.numerics.local_values import Arrays

#: A row block holds two queries of two heads each, a group two keys.
ARRAYS = Arrays(4, 6, 2, 64, grouped=True)
N = 24


def window(arrays: Arrays, **rules: float) -> Operands:
    """Return a causal window of tokens of 8 bits."""
    torch.manual_seed(4)
    q, k, v = torch.randn(2, 4, N, 16) * 2, torch.randn(2, 2, N, 16), torch.randn(2, 2, N, 16)
    bits = torch.full((2, N), 8.0)
    return Operands(
        *(quantize_exactly(x, None, Rule(Gains.LARGEST)) for x in (q, k, v)),
        q_bits=bits,
        k_bits=bits,
        v_bits=bits,
        visible=torch.ones(N, N, dtype=torch.bool).tril().expand(2, 1, N, N),
        scaling=0.25,
        queries=torch.ones(2, N),
        arrays=arrays,
        **rules,
    )


def step(op: Operands, place: int) -> Operands:
    """Return the query of a place, with the keys up to its own, as a cache holds them."""

    def part(x: Quantized, of: slice) -> Quantized:
        assert x.gains is not None
        return Quantized(x.codes[:, :, of], x.scale, x.gains[:, :, of])

    one, keys = slice(place, place + 1), slice(place + 1)
    return dataclasses.replace(
        op,
        q=part(op.q, one),
        k=part(op.k, keys),
        v=part(op.v, keys),
        q_bits=op.q_bits[:, one],
        k_bits=op.k_bits[:, keys],
        v_bits=op.v_bits[:, keys],
        visible=None,
        queries=op.queries[:, one],
    )


@pytest.mark.parametrize("rules", [{"value_share": 90}, {"threshold": 0.2}], ids=str)
@pytest.mark.parametrize("compute", [integer, fake_quant])
def test_steps_at_once_are_those_one_by_one(rules, compute):
    """Each position chooses V and is tried by itself; row blocks of two do otherwise."""
    together = compute(window(dataclasses.replace(ARRAYS, stepwise=True), **rules))
    blocks = compute(window(ARRAYS, **rules))
    steps = [compute(step(window(ARRAYS, **rules), place)) for place in range(N)]
    each = torch.cat([one.output for one in steps], 2)
    torch.testing.assert_close(together.output, each)
    assert not torch.allclose(blocks.output, each, atol=1e-3)
    if "threshold" in rules:
        assert torch.equal(together.again, torch.cat([one.again for one in steps], 2))
    else:
        rows = sum(
            torch.nn.functional.pad(one.multiplied, (0, N - place - 1))
            for place, one in enumerate(steps)
        )
        assert torch.equal(together.multiplied, rows)
