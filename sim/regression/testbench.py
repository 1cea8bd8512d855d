"""cocotb testbench of score array and core: equal to the cycle model on every clock edge."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotb.types import LogicArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.random_layers import random_chain
from dtqatten.golden.cycles.trace_layers import trace_layers
from dtqatten.golden.traces.trace import example
from dtqatten.sim.engines.bench import MismatchError, Shown
from dtqatten.sim.lockstep.core import CoreLockstep
from dtqatten.sim.lockstep.score_array import Head, Lockstep, random_head
from dtqatten.sim.lockstep.streams import StreamLockstep
from dtqatten.sim.regression.scenarios import CoreScenario, Scenario, trace_heads

PERIOD_NS = 10


class Bench:
    """Drive and compare a block.

    Inputs change after the rising edge, outputs are sampled half a period later, when all that
    depends on them has settled: what is compared is what the next rising edge sees.
    """

    def __init__(self, dut: Any, *, reset_cycles: int, unknown: bool) -> None:
        self.dut, self.reset_cycles, self.unknown = dut, reset_cycles, unknown
        self.driven: set[str] = set()
        # Looking a handle up costs as much as using it.
        self.handles = {handle._name: handle for handle in dut if not handle._name.startswith("_")}
        cocotb.start_soon(Clock(dut.clk, PERIOD_NS, unit="ns").start())

    async def reset(self) -> None:
        """Reset; a core needs a cycle, accumulators that are observed need operands flushed."""
        for name, handle in self.handles.items():
            if name == "clear" or name in self.driven:
                handle.value = 0
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, self.reset_cycles)
        self.dut.rst.value = 0

    def drive(self, values: Mapping[str, int]) -> None:
        """Set inputs."""
        for name, value in values.items():
            handle = self.handles[name]
            stream, _, member = name.rpartition("__")
            idle = self.unknown and member == "payload" and not values[f"{stream}__valid"]
            handle.value = LogicArray("X" * len(handle)) if idle else value

    def read(self, name: str) -> int:
        """Return an output that must be known."""
        bits = str(self.handles[name].value)
        try:
            return int(bits, 2)
        except ValueError:
            raise MismatchError(f"{name} is unknown: {bits}") from None

    async def run(self, lockstep: Lockstep | StreamLockstep) -> None:
        """Run to the end of a lockstep, comparing every cycle."""
        self.driven = set(lockstep.inputs())
        await self.reset()
        while not lockstep.done:
            self.drive(lockstep.inputs())
            await FallingEdge(self.dut.clk)
            lockstep.check(Shown(self.read))
            await RisingEdge(self.dut.clk)
            lockstep.clock()


def heads_of(config: Config, scenario: Scenario) -> list[Head]:
    """Return the heads that a scenario streams."""
    if scenario.trace:
        return trace_heads(config, example())
    rng = np.random.default_rng(scenario.seed)
    return [
        random_head(
            config,
            rng,
            queries=scenario.queries,
            keys=scenario.keys,
            wide_share=scenario.wide_share,
        )
        for _ in range(scenario.heads)
    ]


def lockstep_of(config: Config, scenario: Scenario | CoreScenario) -> Lockstep | StreamLockstep:
    """Return what a scenario streams, beside its cycle model."""
    stalls: dict[str, Any] = {"stall": scenario.stall, "lazy": scenario.lazy, "seed": scenario.seed}
    if isinstance(scenario, Scenario):
        return Lockstep(config, heads_of(config, scenario), **stalls)
    if scenario.trace:
        return CoreLockstep(config, trace_layers(config, example()), **stalls)
    rng = np.random.default_rng(scenario.seed)
    layers = random_chain(
        config,
        rng,
        scenario.layers,
        heads=scenario.heads,
        tokens=scenario.tokens,
        share=scenario.share,
        causal=scenario.causal,
    )
    return CoreLockstep(config, layers, **stalls)


@cocotb.test()
async def equals_cycle_model(dut: Any) -> None:
    """Every scenario of the job file, one after the other on the same device."""
    job = json.loads(Path(os.environ["DTQATTEN_JOB"]).read_text())
    config = Config(**job["config"])
    kind = CoreScenario if job["block"] == "core" else Scenario
    reset_cycles = 1 if job["block"] == "core" else config.flush_cycles
    bench = Bench(dut, reset_cycles=reset_cycles, unknown=job["unknown"])
    compared = 0
    for fields in job["scenarios"]:
        scenario = kind(**fields)
        lockstep = lockstep_of(config, scenario)
        await bench.run(lockstep)
        if isinstance(lockstep, CoreLockstep):
            lockstep.verify()
        dut._log.info(f"{scenario}: {lockstep.compared} cycles equal")
        compared += lockstep.compared
    Path(job["result"]).write_text(json.dumps({"compared": compared}))
