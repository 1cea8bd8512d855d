"""Blocks of generation equal their written cycles; a block of another size does not."""

import numpy as np
import pytest

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.memory.group_rows import GroupRows
from dtqatten.hw.memory.held_importance import Protection
from dtqatten.hw.memory.run_table import RunTable
from dtqatten.sim.engines.bench import MismatchError
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.lockstep.generation import (
    group_row_cycles,
    protection_cycles,
    run_table_cycles,
)
from dtqatten.sim.lockstep.script import Script
from dtqatten.sim.proofs.scripted_blocks import GENERATION

SYSTEM = SystemConfig(core=GENERATION)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_runs_of_places(stall: float) -> None:
    cycles = run_table_cycles(GENERATION, 3, np.random.default_rng(0), 20, stall)
    run_lockstep(RunTable(GENERATION, 3), Script(cycles))


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_rows_of_groups(stall: float) -> None:
    cycles = group_row_cycles(GENERATION, np.random.default_rng(1), 40, stall)
    run_lockstep(GroupRows(GENERATION), Script(cycles))


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_protected_keys(stall: float) -> None:
    cycles = protection_cycles(SYSTEM, np.random.default_rng(2), 20, stall)
    run_lockstep(Protection(SYSTEM), Script(cycles))


def test_a_difference_is_told_with_its_cycle() -> None:
    other = GENERATION.replace(rows=5)
    cycles = group_row_cycles(other, np.random.default_rng(1), 40, 0.0)
    with pytest.raises(MismatchError, match=r"cycle \d+: \w+ is 0x"):
        run_lockstep(GroupRows(GENERATION), Script(cycles))
