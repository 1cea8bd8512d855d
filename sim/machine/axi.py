"""A system's Verilog on a simulated bus: Verilator and a memory, both compiled."""

import ctypes
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.driver.device import Arena, Device
from dtqatten.golden.memory import Burst
from dtqatten.sim.machine.axi_library import Issued, load

__all__ = ["BusCounters", "SimulatedBus", "simulated_device"]

#: Cycles that a wait runs at a time: between them other threads and Ctrl-C get through.
SLICE = 1024


@dataclass(frozen=True)
class BusCounters:
    """What the memory has counted.

    Parameters
    ----------
    cycles : int
    violations : int
        Rules of AXI4 broken: a payload that changed or vanished before it was accepted, an illegal
        burst, a wrong last word.
    stray_reads, stray_writes : int
        Bursts outside the windows told to the memory.
    beats_read, beats_written : int
    """

    cycles: int
    violations: int
    stray_reads: int
    stray_writes: int
    beats_read: int
    beats_written: int


class SimulatedBus:
    """The bus of :class:`dtqatten.driver.bus.Bus`, with a verilated system on it.

    Time passes in waits and register accesses only. Threads may share it.

    Parameters
    ----------
    system : SystemConfig
    base, size : int
        Of the memory; what lies outside is answered with DECERR.
    timeout : int
        Cycles after which :meth:`wait` gives up.
    optimize : int
        As of :func:`dtqatten.sim.engines.compiler.compiled`.
    power_up : int, optional
        Seed of what registers and RAMs hold at power-up; by default what Verilog gives them.
    waves : Path, optional
        FST file that gets every signal in every cycle, complete when the bus is closed.

    Attributes
    ----------
    memory : uint8 array ``[size]``
    interrupted : int
        Cycle in which the last wait ended.

    Raises
    ------
    RuntimeError
        If Verilator or the C++ compiler fails, with their messages.
    OSError
        If the file of waves cannot be written.
    """

    def __init__(
        self,
        system: SystemConfig,
        *,
        base: int = 0x1000_0000,
        size: int = 1 << 24,
        timeout: int,
        optimize: int = 2,
        power_up: int | None = None,
        waves: Path | None = None,
    ) -> None:
        self.system, self.base, self.size, self.timeout = system, base, size, timeout
        self._library = library = load(system, optimize, power_up, waves)
        # Of one thread at a time; a signal handler may come in between two steps of its thread.
        self._lock = threading.RLock()
        # Register accesses that wait for the lock, or have it; a set changes in one step.
        self._wanted: set[object] = set()
        self._handle = library.create(base, size, power_up or 1)
        address = library.memory(self._handle)
        # A view, valid as long as the model.
        self.memory = np.ctypeslib.as_array(
            ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)), (size,)
        )
        self.interrupted = 0
        if waves is not None and not library.dump(self._handle, os.fsencode(waves)):
            raise OSError(f"cannot write waves to {waves}")
        self.configure()
        self.set_windows((base, base + size - 1), (base, base + size - 1))
        self.reset()

    def close(self) -> None:
        """Free the model, and end the file of waves; the bus and its memory are gone."""
        if getattr(self, "_handle", None):
            self._library.destroy(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.close()

    def configure(
        self,
        *,
        seed: int = 0,
        latency: tuple[int, int] = (1, 1),
        pause: float = 0.0,
        reorder: bool = False,
    ) -> None:
        """Set how the memory behaves.

        Parameters
        ----------
        seed : int
            Of everything random.
        latency : (int, int)
            Least and most cycles from an address to its first word, or from the last word written
            to its answer.
        pause : float
            Probability that a channel pauses in a cycle.
        reorder : bool
            Answers of different IDs come interleaved and in any order.
        """
        self._library.configure(self._handle, seed, *latency, pause, reorder)

    def set_windows(self, read: tuple[int, int], written: tuple[int, int]) -> None:
        """Tell the memory which bytes, first and last, bursts may touch: it counts others."""
        self._library.set_window(self._handle, 0, *read)
        self._library.set_window(self._handle, 1, *written)

    def inject(self, *, read: int = -1, write: int = -1, response: int = 2) -> None:
        """Answer the word read, or the burst written, after so many others with an error."""
        self._library.inject(self._handle, read, write, response)

    def reset(self) -> None:
        """Reset machine and bus for a cycle; the memory keeps its contents."""
        with self._lock:
            self._library.reset(self._handle, 1)

    def read_register(self, offset: int) -> int:
        """Return a register.

        Raises
        ------
        OSError
            If there is none at ``offset``.
        """
        answered, value = self._access(0, offset, 0)
        if not answered:
            raise OSError(f"no register at {offset:#x}")
        return value

    def write_register(self, offset: int, value: int) -> None:
        """Write a register.

        Raises
        ------
        OSError
            If there is none at ``offset`` that can be written.
        """
        answered, _ = self._access(1, offset, value)
        if not answered:
            raise OSError(f"no register to be written at {offset:#x}")

    def _access(self, write: int, offset: int, value: int) -> tuple[bool, int]:
        data = ctypes.c_uint32(value)
        access = object()
        self._wanted.add(access)
        try:
            with self._lock:
                answered = self._library.access_register(
                    self._handle, write, offset, ctypes.byref(data)
                )
        finally:
            self._wanted.discard(access)
        return bool(answered), data.value

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the memory.

        Raises
        ------
        IndexError
            If they are not all in it.
        """
        return self.memory[self._range(address, size)].tobytes()

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of the memory.

        Raises
        ------
        IndexError
            If they are not all in it.
        """
        self.memory[self._range(address, len(data))] = np.frombuffer(data, np.uint8)

    def _range(self, address: int, size: int) -> slice:
        at = address - self.base
        if at < 0 or at + size > self.size:
            raise IndexError(
                f"{size} bytes at {address:#x} leave the memory of {self.size} at {self.base:#x}"
            )
        return slice(at, at + size)

    def wait(self) -> None:
        """Run until the interrupt line is high."""
        self.run(self.timeout, until_interrupt=True)
        if not self.interrupt:
            raise TimeoutError(f"no interrupt within {self.timeout} cycles")
        self.interrupted = self.counters.cycles

    def run(self, cycles: int, *, until_interrupt: bool = False) -> None:
        """Run for so many cycles, or until the interrupt line is high."""
        while cycles > 0:
            with self._lock:
                self._library.run(self._handle, min(cycles, SLICE), until_interrupt)
                if until_interrupt and self.interrupt:
                    return
            cycles -= SLICE
            # A lock goes to whom is running: without this, another thread waits for many slices.
            while self._wanted:
                time.sleep(0)

    @property
    def interrupt(self) -> bool:
        """Whether the interrupt line is high."""
        return bool(self._library.interrupt(self._handle))

    @property
    def counters(self) -> BusCounters:
        """What the memory has counted since it was made."""
        values = (ctypes.c_uint64 * 6)()
        self._library.counters(self._handle, values)
        return BusCounters(*values)

    def record(self, on: bool = True) -> None:
        """Forget the bursts recorded, and record from now on, or no longer."""
        self._library.record(self._handle, on)

    def reads(self) -> dict[ReadStream, list[Burst]]:
        """Return the read bursts recorded, by stream, in order."""
        found: dict[ReadStream, list[Burst]] = {stream: [] for stream in ReadStream}
        for issued in self._issued():
            if not issued.written:
                found[ReadStream(issued.id)].append(
                    Burst(issued.address, issued.beats, issued.width)
                )
        return found

    def read_cycles(self, stream: ReadStream) -> list[int]:
        """Return the cycles in which a stream's recorded bursts were accepted."""
        return [i.cycle for i in self._issued() if not i.written and i.id == stream]

    def writes(self) -> list[Burst]:
        """Return the write bursts recorded, in order."""
        return [
            Burst(issued.address, issued.beats, issued.width)
            for issued in self._issued()
            if issued.written
        ]

    def write_cycles(self) -> list[int]:
        """Return the cycles in which the recorded write bursts were accepted."""
        return [issued.cycle for issued in self._issued() if issued.written]

    def _issued(self) -> list[Issued]:
        count = self._library.recorded(self._handle)
        array = ctypes.cast(self._library.records(self._handle), ctypes.POINTER(Issued))
        return [array[i] for i in range(count)]


def simulated_device(
    system: SystemConfig,
    *,
    size: int = 1 << 22,
    timeout: int,
    optimize: int = 2,
    power_up: int | None = None,
    waves: Path | None = None,
) -> Device:
    """Return a driver's device on a simulated bus; results go to the upper quarter of its memory.

    Parameters
    ----------
    system : SystemConfig
    size : int
        Bytes of memory.
    timeout, optimize, power_up, waves
        As of :class:`SimulatedBus`.
    """
    bus = SimulatedBus(
        system, size=size, timeout=timeout, optimize=optimize, power_up=power_up, waves=waves
    )
    inputs, outputs = Arena(bus.base, size // 4 * 3), Arena(bus.base + size // 4 * 3, size // 4)
    bus.set_windows((inputs.base, inputs.last), (outputs.base, outputs.last))
    return Device(bus, inputs, outputs)
