"""Fault injection: after whatever happens, the machine completes a good chain bit-exactly."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtqatten.config import Config
from dtqatten.descriptor import FIELDS, pack, unpack
from dtqatten.driver.device import Device
from dtqatten.driver.errors import AbortedError, DeviceError
from dtqatten.driver.layers import Layer
from dtqatten.registers import Status
from dtqatten.sim.axi import SimulatedBus
from dtqatten.sim.chains import Expected, compare_results, expected, random_chain
from dtqatten.system_config import SystemConfig

__all__ = ["SYSTEM", "Fault", "Tally", "inject"]

#: What faults are injected into: every kind of stream, several bursts of each, quick to simulate.
SYSTEM = SystemConfig(
    core=Config(
        rows=4, cols=4, depth=4, d_head=32, n_max=24, heads=9, cumulative=True, topk_lanes=4
    ),
    bus_bits=64,
    burst_beats=4,
)

#: Chains to draw from; their results are computed once.
CHAINS = 16


class Fault(enum.StrEnum):
    """What goes wrong."""

    READ_ERROR = "read error"
    WRITE_ERROR = "write error"
    ABORT = "abort"
    DESCRIPTOR = "bad descriptor"
    RESET = "reset"


@dataclass
class Tally:
    """What has been seen.

    Parameters
    ----------
    faults, recovered : int
        Injected; and how many of them a good chain has followed, bit-exact.
    hangs : int
        Chains that did not end, or aborts that were not obeyed.
    false_done : int
        Layers counted as complete that were not, bit by bit.
    unseen : int
        Faults that came too late, or changed nothing: the chain ended well, bit-exact.
    stray_reads, stray_writes, violations : int
        Bursts outside the windows, broken rules of AXI4; of all chains.
    """

    faults: int = 0
    recovered: int = 0
    hangs: int = 0
    false_done: int = 0
    unseen: int = 0
    stray_reads: int = 0
    stray_writes: int = 0
    violations: int = 0


@dataclass(frozen=True, eq=False)
class _Case:
    chain: list[Layer]
    golden: list[Expected]
    beats: int
    bursts: int
    cycles: int


def inject(device: Device, count: int, seed: int = 0) -> Iterator[tuple[Tally, dict[Fault, int]]]:
    """Inject faults, one after the other; yield what has been seen so far, and how many of each.

    Parameters
    ----------
    device : Device
        On a :class:`~dtqatten.sim.axi.SimulatedBus`, of :data:`SYSTEM`.
    count : int
        Faults.
    seed : int
        Of everything random.
    """
    bus = device.bus
    assert isinstance(bus, SimulatedBus)
    rng = np.random.default_rng(seed)
    cases = [_case(device, bus, rng) for _ in range(CHAINS)]
    tally, kinds = Tally(), dict.fromkeys(Fault, 0)
    before = bus.counters
    for _ in range(count):
        bus.configure(
            seed=int(rng.integers(1 << 32)),
            latency=(1, int(rng.choice([1, 20, 200]))),
            pause=float(rng.choice([0.0, 0.3])),
            reorder=bool(rng.integers(2)),
        )
        kind = list(Fault)[int(rng.integers(len(Fault)))]
        case = cases[int(rng.integers(CHAINS))]
        tally.faults += 1
        kinds[kind] += 1
        _suffer(device, bus, kind, case, rng, tally)
        bus.inject()
        good = cases[int(rng.integers(CHAINS))]
        try:
            compare_results(good.chain, device.run(good.chain), good.golden)
            tally.recovered += 1
        except TimeoutError:
            tally.hangs += 1
            bus.reset()
        except (AssertionError, DeviceError, AbortedError):
            bus.reset()
        now = bus.counters
        tally.stray_reads = now.stray_reads - before.stray_reads
        tally.stray_writes = now.stray_writes - before.stray_writes
        tally.violations = now.violations - before.violations
        yield tally, kinds


def _case(device: Device, bus: SimulatedBus, rng: np.random.Generator) -> _Case:
    config: Config = bus.system.core
    chain = random_chain(config, rng, layers=2, tokens=int(rng.integers(4, 13)), heads=2)
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
    bus: SimulatedBus,
    kind: Fault,
    case: _Case,
    rng: np.random.Generator,
    tally: Tally,
) -> None:
    """Run a chain with a fault in it."""
    response = int(rng.choice([2, 3]))
    if kind is Fault.READ_ERROR:
        bus.inject(read=int(rng.integers(case.beats)), response=response)
    elif kind is Fault.WRITE_ERROR:
        bus.inject(write=int(rng.integers(case.bursts)), response=response)
    addresses = device.prepare(len(case.chain))
    placed: list[tuple[Layer, dict[str, int]]] = []
    for i, layer in enumerate(case.chain):
        following = addresses[i + 1] if i + 1 < len(addresses) else 0
        fields = device.place(layer, addresses[i], following, placed[-1] if placed else None)
        placed.append((layer, fields))
    if kind is Fault.DESCRIPTOR:
        _spoil(bus, int(rng.choice(addresses)), rng)
    device.start(addresses[0])
    if kind in (Fault.ABORT, Fault.RESET):
        # The bus delays now: beyond a good run's cycles too.
        bus.run(int(rng.integers(3 * case.cycles)))
        if kind is Fault.RESET:
            bus.reset()
            return
        device.abort()
    # Layers complete one after the other: acknowledge until the chain has ended, or waits.
    while True:
        try:
            bus.wait()
        except TimeoutError:
            tally.hangs += 1
            bus.reset()
            return
        device.set_register("interrupt", device.register("interrupt"))
        status = Status(device.register("status"))
        if Status.BUSY not in status:
            break
        if Status.WAITING in status:
            device.abort()
    done = device.register("layers_done")
    if not status & (Status.ERROR | Status.ABORTED):
        tally.unseen += 1
    if kind is not Fault.DESCRIPTOR or done < len(addresses):
        _check_done(device, case, placed, done, tally, spoiled=kind is Fault.DESCRIPTOR)


def _spoil(bus: SimulatedBus, address: int, rng: np.random.Generator) -> None:
    """Overwrite a field of a descriptor: by noise, a flipped bit, or an extreme."""
    fields = unpack(bus.read(address, 128))
    field = FIELDS[int(rng.integers(len(FIELDS)))]
    top = (1 << field.bits) - 1
    noise = int.from_bytes(rng.bytes(8), "little") & top
    flipped = fields[field.name] ^ 1 << int(rng.integers(field.bits))
    fields[field.name] = (noise, flipped, 0, top)[int(rng.integers(4))]
    bus.write(address, pack(fields))


def _check_done(
    device: Device,
    case: _Case,
    placed: list[tuple[Layer, dict[str, int]]],
    done: int,
    tally: Tally,
    *,
    spoiled: bool,
) -> None:
    """Count layers that are called complete and are not."""
    for index in range(0 if spoiled else done):
        layer, fields = placed[index]
        try:
            compare_results([layer], [device.collect(layer, fields)], [case.golden[index]])
        except AssertionError:
            tally.false_done += 1


def summary(tally: Tally, kinds: dict[Fault, int]) -> dict[str, Any]:
    """Return a tally as plain data."""
    return {**vars(tally), "by_kind": {kind.value: count for kind, count in kinds.items()}}
