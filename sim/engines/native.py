"""Amaranth's own simulator, with a deadline."""

import itertools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import numpy as np
from amaranth.hdl import Elaboratable, Value
from amaranth.lib import wiring
from amaranth.sim import Simulator

from dtqatten.hw.base.export import port_name, uncollected
from dtqatten.sim.engines.bench import Bench, Shown
from dtqatten.sim.engines.ports import fitting

__all__ = ["collect", "offer", "run", "run_lockstep", "watch"]

PERIOD = 1e-6

Testbench = Callable[[Any], Awaitable[None]]


def run(
    component: Elaboratable,
    *testbenches: Testbench,
    background: Iterable[Testbench] = (),
    deadline: int = 10_000,
) -> None:
    """Run testbenches until all but those of the background have returned.

    Parameters
    ----------
    component : Elaboratable
    *testbenches
        Run until they return.
    background : iterable of testbenches
        Run before the others in each cycle, in their order.
    deadline : int
        Clock cycles.

    Raises
    ------
    TimeoutError
        If they have not after ``deadline`` clock cycles.
    """
    with uncollected():
        simulator = Simulator(component)
    # What is combinational has none.
    simulator.add_clock(PERIOD, if_exists=True)

    async def watchdog(context: Any) -> None:
        await context.delay(deadline * PERIOD)
        raise TimeoutError(f"testbenches have not ended after {deadline} cycles")

    for testbench in (*background, watchdog):
        simulator.add_testbench(testbench, background=True)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    simulator.run()


class _Offer:
    """What a stream offers, which has to stay until it is taken."""

    def __init__(self) -> None:
        self.waiting = False
        self.payload: Any = None

    def clock(self, ready: bool, valid: bool, payload: Any) -> bool:
        """Pass a clock edge and return whether a beat is taken at it."""
        if self.waiting and not (valid and payload == self.payload):
            now = payload if valid else "nothing"
            raise AssertionError(f"offered {self.payload}, not taken, then {now}")
        self.waiting, self.payload = bool(valid and not ready), payload
        return bool(valid and ready)


def watch(
    stream: Any, read: Callable[[Any], Any] = lambda payload: payload
) -> tuple[list[tuple[int, Any]], Testbench]:
    """Return a list, and a background testbench that notes in it what passes through a stream.

    An entry is the cycle and what ``read`` makes of the payload.

    Raises
    ------
    AssertionError
        From the testbench, if an offer is withdrawn or changes before it is taken.
    """
    passed: list[tuple[int, Any]] = []

    async def testbench(context: Any) -> None:
        offered = _Offer()
        for cycle in itertools.count():
            _, _, ready, valid, payload = await context.tick().sample(
                stream.ready, stream.valid, stream.p
            )
            if offered.clock(ready, valid, payload):
                passed.append((cycle, read(payload)))

    return passed, testbench


def offer(
    stream: Any, beats: Iterable[Any], rng: np.random.Generator, stall: float = 0.0
) -> Testbench:
    """Return a testbench that gives beats to a stream; in pauses and at the end payload is noise.

    Parameters
    ----------
    stream : stream interface
    beats : iterable
        Payloads.
    rng : numpy.random.Generator
    stall : float
        Probability of a pause.
    """
    payload = Value.cast(stream.p)

    async def testbench(context: Any) -> None:
        for beat in beats:
            while rng.random() < stall:
                await context.tick()
            context.set(stream.valid, 1)
            context.set(stream.p, beat)
            while not (await context.tick().sample(stream.ready))[-1]:
                pass
            context.set(stream.valid, 0)
            noise = int.from_bytes(rng.bytes(len(payload) // 8 + 1), "little")
            context.set(payload, noise & ((1 << len(payload)) - 1))

    return testbench


def collect(
    stream: Any,
    count: int,
    rng: np.random.Generator,
    stall: float = 0.0,
    read: Callable[[Any], Any] = lambda payload: payload,
) -> tuple[list[Any], Testbench]:
    """Return a list, and a testbench that puts ``count`` beats of a stream into it.

    Parameters
    ----------
    stream : stream interface
    count : int
    rng : numpy.random.Generator
    stall : float
        Probability of a pause.
    read : callable
        Turns a payload into an item of the list.

    Raises
    ------
    AssertionError
        From the testbench, if an offer is withdrawn or changes before it is taken.
    """
    taken: list[Any] = []

    async def testbench(context: Any) -> None:
        offered = _Offer()
        while len(taken) < count:
            context.set(stream.ready, int(rng.random() >= stall))
            _, _, ready, valid, payload = await context.tick().sample(
                stream.ready, stream.valid, stream.p
            )
            if offered.clock(ready, valid, payload):
                taken.append(read(payload))
        context.set(stream.ready, 0)

    return taken, testbench


def run_lockstep(component: wiring.Component, lockstep: Bench) -> None:
    """Run a component, arrays with their observation ports, beside its cycle model."""
    ports = {
        port_name(path): Value.cast(value)
        for path, _, value in component.signature.flatten(component)
    }

    def read(context: Any, name: str) -> int:
        """Return the bits of a port; signed ones read as negative numbers."""
        value: int = context.get(ports[name])
        return value & ((1 << len(ports[name])) - 1)

    async def testbench(context: Any) -> None:
        while not lockstep.done:
            for name, value in lockstep.inputs().items():
                context.set(ports[name], fitting(name, value, len(ports[name])))
            lockstep.check(Shown(lambda name: read(context, name)))
            await context.tick()
            lockstep.clock()

    run(component, testbench, deadline=lockstep.deadline + 10)
