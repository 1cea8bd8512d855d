"""How far outputs in segments are from those in one: the bound of docs/numerics.md."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtqatten.golden.numerics.attention import Inputs, Options, attention

GRANULARITIES = ("head", "token")


def bound(one, cut, codes, options):
    """How far outputs in segments can be from those in one, in units of the output.

    Each weight is off by half a code and by a share of itself, in one segment and in many; a mean
    moves by the sum of what its weights are off times each value's distance from it, over the
    divisor. With gains of V a half code multiplies the value itself.
    """
    merges = len(cut.partials) - 1
    # 1/32 octave at a maximum, 1/64 elsewhere, in both; 1/256 octave for each merge.
    step, factor = 2 ** (1 / 32) - 1, 2 ** (merges / 256) - 1
    share = (2 * step + factor * (1 + step)) * (1 + step)
    last = {2: 1 / 16, 3: 1}[options.p_planes]
    top = {2: (119, 255), 3: (1911, 4095)}[options.p_planes][options.unsigned_weights]
    values = codes[2].codes.astype(float)
    gained = codes[2].gains is not None
    worth = values * (codes[2].gains[..., None] / 256 if gained else 1)
    mean = one.output[:, :, None] / 256
    away = np.abs(worth[:, None] - mean)
    half = 1.1 * (np.abs(values[:, None]) if gained else away)
    weights = one.e16[..., None] / 65536 * top
    seen = one.probability[..., None] + cut.probability[..., None] + weights > 0
    moved = (seen * (half + share * (weights + 0.1) * away)).sum(2)
    rounded = merges * last + (2 * merges + 2) / 16 * np.abs(mean[:, :, 0])
    divisor = np.maximum(cut.weights.divisor, 1)[..., None] / 16
    return 256 * (moved + rounded) / divisor + 3


@given(st.data())
@settings(max_examples=60)
def test_any_split_is_within_the_bound_of_one_segment(random_codes, data):
    granularity = data.draw(st.sampled_from(GRANULARITIES))
    planes = data.draw(st.sampled_from([2, 3]))
    unsigned = data.draw(st.booleans())
    n = data.draw(st.integers(2, 40))
    size = data.draw(st.sampled_from([0.3, 1.0, 3.0]))
    codes = random_codes(data.draw(st.integers(0, 999)), granularity, m=3, n=n, size=size)
    options = Options(p_planes=planes, unsigned_weights=unsigned)
    cuts = tuple(data.draw(st.lists(st.integers(1, n - 1), unique=True, max_size=6).map(sorted)))
    mask = np.random.default_rng(n).random((3, n)) < data.draw(st.sampled_from([0.3, 1.0]))
    one = attention(Inputs(*codes, mask=mask), options)
    cut = attention(Inputs(*codes, mask=mask, cuts=cuts), options)
    limit = bound(one, cut, codes, options)
    assert (np.abs(cut.output.astype(int) - one.output) <= limit).all()
    near = np.abs(cut.probability - one.probability)
    assert (near <= 1.5 + 0.06 * one.probability).all()


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("planes", [2, 3])
def test_the_bound_is_not_far_from_what_is_found(random_codes, granularity, planes):
    """Over random splits the worst output reaches a fifth of it, and none passes it."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for seed in range(300):
        n = int(rng.integers(2, 200))
        size = float(rng.choice([0.3, 1, 3]))
        codes = random_codes(seed, granularity, m=3, n=n, size=size)
        cuts = np.unique(rng.integers(1, n, size=int(rng.integers(0, 8))))
        options = Options(p_planes=planes)
        one = attention(Inputs(*codes), options)
        cut = attention(Inputs(*codes, cuts=tuple(cuts.tolist())), options)
        share = np.abs(cut.output.astype(int) - one.output) / bound(one, cut, codes, options)
        worst = max(worst, float(share.max()))
    print(granularity, planes, f"{worst:.2f}")
    assert 0.2 < worst < 0.4
