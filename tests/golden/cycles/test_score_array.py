"""The cycle model on its own: scores, totals and handshakes follow from the contract."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtqatten import PRESETS, Config, Schedule
from dtqatten.golden.cycles.score_array import ArrayModel
from dtqatten.golden.cycles.tile_costs import head_cycles, tile_costs
from dtqatten.golden.cycles.tiles import load_beats, row_places
from dtqatten.golden.numerics.codes import at_precision

TINY = PRESETS["tiny"]


def drive(config: Config, codes, wide, *, clear_at: int | None = None) -> dict:
    """Stream one head, K first, reading at once; return what came out and when."""
    model = ArrayModel(config)
    streams = {side: load_beats(config, codes[side], wide[side])[::-1] for side in ("k", "q")}
    scores = np.zeros((len(wide["q"]), len(wide["k"])), dtype=np.int64)
    places = list(row_places(config, *scores.shape))
    first = last = None
    for cycle in range(100_000):
        # Keys before queries: then nothing waits for a load but the very first tile.
        k = streams["k"][-1] if streams["k"] else None
        q = streams["q"][-1] if streams["q"] and not streams["k"] else None
        taken = {"k": k is not None and model.k_ready, "q": q is not None and model.q_ready}
        if model.scores is not None:
            row, tile = places.pop(0)
            keys = model.scores.keys
            scores[row, tile : tile + keys] = model.scores.values[:keys]
            assert not model.scores.values[keys:].any()
            last = cycle
        if first is None and model.busy.any():
            first = cycle
        model.clock(q, k, True, clear=cycle == clear_at)
        for side, was in taken.items():
            if was:
                streams[side].pop()
        if not places:
            break
    for _ in range(config.rows + config.cols + 8):
        model.clock(None, None, True)
    return {"model": model, "scores": scores, "span": (first, last)}


@pytest.mark.parametrize("schedule", list(Schedule))
@settings(deadline=None, max_examples=15)
@given(
    n=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    shares=st.tuples(st.sampled_from([0.0, 0.4, 1.0]), st.sampled_from([0.0, 0.4, 1.0])),
    seed=st.integers(0, 99),
)
def test_scores_and_totals(schedule, n, shares, seed) -> None:
    config = TINY.replace(schedule=schedule)
    rng = np.random.default_rng(seed)
    codes = {s: rng.integers(-120, 120, (m, 32)) for s, m in zip("qk", n, strict=True)}
    wide = {s: rng.random(m) < f for s, m, f in zip("qk", n, shares, strict=True)}
    run = drive(config, codes, wide)
    q, k = (at_precision(codes[s], np.where(wide[s], 8, 4)[:, None]) for s in "qk")
    assert (run["scores"] == q @ k.T).all()
    costs = tile_costs(config, wide["q"], wide["k"])
    model = run["model"]
    assert model.steps == costs.cycles.sum()
    assert model.tiles == costs.cycles.size
    assert model.busy_cycles.sum() == costs.busy.sum()
    assert model.stall_cycles.sum() == costs.stalled.sum()
    assert model.mixed_tiles == (costs.stalled > 0).sum()


@pytest.mark.parametrize("rows", [4, 6])
def test_closed_form_of_a_head(rows: int) -> None:
    """Queries of one row block are loaded when the first tile starts, later ones in time."""
    config = TINY.replace(rows=rows, depth=32 if rows == 6 else 4)
    rng = np.random.default_rng(0)
    codes = {s: rng.integers(-120, 120, (m, 32)) for s, m in (("q", rows), ("k", 23))}
    wide = {"q": np.zeros(rows, dtype=bool), "k": np.arange(23) > 12}
    first, last = drive(config, codes, wide)["span"]
    assert last - first + 1 == head_cycles(config, wide["q"], wide["k"])


def test_clear_zeroes_the_counters() -> None:
    codes = {"q": np.ones((4, 32), dtype=int), "k": np.ones((4, 32), dtype=int)}
    wide = {"q": np.zeros(4, dtype=bool), "k": np.zeros(4, dtype=bool)}
    whole = drive(TINY, codes, wide)["model"]
    assert (whole.steps, whole.tiles) == (8, 1)
    assert whole.busy_cycles.sum() == 8 * 16
    late = drive(TINY, codes, wide, clear_at=10**6)["model"]
    assert late.steps == 8
    # Cleared in the cycle in which the last step is counted: nothing is left of it.
    for clear_at in range(60):
        model = drive(TINY, codes, wide, clear_at=clear_at)["model"]
        assert model.steps <= 8
        assert 0 <= model.busy_cycles.sum() <= 8 * 16


def test_a_stream_is_not_ready_when_its_slots_are_full() -> None:
    model = ArrayModel(TINY)
    beats = load_beats(TINY, np.ones((12, 32), dtype=int), np.zeros(12, dtype=bool))
    taken = 0
    for _ in range(100):
        if model.q_ready and taken < len(beats):
            model.clock(beats[taken], None, True)
            taken += 1
        else:
            model.clock(None, None, True)
    # Two row blocks of four tokens, and no key ever came.
    assert taken == 8 * TINY.words
    assert not model.q_ready
    assert model.k_ready
