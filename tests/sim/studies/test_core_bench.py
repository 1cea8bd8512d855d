"""A layer of the reference workload on the core, measured."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.model.core import run_core
from dtqatten.model.workload import Workload
from dtqatten.sim.studies import core_bench
from dtqatten.sim.studies.core_bench import TOKENS, measure_core, simulate_layer, useful_share
from dtqatten.sim.studies.plots import timeline_figure

CONFIG = Config(rows=4, cols=4, depth=4, d_head=32, n_max=24)


def test_busy_fractions_are_those_that_the_model_predicts(compared) -> None:
    told: list[int] = []
    bench = simulate_layer(CONFIG, Workload(tokens=24, full_tiles=True), 2, told.append)
    compared["verilator, in process"] += bench.compared
    result = measure_core(bench)
    assert told == list(range(1000, bench.compared + 1, 1000))
    assert (result["kept"], result["heads"]) == (20, 2)
    assert result["module_b_overhead"] == 0 < result["cycles_to_ids"]
    for unit, busy in bench.model.busy.items():
        assert bench.activity[unit].sum() == busy
        assert np.isclose(result["busy_fraction"][unit], busy / result["cycles"], atol=0.02)


def test_the_useful_share_of_short_heads_counts_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: 6 tokens in 4 bits and 2 in 8, on two arrays of 4 x 4 x 4 multipliers."""
    assert TOKENS == (8, 16, 32, 64, 128, 256, 512)
    monkeypatch.setattr(core_bench, "TOKENS", (8,))
    told: list[int] = []
    shares = useful_share(CONFIG, told.append)
    products = (6 + 2 * 2) ** 2 * 32 + 8 * 2 * (6 + 2 * 2) * 32
    cycles = run_core(CONFIG, Workload(tokens=8, d_head=32, full_tiles=True)).head_cycles
    assert shares == {8: products / (2 * 4 * 4 * 4 * cycles)}
    assert told == [8]


def test_timeline_draws_all_units() -> None:
    rng = np.random.default_rng(0)
    activity = {unit: rng.random(5000) < 0.5 for unit in ("one", "other")}
    figure = timeline_figure(activity, "title", window=100)
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.images[0].get_array().shape for axes in panels] == [(2, 600), *[(2, 100)] * 3]
    assert "5000 cycles" in panels[0].get_title(loc="left")
    short = timeline_figure({"one": activity["one"][:50]}, "short")
    assert [axes.images[0].get_array().shape for axes in short.axes if axes.images] == [(1, 50)] * 2
