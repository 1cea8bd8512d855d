"""Cycle model of the top-k engine: thresholds, bounds and handshakes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtqatten.golden.cycles.topk import TopKModel, score_beats, search
from dtqatten.golden.numerics.select import select

U64 = np.uint64


@st.composite
def runs(draw):
    """Scores with many ties or few, and counts."""
    top = draw(st.sampled_from([1, 5, 255, 2**32 - 1]))
    scores = draw(st.lists(st.integers(0, top), min_size=1, max_size=40))
    k0 = draw(st.integers(1, len(scores)))
    return np.array(scores, U64), k0, draw(st.integers(0, k0))


@given(runs(), st.sampled_from([1, 4, 16]), st.integers(2, 8))
def test_thresholds_separate_what_is_selected(run, lanes, index_bits) -> None:
    scores, k0, k1 = run
    found = search(scores, k0, k1, lanes, index_bits=index_bits)
    chosen = select(scores, k0, k1)
    for ids, threshold in ((chosen.ids, found.thresholds[0]), (chosen.eight, found.thresholds[1])):
        if len(ids):
            inside = np.isin(np.arange(len(scores)), ids)
            assert (scores[inside] >= threshold).all()
            assert (scores[~inside] <= threshold).all()
    if k1 in (0, k0):
        assert found.thresholds[0] == found.thresholds[1]


@given(runs(), st.sampled_from([1, 4, 16]), st.integers(2, 8))
def test_passes_are_bounded_whatever_the_scores(run, lanes, index_bits) -> None:
    scores, k0, k1 = run
    found = search(scores, k0, k1, lanes, index_bits=index_bits)
    assert found.passes <= 1 + -(-(32 - index_bits) // (index_bits - 1))


def test_passes_by_hand() -> None:
    # One token, and all tokens kept: nothing to resolve.
    assert search([7], 1, 0, 4).passes == 0
    assert search(range(9), 9, 0, 4).passes == 0
    # 0..63 in one window of six bits; of 64..127 the highest index is not the ambiguous one.
    assert search(range(63, -1, -1), 10, 3, 4).passes == 0
    assert search(range(127, -1, -1), 10, 4, 4).passes == 0
    assert search(range(127, -1, -1), 11, 4, 4).passes == 1
    # The first beat hides the scale, and the threshold lies beyond it: once more.
    hidden = search([0, 0, 0, 0, 900, 901, 902], 2, 1, 4)
    assert hidden.recalibrated
    assert hidden.passes == 2
    assert hidden.thresholds == (901, 902)
    # Beyond the window, but not where the thresholds are.
    assert not search([3, 2, 1, 0, 900, 9], 2, 2, 4).recalibrated
    # Equal scores differ in no bit: 26 remain after the first six.
    assert search([2**32 - 1] * 5, 3, 3, 4).passes == 5


def drive(model: TopKModel, beats, cycles: int = 1000):
    """Stream beats into the model, taking ids at once; return what comes when."""
    known, out, position = None, [], 0
    for _ in range(cycles):
        offered = beats[position] if position < len(beats) else None
        if known is None and model.thresholds is not None:
            known = model.cycle
        if model.ids is not None:
            out.append((model.cycle, model.ids))
            if model.ids.last:
                return known, out
        position += offered is not None and model.scores_ready
        model.clock(offered, True)
    raise AssertionError("no last beat")


def test_latency_is_the_stated_formula() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 5, 16, 17, 100):
        scores = rng.integers(0, 2**32, n, U64)
        rows = -(-n // 16)
        k0, k1 = max(1, n * 72 // 100), n * 31 // 100
        known, out = drive(TopKModel(16, 128), score_beats(scores, k0, k1, 16))
        passes = search(scores, k0, k1, 16).passes
        assert known == rows - 1 + 12 + passes * (rows + 10)
        assert out[-1][0] <= known + 6 + 2 * (rows + 1)
        assert np.concatenate([b.ids for _, b in out]).tolist() == (
            select(scores, k0, k1).ids.tolist()
        )


def test_beats_are_full_but_for_the_last_of_a_class() -> None:
    scores = np.arange(60)[::-1]
    _, out = drive(TopKModel(4, 60), score_beats(scores, 30, 11, 4))
    assert [len(b.ids) for _, b in out] == [4] * 4 + [3] + [4, 4, 3]
    assert [b.wide for _, b in out] == [False] * 5 + [True] * 3
    assert [b.last for _, b in out] == [False] * 7 + [True]


@pytest.mark.parametrize(
    ("k0", "k1", "kept", "eight"), [(0, 3, 1, 1), (99, 99, 5, 5), (2, 5, 2, 2)]
)
def test_counts_are_limited(k0, k1, kept, eight) -> None:
    _, out = drive(TopKModel(2, 8), score_beats([5, 1, 4, 2, 3], k0, k1, 2))
    assert sum(len(b.ids) for _, b in out) == kept
    assert sum(len(b.ids) for _, b in out if b.wide) == eight
