"""Whole heads through the RTL: scores, times and counters."""

import numpy as np
import pytest

from dtqatten import PRESETS
from dtqatten.golden.cycles.tile_costs import head_cycles, tile_costs
from dtqatten.golden.numerics.codes import at_precision
from dtqatten.golden.numerics.order import Order
from dtqatten.golden.traces.trace import example
from dtqatten.sim.lockstep.runs import run_heads
from dtqatten.sim.lockstep.score_array import random_head
from dtqatten.sim.regression.scenarios import trace_heads

TINY = PRESETS["tiny"]


def test_later_heads_take_the_predicted_cycles() -> None:
    rng = np.random.default_rng(0)
    heads = [random_head(TINY, rng, queries=30, keys=30, wide_share=0.4)] * 3
    run = run_heads(TINY, heads)
    predicted = head_cycles(TINY, heads[0].q_wide, heads[0].k_wide)
    first, *later = [end - start + 1 for start, end in run.spans]
    # The first head may wait for its keys; the others' were loaded meanwhile.
    assert later == [predicted] * 2
    assert first >= predicted
    costs = tile_costs(TINY, heads[0].q_wide, heads[0].k_wide)
    assert run.steps == 3 * costs.cycles.sum()
    assert run.busy_cycles.sum() == 3 * costs.busy.sum()
    assert run.stall_cycles.sum() == 3 * costs.stalled.sum()
    assert run.mixed_tiles == 3 * (costs.stalled > 0).sum()


@pytest.mark.parametrize("order", list(Order))
def test_real_heads_are_exact(order: Order) -> None:
    heads = trace_heads(TINY, example(), order)
    for head, scores in zip(heads, run_heads(TINY, heads).scores, strict=True):
        q, k = (
            at_precision(codes, np.where(wide, 8, 4)[:, None])
            for codes, wide in ((head.q, head.q_wide), (head.k, head.k_wide))
        )
        assert (scores == q @ k.T).all()


def test_a_trace_of_other_sizes_is_refused() -> None:
    with pytest.raises(ValueError, match="choose d_head = 32"):
        trace_heads(PRESETS["edge"], example())
