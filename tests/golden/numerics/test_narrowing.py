"""Narrowed weights, their leads and divisors, and exponents of tiles."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dtqatten.golden.numerics.codes import four_bit
from dtqatten.golden.numerics.narrowing import Narrowed, narrow, tile_exponents
from dtqatten.golden.numerics.softmax import KEYS_MAX
from dtqatten.golden.numerics.weights import WeightCode

e16_rows = npst.arrays(
    np.int64,
    st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 40)),
    elements=st.integers(0, 65535),
)
CODES = [(2, False), (3, False), (2, True), (3, True)]


def test_equal_exponentials_have_the_top_weight():
    assert (narrow(np.full((1, 2, 7), 65535)).p == 119).all()


@pytest.mark.parametrize(
    ("planes", "unsigned", "top"),
    [(2, False, 119), (3, False, 1911), (2, True, 255), (3, True, 4095)],
)
def test_narrowing_rounds_half_up_to_the_row_maximum(planes, unsigned, top):
    e16 = np.arange(65536)[None, None, :]
    p = narrow(e16, code=WeightCode(planes, unsigned)).p
    assert (p == np.floor(e16 * top / 65536 + 0.5)).all()
    assert (p.min(), p.max()) == (0, top)


def test_divisor_without_gains_is_the_sum_of_the_codes():
    e16 = np.array([[[65535, 300, 200]]])
    narrowed = narrow(e16)
    assert narrowed.p.tolist() == [[[119, 1, 0]]]
    assert narrowed.divisor.tolist() == [[16 * 120]]
    assert narrowed.lead.tolist() == [[0]]


def test_gains_join_before_narrowing_and_stay_out_of_the_divisor():
    e16 = np.array([[[65535, 32768]]])
    narrowed = narrow(e16, np.array([[64, 256]]))
    # The largest product is 2**23: no leading zero. 59.5 rounds up.
    assert narrowed.p.tolist() == [[[30, 60]]]
    assert narrowed.lead.tolist() == [[0]]
    assert narrowed.divisor.tolist() == [[(98303 * 119 + 2048) >> 12]]


def test_lead_brings_the_largest_gained_weight_to_24_bits():
    e16 = np.array([[[65535, 1000]]])
    for gain, lead in ((256, 0), (255, 0), (129, 0), (128, 1), (60, 2), (2, 7), (1, 8)):
        narrowed = narrow(e16, np.array([[gain, 1]]))
        assert narrowed.lead.item() == lead, gain
        assert 59 <= narrowed.p[0, 0, 0] <= 119


@given(e16_rows)
def test_neutral_gain_changes_no_weight(e16):
    # Every visible row has its maximum at 65535.
    e16[..., 0] = 65535
    plain, gained = narrow(e16), narrow(e16, np.full((1, e16.shape[-1]), 256))
    assert (plain.p == gained.p).all()
    assert (plain.lead == gained.lead).all()


def test_weights_follow_the_precision_of_their_token():
    e16 = np.array([[[65535, 40000, 40000, 3000, 3000, 40000]]])
    bits = np.array([4, 4, 8, 4, 8, 0])
    narrowed = narrow(e16, bits=bits)
    whole = narrow(e16).p[0, 0]
    assert narrowed.p[0, 0].tolist() == np.where(bits == 4, four_bit(whole), whole).tolist()
    assert narrowed.divisor.item() == 16 * narrowed.p.sum()
    wide = narrow(e16, bits=bits, code=WeightCode(3)).p[0, 0]
    assert (wide[bits == 4] % 256 == 0).all()


@pytest.mark.parametrize("gains", [None, np.array([[256, 64, 7, 256, 1]])])
def test_weights_follow_the_precision_of_their_query(gains):
    e16 = np.array([[[65535, 40000, 3000, 3000, 100]] * 3])
    bits, query_bits = np.array([4, 8, 8, 4, 8]), np.array([4, 8, 0])
    whole = narrow(e16, gains)
    alone = narrow(e16, gains, query_bits=query_bits)
    assert (alone.p[0, 0] == four_bit(whole.p[0, 0])).all()
    assert (alone.p[0, 1:] == whole.p[0, 1:]).all()
    # With both, a pair has the lower precision of its query and its token.
    pair = narrow(e16, gains, bits=bits, query_bits=query_bits)
    assert (pair.p[0, 0] == alone.p[0, 0]).all()
    assert (pair.p == narrow(e16, gains, bits=bits).p)[0, 1:].all()
    if gains is None:
        assert (pair.divisor == 16 * pair.p.sum(-1)).all()
    else:
        assert (pair.divisor == whole.divisor).all()


def test_unsigned_weights_of_four_bits_have_sixteen_levels():
    e16 = np.linspace(0, 65535, 1000).round().astype(np.int64)[None, None]
    bits = np.full(1000, 4)
    code = WeightCode(2, unsigned=True)
    assert np.unique(narrow(e16, bits=bits, code=code).p).tolist() == list(range(0, 241, 16))
    assert np.unique(narrow(e16, bits=bits).p).tolist() == list(range(0, 113, 16))
    # Rounded once to a code, and once more to its nibble, of which 15 is the largest.
    exact = np.floor((np.floor(e16 * 255 / 65536 + 0.5) + 8) / 16) * 16
    assert (narrow(e16, bits=bits, code=code).p == np.minimum(exact, 240)).all()


def test_widths_hold_for_the_largest_rows():
    e16 = np.full((1, 1, KEYS_MAX), 65535)
    assert int(e16.sum()).bit_length() <= 26
    for planes, unsigned, bits in ((2, False, 21), (3, False, 25), (2, True, 22), (3, True, 26)):
        for gains in (None, np.full((1, KEYS_MAX), 255)):
            narrowed = narrow(e16, gains, code=WeightCode(planes, unsigned))
            assert int(narrowed.divisor.item()).bit_length() == bits


def raised(e16, gains, code, bits, tiles) -> tuple[list[Fraction], list[int]]:
    """Weights of one row as they count, and each key's exponent, from the rule in fractions."""
    exact = [Fraction(int(e) * int(g), 1 << 24) for e, g in zip(e16, gains, strict=True)]
    largest = max(exact)
    exact = [x * 2 ** (_zeros(largest) if largest else 0) for x in exact]
    weights, exponents = [], []
    for x, b, tile in zip(exact, bits, tiles, strict=True):
        peak = max(y for y, other in zip(exact, tiles, strict=True) if other == tile)
        up = min(_zeros(peak), 3) if peak else 3
        weight = floor(x * 2**up * code.top + Fraction(1, 2))
        if b == 4:
            unit, digit = code.unit, 15 if code.unsigned else 7
            half = unit // 2 if code.unsigned else sum(8 * 16**i for i in range(code.planes - 1))
            weight = min((weight + half) // unit, digit) * unit
        weights.append(Fraction(weight, 2**up))
        exponents.append(up)
    return weights, exponents


def _zeros(value: Fraction) -> int:
    """Binary zeros behind the point before the first one."""
    return next(n for n in range(64) if value * 2 ** (n + 1) >= 1)


@pytest.mark.parametrize(("planes", "unsigned"), CODES)
@pytest.mark.parametrize("gained", [False, True])
def test_tiles_are_scaled_up_by_their_exponents(planes, unsigned, gained):
    rng = np.random.default_rng(planes)
    code = WeightCode(planes, unsigned, exponents=True)
    seen = set()
    for _ in range(60):
        n = int(rng.integers(1, 24))
        e16 = (65535 * 2.0 ** -(rng.random(n) * rng.choice([1, 4, 9]))).astype(np.int64)
        e16[rng.random(n) < 0.2] = 0
        if not gained:
            e16[rng.integers(n)] = 65535
        gains = rng.integers(1, 257, n) if gained else np.full(n, 256)
        bits, tiles = rng.choice([4, 8], n), rng.permutation(np.arange(n) // 5)
        given = gains[None] if gained else None
        found = narrow(e16[None, None], given, code=code, bits=bits, tiles=tiles)
        weights, exponents = raised(e16, gains, code, bits, tiles)
        assert found.p[0, 0].tolist() == [8 * weight for weight in weights]
        assert found.exponents[0, 0].tolist() == exponents
        seen |= set(exponents)
        plain = narrow(e16[None, None], given, code=WeightCode(planes, unsigned), bits=bits)
        assert (found.lead == plain.lead + 3).all()
        divisor = plain.divisor.item() if gained else 16 * sum(weights)
        assert found.divisor.item() == divisor
    assert seen == {0, 1, 2, 3}


def test_exponents_at_their_edges():
    code = WeightCode(2, unsigned=True, exponents=True)
    # Tiles of one key each: 1/2 and more, just below, just below 1/4 and 1/8, and nothing.
    e16 = np.array([[[65535, 32768, 32767, 16383, 8192, 8191, 1, 0]]])
    found = narrow(e16, code=code, tiles=np.arange(8))
    assert found.exponents.tolist() == [[[0, 0, 1, 2, 2, 3, 3, 3]]]
    assert found.p[0, 0].tolist() == [8 * 255, 8 * 128, 4 * 255, 2 * 255, 2 * 128, 255, 0, 0]
    # A row that sees no key.
    nothing = narrow(np.zeros((1, 1, 3), int), code=code, tiles=np.arange(3))
    assert (nothing.p.any(), nothing.divisor.item(), nothing.lead.item()) == (False, 0, 3)


def test_every_row_and_sequence_has_exponents_of_its_own():
    rng = np.random.default_rng(5)
    code = WeightCode(exponents=True)
    e16 = rng.integers(0, 65536, (2, 3, 4, 9)) >> rng.integers(0, 5, (2, 3, 4, 9))
    e16[..., 0] = 65535
    tiles = np.array([np.arange(9) // 4, np.arange(9)[::-1] // 2])
    found = narrow(e16, code=code, tiles=tiles)
    for b, h, q in np.ndindex(2, 3, 4):
        alone: Narrowed = narrow(e16[b, h, q][None, None], code=code, tiles=tiles[b])
        assert (found.p[b, h, q] == alone.p[0, 0]).all()
        assert found.divisor[b, h, q] == alone.divisor.item()


def test_a_row_of_one_tile_has_no_exponent():
    e16 = np.array([[[65535, 4000, 100]]])
    for gains in (None, np.array([[3, 200, 9]])):
        plain = narrow(e16, gains)
        found = narrow(e16, gains, code=WeightCode(exponents=True), tiles=np.zeros(3, int))
        assert (found.p == 8 * plain.p).all()
        assert (found.divisor == plain.divisor).all()


def test_tiles_with_exponents_must_be_told():
    with pytest.raises(ValueError, match="tiles of keys have exponents: say which keys"):
        narrow(np.array([[[65535]]]), code=WeightCode(exponents=True))
    assert tile_exponents(np.array([[[1 << 23, 1]]]), np.array([0, 1])).tolist() == [[[0, 3]]]
