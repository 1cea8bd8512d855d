"""Rows of more keys than a segment has, as Whisper's encoder has them."""

import dataclasses

import pytest
import torch

from dtqatten.algorithm.block.fake_quant import fake_quant
from dtqatten.algorithm.block.integer import integer
from dtqatten.algorithm.block.operands import Operands
from dtqatten.algorithm.block.quantized import Rule, quantize_exactly
from dtqatten.algorithm.block.terms import Terms
from dtqatten.golden.numerics.gains import Gains


def operands(n_q, n_k, **options):
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, n, 8) * 1.5 for n in (n_q, n_k, n_k))
    every = torch.full((1, n_k), 8.0)
    return Operands(
        q=quantize_exactly(q, None, Rule(Gains.LARGEST)),
        k=quantize_exactly(k, None, Rule(Gains.LARGEST)),
        v=quantize_exactly(v, None, Rule(Gains.LARGEST)),
        q_bits=every[:, :n_q],
        k_bits=every,
        v_bits=every,
        visible=None,
        scaling=8**-0.5,
        queries=torch.ones(1, n_q),
        p_planes=3,
        **options,
    )


def rms(a, b):
    return float(((a - b).double().square().mean() / b.double().square().mean()).sqrt())


@pytest.mark.parametrize(
    "terms", [Terms(), Terms(5.0, torch.arange(1500.0)[None, None, None] % 7, torch.ones(2))]
)
@pytest.mark.parametrize("exponents", [False, True])
def test_modes_agree_over_two_segments(terms, exponents):
    op = dataclasses.replace(operands(4, 1500), terms=terms, block_exponents=exponents)
    exact, fast = integer(op), fake_quant(op)
    # Of one row and of two segments: 0.0065 and 0.0043 at most.
    assert rms(fast.output, exact.output) < 0.01
    assert rms(fast.importance, exact.importance) < 0.006


def test_choices_by_the_weights_of_a_row_are_refused_there():
    for options in ({"value_share": 128}, {"threshold": 0.5}):
        with pytest.raises(ValueError, match="a segment has 1025 keys, more than 1024"):
            integer(operands(4, 1025, **options))
        integer(operands(4, 1024, **options))
