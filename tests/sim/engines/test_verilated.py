"""The in-process Verilator model: every preset against the cycle model; ports and inputs."""

from collections import Counter

import numpy as np
import pytest

from dtqatten import PRESETS
from dtqatten.hw.arrays.pod import Pod
from dtqatten.sim.engines.verilated import Port, VerilatedModel, ports_of
from dtqatten.sim.lockstep.runs import build_array
from dtqatten.sim.lockstep.score_array import Lockstep, random_head


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=[pytest.mark.long] * (name in ("base", "paper")))
        for name in PRESETS
    ],
)
def test_presets_equal_the_cycle_model(preset: str, compared: Counter[str]) -> None:
    config = PRESETS[preset]
    rng = np.random.default_rng(0)
    tokens = 2 * max(config.rows, config.cols) + 1
    heads = [random_head(config, rng, queries=tokens, keys=tokens) for _ in range(2)]
    rtl = build_array(config)
    for stall in (0.0, 0.3):
        lockstep = Lockstep(config, heads, stall=stall)
        rtl.run(lockstep)
        compared["verilator, in process"] += lockstep.compared


def test_one_cycle_of_reset_in_mid_run_is_enough() -> None:
    """Accumulators may still hold what they held; everything that counts starts anew."""
    config = PRESETS["tiny"]
    rng = np.random.default_rng(1)
    rtl = build_array(config)
    rtl.reset()
    for stop in range(20, 120, 7):
        cut_off = Lockstep(config, [random_head(config, rng, queries=9, keys=9)], stall=0.2)
        for _ in range(stop):
            rtl.step(cut_off.inputs())
            cut_off.clock()
        rtl.step({"rst": 1})
        lockstep = Lockstep(config, [random_head(config, rng)], monitored=False)
        while not lockstep.done:
            lockstep.check(rtl.step(lockstep.inputs()))
            lockstep.clock()


def test_ports_are_flattened_with_their_widths() -> None:
    component = Pod(PRESETS["tiny"], 20)
    assert Port("q_i", 16, True) in ports_of(component)
    assert Port("acc", 20, False) in ports_of(component)
    assert {port.words for port in ports_of(component)} == {1}
    VerilatedModel(component, "pe")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"q_i": 1 << 16}, r"q_i is 65536, outside 0\.\.65535"),
        ({"q_i": -1}, r"q_i is -1, outside"),
        ({"q": 1}, "no port q"),
        ({"acc": 1}, "no port acc"),
    ],
)
def test_inputs_are_those_of_a_port_and_fit_it(inputs: dict[str, int], message: str) -> None:
    model = VerilatedModel(Pod(PRESETS["tiny"], 20), "pe")
    with pytest.raises(ValueError, match=message):
        model.step(inputs)
