"""The whole machine on AXI memory and masters that nobody here wrote."""

import pytest

from dtqatten import Config
from dtqatten.sim.runner import Simulator, simulate_chains
from dtqatten.system_config import SystemConfig

SYSTEM = SystemConfig(
    core=Config(rows=2, cols=2, depth=4, d_head=8, n_max=8, heads=4, topk_lanes=2),
    bus_bits=64,
    burst_beats=4,
)


@pytest.mark.parametrize("latency", [1, 200])
def test_chains_are_bit_exact_on_cocotbext_axi(latency) -> None:
    """A plain memory; and one that pauses at random, interleaves, reorders, and takes its time."""
    assert (
        simulate_chains(Simulator.VERILATOR, SYSTEM, chains=4, latency=latency, seed=latency) == 4
    )
