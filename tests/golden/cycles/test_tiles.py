"""Tiles, load streams and the closed-form costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtqatten import PRESETS, Config, Schedule
from dtqatten.golden.cycles.tile_costs import head_cycles, tile_costs
from dtqatten.golden.cycles.tiles import edges, load_beats, row_places, tile_steps
from dtqatten.golden.numerics.codes import at_precision

TINY = PRESETS["tiny"]


def draw(n: int, d: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-120, 120, (n, d)), rng.random(n) < share


def test_beats_carry_every_plane_once() -> None:
    codes, wide = draw(7, 32, 0.5)
    beats = load_beats(TINY, codes, wide)
    assert len(beats) == (7 + wide.sum()) * TINY.words
    assert [b.last for b in beats] == [False] * (len(beats) - 1) + [True]
    nibbles = iter(beats)
    for token in range(7):
        high = np.concatenate([next(nibbles).nibbles for _ in range(TINY.words)])
        value = 16 * high.astype(int)
        if wide[token]:
            value += np.concatenate([next(nibbles).nibbles for _ in range(TINY.words)])
        assert (value == at_precision(codes[token], np.array(8 if wide[token] else 4))).all()


@pytest.mark.parametrize(
    ("codes", "wide", "says"),
    [
        (np.zeros((3, 31)), np.zeros(3), "do not fit"),
        (np.zeros((3, 32)), np.zeros(2), "do not fit"),
        (np.zeros((0, 32)), np.zeros(0), "a head has 0 tokens, outside 1..64"),
        (np.zeros((65, 32)), np.zeros(65), "a head has 65 tokens, outside 1..64"),
        (np.full((3, 32), 120), np.zeros(3), "120"),
        (np.full((3, 32), -129), np.zeros(3), "-129"),
    ],
)
def test_streams_that_do_not_fit_are_refused(codes, wide, says) -> None:
    with pytest.raises(ValueError, match=says):
        load_beats(TINY, codes.astype(int), wide.astype(bool))


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("q_share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("k_share", [0.0, 0.5, 1.0])
def test_steps_sum_up_to_the_scores(schedule, q_share, k_share) -> None:
    config = TINY.replace(schedule=schedule)
    q_codes, q_wide = draw(3, 32, q_share, seed=1)
    k_codes, k_wide = draw(4, 32, k_share, seed=2)
    (q,), (k,) = edges(4, q_codes, q_wide), edges(4, k_codes, k_wide)
    acc, passes = np.zeros((4, 4), dtype=int), 0
    duration = tile_costs(config, q_wide, k_wide).cycles[0, 0]
    for index, step in enumerate(tile_steps(config, q, k)):
        dot = step.q @ step.k.T
        assert step.first == (index == 0)
        kept = acc * (not step.first)
        if schedule is Schedule.INTERLEAVED:
            acc = kept + dot * step.scale
        else:
            acc = kept * step.scale + dot
            passes += step.scale == 16
        assert step.last == (index == duration - 1)
    if schedule is Schedule.PLANE_MAJOR:
        acc *= 16 ** (2 - passes)
    bits = [np.where(wide, 8, 4)[:, None] for wide in (q_wide, k_wide)]
    exact = at_precision(q_codes, bits[0]) @ at_precision(k_codes, bits[1]).T
    assert (acc[:3, :4] == exact).all()
    assert not acc[3:].any()


def test_reference_case_of_stalls() -> None:
    """The 9 tokens of the paper's Fig. 1, T1 and T6 in 8 bits, on 3 x 3 PEs."""
    config = Config(rows=3, cols=3, depth=1, d_head=8)
    wide = np.isin(np.arange(9), [1, 6])
    costs = tile_costs(config, wide, wide)
    ratio = costs.stalled / (9 * costs.cycles)
    assert np.allclose(ratio * 36, [[20, 12, 20], [12, 0, 12], [20, 12, 20]])
    assert costs.cycles.sum() == 25 * config.steps
    clustered = tile_costs(config, np.sort(wide), np.sort(wide))
    assert np.allclose(
        clustered.stalled / (9 * clustered.cycles) * 36, [[0, 0, 6], [0, 0, 6], [6, 6, 11]]
    )
    assert clustered.cycles.sum() == 16 * config.steps


@given(
    q=st.lists(st.booleans(), min_size=1, max_size=20),
    k=st.lists(st.booleans(), min_size=1, max_size=20),
)
def test_busy_work_does_not_depend_on_the_order(q: list[bool], k: list[bool]) -> None:
    shuffled = tile_costs(TINY, np.array(q), np.array(k))
    clustered = tile_costs(TINY, np.sort(q), np.sort(k))
    assert shuffled.busy.sum() == clustered.busy.sum()
    assert (shuffled.stalled >= 0).all()
    # Equal tokens on an edge never wait for each other.
    if len(set(q)) == 1 and len(set(k)) == 1:
        assert not shuffled.stalled.any()


def test_head_cycles_of_tiles_shorter_than_their_drain() -> None:
    short = Config(rows=6, cols=2, depth=8, d_head=8)  # a 4-bit tile takes one cycle
    narrow = np.zeros(1, dtype=bool)
    one_tile = head_cycles(short, narrow, narrow)
    assert head_cycles(short, narrow, np.zeros(4, dtype=bool)) == one_tile + 6


def test_rows_come_block_by_block_and_tile_by_tile() -> None:
    assert list(row_places(TINY, 5, 6)) == [
        *((row, tile) for tile in (0, 4) for row in range(4)),
        (4, 0),
        (4, 4),
    ]
