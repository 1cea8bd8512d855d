"""Gains by least error: never worse than by the largest magnitude, and never too wide a score."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dtqatten.golden.memory import gain_bytes
from dtqatten.golden.numerics.attention import Inputs, Options, attention
from dtqatten.golden.numerics.codes import Codes, at_precision, dequantize, quantize
from dtqatten.golden.numerics.gains import Gains

SEARCHED = (Gains.LEAST_ERROR, Gains.SIGNED)
finite = st.floats(-1e6, 1e6, width=32)
tensors = npst.arrays(np.float64, (2, 3, 4), elements=finite)


def normal(seed: int = 0, n: int = 64, d: int = 64) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, n, d)) * rng.uniform(0.1, 2, (3, n, 1))


def errors(x: np.ndarray, codes: Codes, bits: np.ndarray) -> np.ndarray:
    return ((dequantize(codes, bits) - x) ** 2).sum(-1)


@given(
    tensors,
    st.sampled_from(SEARCHED),
    npst.arrays(np.int64, (3,), elements=st.sampled_from([4, 8])),
)
def test_error_is_never_above_that_of_the_largest_magnitude(x, gains, bits):
    """In each token's own precision; with a sign, of the next even gain."""
    made = quantize(x, "token", gains=gains, bits=bits)
    plain = quantize(x, "token")
    if gains is Gains.SIGNED:
        even = np.minimum((plain.gains.astype(int) + 1) // 2 * 2, 254)
        codes = np.rint(x * 255 / (plain.scale[:, None] * even)[..., None]).clip(-128, 119)
        plain = Codes(codes.astype(np.int8), plain.scale, even)
    scale = np.abs(x).max() ** 2 + 1e-300
    assert (errors(x, made, bits) <= errors(x, plain, bits) + 1e-12 * scale).all()


@given(tensors, st.sampled_from(SEARCHED))
def test_no_score_is_wider_than_codes_of_120_draw(x, gains):
    made = quantize(x, "token", gains=gains)
    for bits in (4, 8):
        worth = at_precision(made.codes, bits).astype(int)
        assert (np.abs(worth @ worth.swapaxes(-1, -2)) <= x.shape[-1] * 120 * 120).all()


def test_equal_channels_do_not_all_have_code_minus_128():
    """They would be exact there, and draw a score of one bit more."""
    made = quantize(np.full((1, 1, 8), -1.0), "token", gains="signed")
    assert int((made.codes.astype(int) ** 2).sum()) <= 8 * 120**2
    with pytest.raises(ValueError, match="mean square of 16384, above 14400"):
        Codes(np.full((1, 1, 8), -128, np.int8), np.ones(1))


def test_rms_error_falls_with_the_search_and_the_sign():
    """Of normal data in 4 bits, 64 channels: literal, so that a worse search shows."""
    x = normal()
    bits = np.full(64, 4)
    found = [
        round(
            float(np.sqrt(errors(x, quantize(x, "token", gains=gains), bits).sum() / (x**2).sum())),
            4,
        )
        for gains in Gains
    ]
    assert found == [0.1019, 0.0941, 0.0888]


def test_signed_gains_are_even_and_of_both_signs():
    gains = quantize(normal(), "token", gains="signed").gains
    assert (gains % 2 == 0).all()
    assert -254 <= gains.min() < 0 < gains.max() <= 254
    assert 0.3 < (gains < 0).mean() < 0.7
    assert (quantize(normal(), "token", gains="least-error").gains > 0).all()


@pytest.mark.parametrize("gains", SEARCHED)
def test_a_scale_given_beforehand_is_kept(gains):
    x = normal()
    scale = np.abs(x).max((-1, -2)) / 119
    for factor in (1.0, 1.25, 40.0):
        made = quantize(x, "token", gains=gains, scale=scale * factor)
        assert (made.scale == scale * factor).all()
    with pytest.raises(ValueError, match="use a scale of at least"):
        quantize(x, "token", gains=gains, scale=scale * 0.9)


def test_signs_leave_results_as_they_are():
    """Negated codes at negated gains are the same numbers: scores are equal up to a half's side."""
    x = normal(n=12, d=16)
    q, k, v = (
        quantize(x * f, "token", gains=g)
        for f, g in ((9, "signed"), (1, "signed"), (1, "least-error"))
    )
    flipped = []
    for codes in (q, k):
        turn = np.where(codes.codes.min(-1) > -120, -1, 1)
        flipped.append(
            Codes((codes.codes * turn[..., None]).astype(np.int8), codes.scale, codes.gains * turn)
        )
    options = Options(signed_gains=True)
    plain = attention(Inputs(q, k, v), options)
    turned = attention(Inputs(*flipped, v), options)
    assert any((a.codes != b.codes).any() for a, b in zip(flipped, (q, k), strict=True))
    assert np.abs(plain.output.astype(int) - turned.output).max() <= 2
    real = dequantize(q) @ dequantize(k).swapaxes(-1, -2)
    unit = (q.scale * k.scale)[:, None, None]
    signs = q.gains[:, :, None] / 255 * (k.gains[:, None, :] / 255)
    assert np.allclose(plain.scores * signs * unit, real)


def test_gains_of_another_kind_than_the_block_are_refused():
    q = quantize(normal(n=4, d=8), "token", gains="signed")
    plain = quantize(normal(n=4, d=8), "token")
    with pytest.raises(ValueError, match=r"a gain of Q is -\d+ without signed_gains"):
        attention(Inputs(q, q, plain))
    with pytest.raises(ValueError, match=r"a gain of K is \d+ with signed_gains, which are even"):
        attention(Inputs(q, plain, plain), Options(signed_gains=True))
    with pytest.raises(ValueError, match="a gain of V is negative"):
        Inputs(q, q, q)
    with pytest.raises(ValueError, match="a gain is 0"):
        Codes(q.codes, q.scale, q.gains * 0)


def test_bytes_of_gains():
    assert gain_bytes([1, 128, 255], signed=False) == bytes([1, 128, 255])
    assert gain_bytes([2, -2, 254, -254], signed=True) == bytes([1, 0x81, 0x7F, 0xFF])
    for gains, signed in (
        ([0], False),
        ([256], False),
        ([-2], False),
        ([0], True),
        ([3], True),
        ([256], True),
    ):
        with pytest.raises(ValueError, match="have no byte"):
            gain_bytes(gains, signed)
