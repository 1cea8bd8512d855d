"""The whole machine on AXI memory and masters that nobody here wrote: cocotbext-axi."""

import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.sim.regression.runner import Simulator, available, simulate_chains

SYSTEM = SystemConfig(
    core=Config(rows=2, cols=2, depth=4, d_head=8, n_max=8, heads=4, topk_lanes=2),
    bus_bits=64,
    burst_beats=4,
)


@pytest.mark.skipif(not available(Simulator.ICARUS), reason="Icarus is not installed")
def test_chains_are_bit_exact_on_a_plain_memory() -> None:
    assert simulate_chains(Simulator.ICARUS, SYSTEM, chains=2, latency=1) == 2


def test_chains_are_bit_exact_on_one_that_pauses_and_reorders() -> None:
    """Latencies up to 200 cycles, beats of different IDs interleaved, pauses on every channel."""
    assert simulate_chains(Simulator.VERILATOR, SYSTEM, chains=4, latency=200, seed=1) == 4
