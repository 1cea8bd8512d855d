"""Quick-select, pass by pass: thresholds, pivots, bounds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dtqatten.configuration.choices import TopKEngine
from dtqatten.golden.cycles.quick_select import pivots, quick_select
from dtqatten.golden.cycles.topk import TopKModel, score_beats
from dtqatten.golden.numerics.select import select

U64 = np.uint64


@st.composite
def runs(draw):
    """Scores with many ties or few, and counts."""
    top = draw(st.sampled_from([1, 5, 255, 2**32 - 1]))
    scores = draw(st.lists(st.integers(0, top), min_size=1, max_size=40))
    k0 = draw(st.integers(1, len(scores)))
    return np.array(scores, U64), k0, draw(st.integers(0, k0))


@given(runs(), st.sampled_from([1, 4, 16]))
def test_thresholds_separate_what_is_selected(run, lanes) -> None:
    scores, k0, k1 = run
    found = quick_select(scores, k0, k1, lanes, capacity=48)
    chosen = select(scores, k0, k1)
    for ids, threshold in ((chosen.ids, found.thresholds[0]), (chosen.eight, found.thresholds[1])):
        if len(ids):
            inside = np.isin(np.arange(len(scores)), ids)
            assert (scores[inside] >= threshold).all()
            assert (scores[~inside] <= threshold).all()
    if k1 in (0, k0):
        assert found.thresholds[0] == found.thresholds[1]


@given(runs(), st.sampled_from([1, 4, 16]))
def test_cycles_are_bounded_whatever_the_scores(run, lanes) -> None:
    scores, k0, k1 = run
    # Few pivots, so that most runs need bisections.
    found = quick_select(scores, k0, k1, lanes, capacity=2)
    rows = -(-len(scores) // lanes)
    assert pivots(2) == 2
    assert sum(m + 7 for m in found.rows) <= 2 * (rows + 7) + 32 * (rows + 15)
    assert found.bisections == max(0, len(found.rows) - 2)
    assert all(1 <= m <= rows for m in found.rows)


def test_passes_by_hand() -> None:
    # The first score is the threshold; the three above it are as many as are kept.
    assert quick_select([5, 7, 1, 9], 3, 3, 4, capacity=4).rows == ()
    assert quick_select([5, 7, 8, 9], 3, 3, 4, capacity=4).rows == ()
    # 5, then 8, the middle one of 7, 8, 9: two are kept.
    assert quick_select([5, 7, 8, 9], 2, 2, 4, capacity=4).rows == (1,)
    # One is in 8 bits: 9 above 8 is one, so 8 is its threshold, too.
    assert quick_select([5, 7, 8, 9], 2, 1, 4, capacity=4).thresholds == (8, 8)
    # They part at 5: 7, 8 and 9 are above it, in two rows, then 1 and 2 below it, in one.
    parted = quick_select([5, 7, 1, 8, 2, 9], 5, 1, 2, capacity=6)
    assert parted.thresholds == (2, 8)
    assert parted.rows == (2, 1)
    # Equal scores are their own pivot.
    assert quick_select([2**32 - 1] * 5, 3, 3, 4, capacity=8).rows == ()


def test_pivots_run_out() -> None:
    """0 is the first pivot, then 1 and 2, then the middle of 3..15, which is 9, and of 3..8, 6."""
    found = quick_select([0, 5, 6, 2, 1, 8, 9], 3, 3, 1, capacity=2, width=4)
    assert found.thresholds == (6, 6)
    assert (found.rows, found.bisections) == ((6, 5, 4, 3), 2)


def test_latency_is_the_stated_formula() -> None:
    """Known 8 cycles after the last beat, and m + 7 later for each pass of m rows."""
    rng = np.random.default_rng(0)
    for n in (1, 5, 16, 17, 100):
        scores = rng.integers(0, 2**32, n, U64)
        k0, k1 = max(1, n * 72 // 100), n * 31 // 100
        model = TopKModel(16, 128, engine=TopKEngine.QUICK_SELECT)
        beats = score_beats(scores, k0, k1, 16)
        for beat in beats:
            model.clock(beat, True)
        while model.thresholds is None:
            model.clock(None, True)
        found = quick_select(scores, k0, k1, 16, capacity=128)
        assert model.thresholds == found.thresholds
        assert model.cycle == len(beats) - 1 + 8 + sum(m + 7 for m in found.rows)
