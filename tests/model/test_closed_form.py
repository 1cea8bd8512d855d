"""Cycles in closed form against the cycle model."""

import numpy as np
import pytest

from dtqatten.configuration.core import PRESETS, Config
from dtqatten.model.closed_form import fast_head_cycles, unit_cycles
from dtqatten.model.core import run_core
from dtqatten.model.workload import Workload

SMALL = Config(rows=4, cols=8, depth=4, d_head=16, n_max=256)


def mixes(seed: int, count: int) -> list[Workload]:
    """Workloads of at least 100 kept tokens, all V, corners first."""
    rng = np.random.default_rng(seed)
    made = [
        Workload(tokens=128, d_head=16, shares=shares, follows=follows)
        for shares, follows in (
            ((0.0, 1.0, 0.0), False),
            ((0.0, 0.0, 1.0), False),
            ((0.0, 1.0, 0.0), True),
        )
    ]
    while len(made) < count:
        zero, eight = rng.choice([0.0, 0.1, 0.3], 2)
        follows, query = bool(rng.integers(2)), bool(rng.integers(2))
        made.append(
            Workload(
                tokens=int(rng.integers(160, 200)),
                d_head=16,
                shares=(zero, 1 - zero - eight, eight),
                follows=follows,
                follows_query=follows and query,
            )
        )
    return made


@pytest.mark.parametrize("work", mixes(0, 10), ids=str)
def test_long_heads_take_about_what_the_cycle_model_says(work: Workload) -> None:
    exact = run_core(SMALL, work).head_cycles
    assert 0.92 * exact <= fast_head_cycles(SMALL, work) <= 1.03 * exact


@pytest.mark.parametrize(
    "shares", [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.25, 0.5, 0.25), (0.3, 0.6, 0.1)]
)
def test_heads_of_preset_base_take_what_the_cycle_model_says(
    shares: tuple[float, float, float],
) -> None:
    work = Workload(tokens=200, shares=shares)
    exact = run_core(PRESETS["base"], work).head_cycles
    assert fast_head_cycles(PRESETS["base"], work) == exact


@pytest.mark.parametrize(
    ("config", "tokens", "share"),
    [
        (SMALL, 100, 1),
        (SMALL, 128, 200),
        (SMALL, 185, 128),
        (SMALL, 185, 1),
        # Row blocks wait for a bank of weights here, 16 cycles a head.
        (PRESETS["base"], 100, 200),
        (PRESETS["base"], 185, 128),
    ],
    ids=str,
)
def test_heads_of_local_values_take_at_most_four_per_cent_longer(
    config: Config, tokens: int, share: int
) -> None:
    work = Workload(tokens=tokens, d_head=config.d_head, shares=(0.0, 1.0, 0.0), value_share=share)
    exact = run_core(config, work).head_cycles
    assert exact / 1.04 <= fast_head_cycles(config, work) <= exact


@pytest.mark.parametrize("tokens", [16, 32, 64])
def test_short_heads_take_at_most_two_fifths_longer(tokens: int) -> None:
    for shares in ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.25, 0.5, 0.25)):
        work = Workload(tokens=tokens, shares=shares)
        exact = run_core(PRESETS["base"], work).head_cycles
        assert exact / 1.4 <= fast_head_cycles(PRESETS["base"], work) <= exact


def test_units_by_hand() -> None:
    """20 tokens, 10 of each precision, on 4 rows, 8 columns, depth 4, 16 channels."""
    work = Workload(tokens=20, d_head=16, shares=(0.0, 0.5, 0.5))
    assert unit_cycles(SMALL, work) == {
        # 20 rows of 3 tiles.
        "softmax": 60,
        "module_b": 60,
        # Row blocks: 2 of 4 bits, 3 of 8. Tiles: 1 of 4 bits, 2 of 8. A pass takes 4 cycles.
        "score_array": 4 * (2 + 2 * 3) * (1 + 2 * 2),
        # 5 row blocks, 2 channel passes; groups: 2 of 4 bits, 3 of 8; weights have 2 planes.
        "value_array": 5 * 2 * 2 * (2 + 2 * 3),
        # 20 rows, 2 channel passes, 2 lanes of 8 columns.
        "normalizer": 20 * 2 * 4,
        # A beat is a plane of a token of Q and K, and half a plane of V: 8 nibbles.
        "queries": 8 + 2 * 12,
        "keys": 8 + 2 * 12,
        "values": 2 * (8 + 2 * 12),
    }
