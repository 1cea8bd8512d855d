"""The planner of tiles, equal to its cycle model in every cycle, and to the masks."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.arrays.tile_planner import TilePlanner
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.tile_planner import PlannedHead, PlannerLockstep, random_planned_head

CONFIGS = {
    "2x3": Config(rows=2, cols=3, depth=8, d_head=8, n_max=16, skip_tiles=True, windows=True),
    "3x1": Config(rows=3, cols=1, depth=8, d_head=8, n_max=6, capacity=1000, skip_tiles=True),
    "tried": Config(
        rows=2, cols=3, depth=8, d_head=8, n_max=16, skip_tiles=True, windows=True, progressive=True
    ),
    "one tile": Config(rows=1, cols=4, depth=8, d_head=8, n_max=4, skip_tiles=True, windows=True),
}
STALLS = [(0.0, False), (0.5, True), (0.9, False)]


def judge(config: Config, heads: list[PlannedHead], planned: list[list[int]]) -> None:
    """Every tile that is seen is visited, in order; of sorted keys no other one, but the last."""
    todo = iter(planned)
    for head in heads:
        last = (len(head.keys) - 1) // config.cols
        blocks = head.seen(config)
        for number, seen in enumerate(blocks):
            visits = next(todo)
            assert visits == sorted(set(visits))
            assert set(seen) <= set(visits)
            if not seen or number >= len(blocks) - 1 - head.progressive:
                assert visits[-1] == last
            if len(head.queries) == 1 and head.keys == sorted(head.keys):
                # A query has one position: a tile is visited if that lies in its span's reach.
                assert set(visits) - {last} <= set(seen)
    assert next(todo, None) is None


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("stall", "lazy"), STALLS)
def test_equals_cycle_model_and_masks(name: str, stall: float, lazy: bool) -> None:
    config = CONFIGS[name]
    rng = np.random.default_rng(3)
    heads = [random_planned_head(config, rng) for _ in range(12)]
    bench = PlannerLockstep(config, heads, stall=stall, lazy=lazy)
    run_lockstep(TilePlanner(config), bench)
    judge(config, heads, bench.planned)


def test_verilog_equals_cycle_model(compared) -> None:
    config = CONFIGS["2x3"]
    rtl = VerilatedModel(TilePlanner(config), "tile_planner")
    heads = [random_planned_head(config, np.random.default_rng(9)) for _ in range(60)]
    for stall, lazy in STALLS:
        bench = PlannerLockstep(config, heads, stall=stall, lazy=lazy)
        rtl.run(bench)
        judge(config, heads, bench.planned)
        compared["verilator, in process"] += bench.compared


def test_rows_that_see_nothing_visit_the_last_tile() -> None:
    """Keys lie behind all queries but the last, whose row block visits what it sees."""
    config = CONFIGS["2x3"]
    head = PlannedHead([0, 1, 2, 3, 9], [5, 6, 7, 8, 9, 10, 11], causal=True, window=2)
    bench = PlannerLockstep(config, [head])
    run_lockstep(TilePlanner(config), bench)
    # Position 9 sees 8 and 9 and no more; a head's last row block visits its last tile, too.
    assert bench.planned == [[2], [2], [1, 2]]


def test_a_tile_with_the_end_of_one_class_and_the_start_of_the_other() -> None:
    """Of ids 0 1 2, 3 12 4, 5 13 14 the second tile starts over; its highest is not its last."""
    config = CONFIGS["2x3"]
    keys = [0, 1, 2, 3, 12, 4, 5, 13, 14]
    head = PlannedHead([1, 2, 4, 5, 13, 14, 15, 15], keys, causal=True, window=3)
    bench = PlannerLockstep(config, [head])
    run_lockstep(TilePlanner(config), bench)
    assert bench.planned == [[0], [0, 1, 2], [1, 2], [2]]
