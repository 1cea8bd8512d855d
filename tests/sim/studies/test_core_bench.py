"""A layer of the reference workload on the core, measured."""

import numpy as np

from dtqatten import Config
from dtqatten.model.workload import Workload
from dtqatten.sim.studies.core_bench import measure_core, simulate_layer
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


def test_timeline_draws_all_units() -> None:
    rng = np.random.default_rng(0)
    activity = {unit: rng.random(5000) < 0.5 for unit in ("one", "other")}
    figure = timeline_figure(activity, "title", window=100)
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.images[0].get_array().shape for axes in panels] == [(2, 600), *[(2, 100)] * 3]
    assert "5000 cycles" in panels[0].get_title(loc="left")
    short = timeline_figure({"one": activity["one"][:50]}, "short")
    assert [axes.images[0].get_array().shape for axes in short.axes if axes.images] == [(1, 50)] * 2
