"""Small blocks of the memory system and the softmax, whose cycles are written beforehand."""

from collections.abc import Callable, Iterator

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.memory.chosen_slots import ChosenSlots
from dtqatten.hw.memory.group_rows import GroupRows
from dtqatten.hw.memory.held_importance import Protection
from dtqatten.hw.memory.run_table import RunTable
from dtqatten.hw.memory.widener import Widener
from dtqatten.hw.softmax.bias_store import BiasStore
from dtqatten.hw.softmax.flat_rows import FlatRows
from dtqatten.sim.lockstep.choices import bias_store_cycles, chosen_slot_cycles
from dtqatten.sim.lockstep.generation import (
    group_row_cycles,
    protection_cycles,
    run_table_cycles,
)
from dtqatten.sim.lockstep.script import Cycle, Script
from dtqatten.sim.lockstep.trials import flat_row_cycles, widener_cycles
from dtqatten.sim.proofs.mutation import Block
from dtqatten.sim.proofs.mutation_plays import plays
from dtqatten.sim.proofs.recording import Play

__all__ = ["SCRIPTED"]

#: Heads of a group that fill no row block, and as many places as are no power of two.
GENERATION = Config(rows=6, cols=2, depth=2, d_head=8, n_max=21, heads=9, capacity=45,
                    grouped=True, held_importance=True)  # fmt: skip
#: Heads whose keys are in 4 bits first.
TRIED = Config(rows=3, cols=2, depth=2, d_head=24, n_max=7, progressive=True)
#: Groups of two slots, and of one at the end of each tile.
CHOSEN = Config(rows=2, cols=5, depth=2, d_head=16, n_max=23, skip_tiles=True, local_values=True,
                chosen_values=True)  # fmt: skip
#: Biases of three query heads, in part-filled words.
BIASED = Config(rows=3, cols=3, depth=2, d_head=8, n_max=10, heads=6, grouped=True,
                bias_heads=3)  # fmt: skip


def scripted(cycles: Callable[[np.random.Generator, float], Iterator[Cycle]]) -> Iterator[Play]:
    """Yield runs of a small block, whose cycles are written beforehand.

    Parameters
    ----------
    cycles : callable
        Returns those of a run, for a random generator and the probability of stalls.
    """
    return plays(lambda rng, stall, lazy, seed: Script(cycles(rng, min(stall, 0.6))))


#: By module name.
SCRIPTED = {
    "flat_rows": Block(
        lambda: FlatRows(TRIED),
        lambda: scripted(lambda rng, stall: flat_row_cycles(TRIED, rng, 200, stall)),
    ),
    "widener": Block(
        lambda: Widener(TRIED, 8),
        lambda: scripted(lambda rng, stall: widener_cycles(TRIED, 8, rng, 30, stall)),
    ),
    "chosen_slots": Block(
        lambda: ChosenSlots(CHOSEN),
        lambda: scripted(lambda rng, stall: chosen_slot_cycles(CHOSEN, rng, 60, stall)),
    ),
    "bias_store": Block(
        lambda: BiasStore(BIASED),
        lambda: scripted(lambda rng, stall: bias_store_cycles(BIASED, rng, 40, stall)),
    ),
    "run_table": Block(
        lambda: RunTable(GENERATION, 3),
        lambda: scripted(lambda rng, stall: run_table_cycles(GENERATION, 3, rng, 100, stall)),
    ),
    "group_rows": Block(
        lambda: GroupRows(GENERATION),
        lambda: scripted(lambda rng, stall: group_row_cycles(GENERATION, rng, 200, stall)),
    ),
    "protection": Block(
        lambda: Protection(SystemConfig(core=GENERATION)),
        lambda: scripted(
            lambda rng, stall: protection_cycles(SystemConfig(core=GENERATION), rng, 100, stall)
        ),
    ),
}
