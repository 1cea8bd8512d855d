"""Amaranth's own simulator, with a deadline."""

from collections.abc import Awaitable, Callable
from typing import Any

from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.sim import Simulator

from dtqatten.hw.export import port_name
from dtqatten.sim.lockstep import Bench

__all__ = ["run", "run_lockstep"]

PERIOD = 1e-6


def run(
    component: wiring.Component,
    *testbenches: Callable[[Any], Awaitable[None]],
    deadline: int = 10_000,
) -> None:
    """Run testbenches until all have returned.

    Raises
    ------
    TimeoutError
        If they have not after ``deadline`` clock cycles.
    """
    simulator = Simulator(component)
    simulator.add_clock(PERIOD)
    left = len(testbenches)

    def counted(testbench: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def count(context: Any) -> None:
            nonlocal left
            await testbench(context)
            left -= 1

        return count

    for testbench in testbenches:
        simulator.add_testbench(counted(testbench))
    simulator.run_until(deadline * PERIOD)
    if left:
        raise TimeoutError(f"{left} testbenches have not ended after {deadline} cycles")


def run_lockstep(component: wiring.Component, lockstep: Bench) -> None:
    """Run a component, arrays with their observation ports, beside its cycle model."""
    ports = {
        port_name(path): Value.cast(value)
        for path, _, value in component.signature.flatten(component)
    }

    async def testbench(context: Any) -> None:
        while not lockstep.done:
            for name, value in lockstep.inputs().items():
                context.set(ports[name], value)
            # Signed ports read as negative numbers; compare bits.
            lockstep.check(
                {
                    name: context.get(ports[name]) & ((1 << len(ports[name])) - 1)
                    for name in lockstep.expected()
                }
            )
            await context.tick()
            lockstep.clock()

    run(component, testbench, deadline=lockstep.deadline + 10)
