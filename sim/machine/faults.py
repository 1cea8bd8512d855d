"""Fault injection through the driver: after whatever happens, a good chain is bit-exact."""

import enum
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.blocks import Block
from dtqatten.driver.chain import Chain
from dtqatten.driver.device import Device
from dtqatten.driver.errors import AbortedError, DeviceError, NotIdleError, StaleChainError
from dtqatten.driver.expected import Expected, compare_results, expected
from dtqatten.interface.descriptor import FIELDS, ID_BYTES, Flag
from dtqatten.sim.machine.axi import SimulatedBus
from dtqatten.sim.machine.chains import random_chain
from dtqatten.sim.machine.interposed import InterposedBus

__all__ = ["SYSTEM", "Fault", "Tally", "inject", "list_spoiler", "summary"]

#: What faults are injected into: every kind of stream, several bursts of each, quick to simulate.
SYSTEM = SystemConfig(
    core=Config(
        rows=4,
        cols=4,
        depth=4,
        d_head=32,
        n_max=24,
        heads=9,
        cumulative=True,
        topk_lanes=4,
        capacity=100,
    ),
    bus_bits=64,
    burst_beats=4,
)

#: Chains to draw from; their results are computed once.
CHAINS = 16
#: Latency of a memory that does not answer any more.
NEVER = 1 << 30
#: Cycles that a wait takes to give up where no interrupt can come.
IN_VAIN = 1000


class HostError(Exception):
    """What a layer function of the host raises here."""


class Fault(enum.StrEnum):
    """What goes wrong."""

    READ_ERROR = "read error"
    WRITE_ERROR = "write error"
    ABORT = "abort"
    DESCRIPTOR = "bad descriptor"
    LIST = "bad list"
    RESET = "reset"
    INTERRUPT = "Ctrl-C"
    TIMEOUT = "time-out"
    HOST = "layer function"
    SILENCE = "memory that does not answer"


#: Exceptions that the driver may end a chain with. A descriptor that was overwritten can end it
#: early, or have the machine wait for good.
RAISED: dict[Fault, tuple[type[BaseException], ...]] = {
    Fault.READ_ERROR: (DeviceError,),
    Fault.WRITE_ERROR: (DeviceError,),
    Fault.ABORT: (AbortedError,),
    Fault.DESCRIPTOR: (DeviceError, StaleChainError, TimeoutError),
    Fault.LIST: (DeviceError,),
    Fault.RESET: (StaleChainError, TimeoutError),
    Fault.INTERRUPT: (KeyboardInterrupt,),
    Fault.TIMEOUT: (TimeoutError,),
    Fault.HOST: (HostError,),
    Fault.SILENCE: (NotIdleError,),
}


@dataclass
class Tally:
    """What has been seen.

    Parameters
    ----------
    faults, recovered : int
        Injected; and how many of them a good chain has followed, bit-exact, by the same driver.
    hangs : int
        Machines that stayed busy, or good chains that did not end; but for a memory that does not
        answer, after which the driver has to say so until the reset.
    false_done : int
        Layers counted as complete that were not, bit by bit.
    unseen : int
        Faults that came too late, or changed nothing: the chain ended well.
    unexpected : int
        Exceptions other than those of the fault.
    stray_reads, stray_writes, violations : int
        Bursts outside the windows, broken rules of AXI4; of all chains.
    """

    faults: int = 0
    recovered: int = 0
    hangs: int = 0
    false_done: int = 0
    unseen: int = 0
    unexpected: int = 0
    stray_reads: int = 0
    stray_writes: int = 0
    violations: int = 0


@dataclass(frozen=True, eq=False)
class _Case:
    chain: list[Block]
    golden: list[Expected]
    beats: int
    bursts: int
    cycles: int


def inject(device: Device, count: int, seed: int = 0) -> Iterator[tuple[Tally, dict[Fault, int]]]:
    """Inject faults of every kind in turn; yield what has been seen so far, and how many of each.

    Parameters
    ----------
    device : Device
        On a :class:`~dtqatten.sim.machine.axi.SimulatedBus`, of :data:`SYSTEM`.
    count : int
        Faults.
    seed : int
        Of everything random.
    """
    inner = device.bus
    assert isinstance(inner, SimulatedBus)
    bus = InterposedBus(inner)
    device = Device(bus, device.inputs, device.outputs, patience=2000)
    rng = np.random.default_rng(seed)
    cases = [_case(device, inner, rng) for _ in range(CHAINS)]
    # Good chains end long before, at any latency.
    inner.timeout = 30 * max(case.cycles for case in cases)
    tally, kinds = Tally(), dict.fromkeys(Fault, 0)
    before = inner.counters
    for number in range(count):
        behave = functools.partial(
            inner.configure,
            seed=int(rng.integers(1 << 32)),
            latency=(1, int(rng.choice([1, 20, 200]))),
            pause=float(rng.choice([0.0, 0.3])),
            reorder=bool(rng.integers(2)),
        )
        behave()
        kind = list(Fault)[number % len(Fault)]
        tally.faults += 1
        kinds[kind] += 1
        _suffer(device, bus, kind, cases[int(rng.integers(CHAINS))], rng, tally)
        if kind is Fault.SILENCE:
            _refused(device, cases[0], tally)
            behave()
            inner.reset()
        inner.inject()
        good = cases[int(rng.integers(CHAINS))]
        try:
            compare_results(good.chain, device.run(good.chain), good.golden)
            tally.recovered += 1
        except (TimeoutError, NotIdleError):
            tally.hangs += 1
            inner.reset()
        except (AssertionError, DeviceError, AbortedError, StaleChainError):
            inner.reset()
        now = inner.counters
        tally.stray_reads = now.stray_reads - before.stray_reads
        tally.stray_writes = now.stray_writes - before.stray_writes
        tally.violations = now.violations - before.violations
        yield tally, kinds


def _case(device: Device, bus: SimulatedBus, rng: np.random.Generator) -> _Case:
    config: Config = bus.system.core
    chain = random_chain(config, rng, layers=2, tokens=int(rng.integers(4, 13)), heads=2, calls=0.5)
    start = bus.counters
    bus.record()
    device.run(chain)
    bursts, end = len(bus.writes()), bus.counters
    bus.record(False)
    return _Case(
        chain,
        expected(config, chain),
        end.beats_read - start.beats_read,
        bursts,
        end.cycles - start.cycles,
    )


def _suffer(
    device: Device,
    bus: InterposedBus,
    kind: Fault,
    case: _Case,
    rng: np.random.Generator,
    tally: Tally,
) -> None:
    """Run a chain with a fault in it.

    Parameters
    ----------
    device : Device
    bus : InterposedBus
        Its bus.
    kind : Fault
    case : _Case
        The chain and what a good run of it does.
    rng : numpy.random.Generator
    tally : Tally
        Counts the outcome.
    """
    inner, response = bus.inner, int(rng.choice([2, 3]))
    timeout = inner.timeout
    if kind is Fault.READ_ERROR:
        inner.inject(read=int(rng.integers(case.beats)), response=response)
    elif kind is Fault.WRITE_ERROR:
        inner.inject(write=int(rng.integers(case.bursts)), response=response)
    elif kind is Fault.DESCRIPTOR:
        bus.spoil = _spoiler(int(rng.integers(len(case.chain))), rng)
    elif kind is Fault.LIST:
        bus.spoil = list_spoiler(inner, rng)
    elif kind in (Fault.ABORT, Fault.RESET, Fault.INTERRUPT, Fault.TIMEOUT, Fault.SILENCE):
        # The bus delays now: beyond a good run's cycles too.
        bus.before_wait = _happening(device, inner, kind, int(rng.integers(3 * case.cycles)))
    chain = Chain(device, len(case.chain))
    # A layer function, as device.run has it, in every other chain.
    stops = bool(rng.integers(2)) or kind is Fault.HOST
    try:
        with chain:
            for layer in case.chain:
                if stops and chain.run() and kind is Fault.HOST:
                    raise HostError
                chain.add(layer)
            chain.run()
        tally.unseen += 1
    except RAISED[kind]:
        pass
    except NotIdleError:
        tally.hangs += 1
    except Exception:
        tally.unexpected += 1
    bus.before_wait = bus.spoil = None
    inner.timeout = timeout
    if kind is not Fault.DESCRIPTOR:
        done = len(chain.results)
        for layer, result, golden in zip(
            case.chain[:done], chain.results, case.golden[:done], strict=True
        ):
            try:
                compare_results([layer], [result], [golden])
            except AssertionError:
                tally.false_done += 1


def _happening(device: Device, bus: SimulatedBus, kind: Fault, cycles: int) -> Callable[[], None]:
    """Return the fault as a function that the driver's wait calls.

    Parameters
    ----------
    device : Device
    bus : SimulatedBus
    kind : Fault
    cycles : int
        Cycles of the wait before the fault.
    """

    def happens() -> None:
        bus.run(cycles, until_interrupt=kind is Fault.SILENCE)
        match kind:
            case Fault.ABORT:
                device.abort()
            case Fault.RESET:
                bus.reset()
                bus.timeout = IN_VAIN
            case Fault.INTERRUPT:
                raise KeyboardInterrupt
            case Fault.TIMEOUT:
                raise TimeoutError
            case Fault.SILENCE:
                bus.configure(latency=(NEVER, NEVER))
                bus.timeout = IN_VAIN

    return happens


def _refused(device: Device, case: _Case, tally: Tally) -> None:
    """While the memory owes answers, the driver begins nothing."""
    try:
        device.run(case.chain)
    except NotIdleError:
        return
    tally.unexpected += 1


def _spoiler(
    number: int, rng: np.random.Generator
) -> Callable[[int, dict[str, int]], dict[str, int]]:
    """Return what overwrites a field of a descriptor: by noise, a flipped bit, or an extreme."""
    field = FIELDS[int(rng.integers(len(FIELDS)))]
    top = (1 << field.bits) - 1
    noise = int.from_bytes(rng.bytes(8), "little") & top
    bit, how = 1 << int(rng.integers(field.bits)), int(rng.integers(4))
    left = number

    def spoil(address: int, fields: dict[str, int]) -> dict[str, int]:
        nonlocal left
        left -= 1
        if left != -1:
            return fields
        return fields | {field.name: (noise, fields[field.name] ^ bit, 0, top)[how]}

    return spoil


def list_spoiler(
    bus: SimulatedBus, rng: np.random.Generator
) -> Callable[[int, dict[str, int]], dict[str, int]]:
    """Return what overwrites an id of each list of tokens, once the list is in memory."""

    def spoil(address: int, fields: dict[str, int]) -> dict[str, int]:
        for name, flag, count in (
            ("query_list", Flag.QUERY_LIST, fields["queries"]),
            ("key_list", Flag.KEY_LIST, fields["tokens"]),
        ):
            if fields["flags"] & flag:
                at = fields[name] + ID_BYTES * int(rng.integers(count))
                bus.write(at, b"\xff" * ID_BYTES)
        return fields

    return spoil


def summary(tally: Tally, kinds: dict[Fault, int]) -> dict[str, Any]:
    """Return a tally as plain data."""
    return {**vars(tally), "by_kind": {kind.value: count for kind, count in kinds.items()}}
