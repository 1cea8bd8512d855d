"""Codes in PyTorch against the golden model's, at scales that are given or grow."""

import numpy as np
import pytest
import torch

from dtqatten.algorithm.block.quantized import (
    Quantized,
    Rule,
    quantize,
    quantize_exactly,
    rescaled,
)
from dtqatten.golden.numerics.codes import Granularity
from dtqatten.golden.numerics.codes import quantize as golden_quantize
from dtqatten.golden.numerics.gains import Gains

#: One scale a head, or a gain a token.
RULES = {False: Rule(), True: Rule(Gains.LARGEST)}


@pytest.mark.parametrize("per_token", [False, True])
def test_codes_are_those_of_the_golden_model(per_token):
    """Up to one code where float32 rounds to the other side of a half."""
    for seed in range(5):
        torch.manual_seed(seed)
        x = torch.randn(2, 4, 24, 16) * 1.5
        got = quantize(x, None, RULES[per_token])
        exact = golden_quantize(
            x.double().numpy(), Granularity.TOKEN if per_token else Granularity.HEAD
        )
        off = np.abs(got.codes.numpy() - exact.codes)
        assert off.max() <= 1
        assert (off > 0).mean() < 1e-3
        if per_token:
            assert (got.gains.numpy() == exact.gains).mean() > 0.999
        assert (quantize_exactly(x, None, RULES[per_token]).codes.numpy() == exact.codes).all()


def test_tokens_left_out_do_not_stretch_the_scale():
    x = torch.ones(1, 1, 3, 4)
    x[0, 0, 1] = 100
    keep = torch.tensor([[True, False, True]])
    for make in (quantize, quantize_exactly):
        assert make(x, keep, Rule()).scale.item() == pytest.approx(1 / 119)
        assert make(x, None, Rule()).scale.item() == pytest.approx(100 / 119)


@pytest.mark.parametrize("make", [quantize, quantize_exactly])
def test_what_exceeds_a_fixed_scale_is_clipped(make):
    x = torch.tensor([[[[60 / 119, -3.0]]]])
    got = make(x, None, Rule(), torch.full((1, 1), 1 / 119))
    assert got.codes.flatten().tolist() == [60, -119]


def test_a_token_has_four_or_eight_bits():
    codes = torch.tensor([[[[24.0, -9.0, 7.0, 119.0], [24.0, -9.0, 7.0, 119.0]]]])
    x = Quantized(codes, torch.ones(1, 1), None)
    got = x.worth(torch.tensor([[4.0, 8.0]]))
    assert got[0, 0].tolist() == [[32, -16, 0, 112], [24, -9, 7, 119]]


@pytest.mark.parametrize("granularity", ["head", "token"])
def test_cached_codes_follow_a_scale_that_grows(granularity):
    """What the codes stand for stays within half a step of each scale it went through."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    x[:, :, ::2] *= 0.05
    held = quantize(x, None, RULES[granularity == "token"])
    first = held
    steps = held.step / 2
    for growth in (1.3, 7.0, 1.0, 100.0):
        held = rescaled(held, held.scale * growth)
        steps = steps + held.step / 2
        assert held.codes.abs().max() <= 119
        assert ((held.codes * held.step - x).abs() <= steps * 1.001).all()
    assert rescaled(first, first.scale) is first


def test_signed_gains_stay_even_as_a_scale_grows():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 9, 64, dtype=torch.float64)
    x[:, :, ::2] *= 0.01
    rule = Rule(Gains.SIGNED)
    assert (rule.step, rule.of_values.step) == (2, 1)
    held = quantize(x, None, rule)
    for growth in (1.3, 7.0, 100.0):
        after = rescaled(held, held.scale * growth, rule.step)
        assert (after.gains % 2 == 0).all()
        assert (after.gains.sign() == held.gains.sign()).all()
        moved = (after.codes * after.step - held.codes * held.step).abs()
        assert (moved <= after.step.abs() / 2 * 1.001).all()
        assert after.codes.min() >= -128
        held = after


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e-38, 1e-44, 1e-8])
def test_tiny_values_have_finite_codes(value, per_token):
    x = torch.full((1, 2, 4, 8), value)
    x[:, 1, 1:] = 0
    for make in (quantize, quantize_exactly):
        made = make(x, None, RULES[per_token])
        made = Quantized(made.codes.double(), made.scale, made.gains)
        back = made.codes * made.step
        assert made.codes.isfinite().all()
        assert made.step.isfinite().all()
        assert (made.step > 0).all()
        # Below the least scale a value may round to nothing, and never to more.
        assert (back - x).abs().max() <= max(value / 119, 119 * 3.1e-36)
