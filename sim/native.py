"""Amaranth's own simulator, with a deadline."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import numpy as np
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.sim import Simulator

from dtqatten.hw.export import port_name
from dtqatten.sim.lockstep import Bench

__all__ = ["collect", "offer", "run", "run_lockstep"]

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


def offer(
    stream: Any, beats: Iterable[Any], rng: np.random.Generator, stall: float = 0.0
) -> Callable[[Any], Awaitable[None]]:
    """Return a testbench that gives beats to a stream, pausing with probability ``stall``."""

    async def testbench(context: Any) -> None:
        for beat in beats:
            while rng.random() < stall:
                await context.tick()
            context.set(stream.valid, 1)
            context.set(stream.p, beat)
            await context.tick().until(stream.ready)
            context.set(stream.valid, 0)

    return testbench


def collect(
    stream: Any,
    count: int,
    rng: np.random.Generator,
    stall: float = 0.0,
    read: Callable[[Any], Any] = lambda payload: payload,
) -> tuple[list[Any], Callable[[Any], Awaitable[None]]]:
    """Return a list, and a testbench that puts ``count`` beats of a stream into it.

    ``read`` makes of a payload what is kept.
    """
    taken: list[Any] = []

    async def testbench(context: Any) -> None:
        while len(taken) < count:
            context.set(stream.ready, int(rng.random() >= stall))
            _, _, ready, valid, payload = await context.tick().sample(
                stream.ready, stream.valid, stream.p
            )
            if ready and valid:
                taken.append(read(payload))
        context.set(stream.ready, 0)

    return taken, testbench


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
