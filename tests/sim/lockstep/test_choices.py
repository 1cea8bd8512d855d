"""Blocks that follow choices, cycle by cycle against what is written beforehand."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.memory.chosen_slots import ChosenSlots
from dtqatten.hw.softmax.bias_store import BiasStore
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.lockstep.choices import bias_store_cycles, chosen_slot_cycles
from dtqatten.sim.lockstep.script import Script

CHOSEN = Config(
    rows=2, cols=5, depth=2, d_head=16, n_max=23,
    skip_tiles=True, local_values=True, chosen_values=True,
)  # fmt: skip
BIASED = Config(rows=3, cols=3, depth=2, d_head=8, n_max=10, heads=6, grouped=True, bias_heads=3)


@pytest.mark.parametrize("stall", [0.0, 0.5, 0.9])
def test_slots_of_chosen_groups(stall: float) -> None:
    cycles = chosen_slot_cycles(CHOSEN, np.random.default_rng(1), 30, stall)
    run_lockstep(ChosenSlots(CHOSEN), Script(cycles))


@pytest.mark.parametrize("bias_heads", [1, 3])
@pytest.mark.parametrize("stall", [0.0, 0.5, 0.9])
def test_biases_of_heads(bias_heads: int, stall: float) -> None:
    config = BIASED.replace(bias_heads=bias_heads)
    cycles = bias_store_cycles(config, np.random.default_rng(2), 20, stall)
    run_lockstep(BiasStore(config), Script(cycles))
