"""The stall study gives the reference values, from the RTL's counters."""

import math

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.golden.cycles.tile_costs import tile_costs
from dtqatten.golden.numerics.order import Order, arrange
from dtqatten.sim.studies.stalls import orders, study

TOKENS = [4, 8, 4, 4, 4, 4, 8, 4, 4]
REFERENCE = {
    # tiles, mean of all, mean of those that stall, cycles a k step; cut to one decimal
    Order.ORIGINAL: ([55.5, 33.3, 55.5, 33.3, 0, 33.3, 55.5, 33.3, 55.5], 39.5, 44.4, 25),
    Order.CLUSTERED: ([0, 0, 16.6, 0, 0, 16.6, 16.6, 16.6, 30.5], 10.8, 19.4, 16),
    Order.ALIGNED: ([0] * 9, 0, 0, 16),
}


def cut(value: float) -> float:
    return math.floor(value * 10 + 1e-9) / 10


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("order", list(Order))
def test_reference_case(order: Order, schedule: Schedule) -> None:
    config = Config(rows=3, cols=3, depth=1, d_head=8, n_max=9, schedule=schedule)
    result = study(config, TOKENS, order)
    tiles, mean_all, mean_stalled, cycles_per_step = REFERENCE[order]
    assert [cut(ratio) for ratio in result.tiles] == tiles
    assert cut(result.mean_all) == mean_all
    assert cut(result.mean_stalled) == mean_stalled
    assert result.cycles_per_step == cycles_per_step


@pytest.mark.parametrize("pod_cols", [1, 3])
@pytest.mark.parametrize("order", list(Order))
def test_counters_and_activity_agree_with_the_costs(order: Order, pod_cols: int) -> None:
    config = Config(rows=2, cols=3, depth=4, d_head=16, n_max=20, pod_cols=pod_cols)
    bits = np.random.default_rng(3).choice([4, 8], 11)
    result = study(config, bits.tolist(), order)
    _, q_bits, k_bits = arrange(bits, order, 2, 3)
    costs = tile_costs(config, q_bits == 8, k_bits == 8)
    assert (result.activity == 1).sum() == costs.busy.sum()
    assert (result.activity == 2).sum() == costs.stalled.sum()
    assert len(result.activity) == result.cycles
    assert result.utilization == costs.busy.sum() / (6 * costs.cycles.sum())


def test_pruned_tokens_have_no_place() -> None:
    with pytest.raises(ValueError, match="4 and 8"):
        study(Config(rows=2, cols=2, depth=4, d_head=16, n_max=4), [4, 0], Order.ORIGINAL)


def test_orders_that_make_no_difference_share_an_entry() -> None:
    config = Config(rows=2, cols=2, depth=8, d_head=8, n_max=4)
    assert list(orders(config, [4, 4, 8, 8])) == ["original and clustered and aligned order"]
    mixed = orders(config, [8, 4, 4, 8])
    assert list(mixed) == ["original order", "clustered and aligned order"]
    assert mixed["clustered and aligned order"].cycles < mixed["original order"].cycles
