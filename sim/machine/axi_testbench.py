"""cocotb testbench of the whole machine on the AXI models of cocotbext-axi."""

import json
import logging
import os
import re
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge
from cocotbext.axi import (
    AxiBus,
    AxiLiteBus,
    AxiLiteMaster,
    AxiRam,
    AxiRamRead,
    AxiRamWrite,
    AxiResp,
)

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.device import Arena, Device
from dtqatten.driver.expected import compare_results, expected
from dtqatten.hw.bus.axi import LITE_PREFIX, MASTER_PREFIX
from dtqatten.sim.machine.chains import random_chain

PERIOD_NS = 10
BASE, SIZE = 0x1000_0000, 1 << 20
#: Cycles after which a chain is given up.
DEADLINE = 20_000


class ReorderingRead(AxiRamRead):
    """Memory of cocotbext-axi whose answers come late, interleaved and out of order.

    Each burst has a random latency. Beats of different IDs come in any order, those of one ID in
    the order of their addresses, as AXI4 requires.

    Parameters
    ----------
    *arguments, **options
        As of ``AxiRamRead``.
    rng : numpy.random.Generator
    latency : int
        Longest latency, in cycles.
    """

    def __init__(
        self, *arguments: Any, rng: np.random.Generator, latency: int, **options: Any
    ) -> None:
        self.rng, self.latency = rng, latency
        super().__init__(*arguments, **options)

    async def _process_read(self) -> None:
        due: dict[int, deque] = defaultdict(deque)
        cocotb.start_soon(self._answer(due))
        while True:
            request = await self.ar_channel.recv()
            address, beats = int(request.araddr), int(request.arlen) + 1
            width = 1 << int(request.arsize)
            assert address // 4096 == (address + beats * width - 1) // 4096
            cycle = self._cycle + int(self.rng.integers(1, self.latency + 1))
            for beat in range(beats):
                r = self.r_channel._transaction_obj()
                r.rid, r.rlast, r.rresp = int(request.arid), beat == beats - 1, AxiResp.OKAY
                at = address + beat * width
                # The lanes that a narrow transfer does not use are noise.
                word = bytearray(self.rng.bytes(self.byte_lanes))
                lane = at % self.byte_lanes
                word[lane : lane + width] = await self._read(at, width)
                r.rdata = int.from_bytes(word, "little")
                due[r.rid].append((cycle, r))

    async def _answer(self, due: dict[int, deque]) -> None:
        self._cycle = 0
        while True:
            await RisingEdge(self.clock)
            self._cycle += 1
            ready = [id_ for id_, beats in due.items() if beats and beats[0][0] <= self._cycle]
            if ready and not self.r_channel.full():
                self.r_channel.send_nowait(due[int(self.rng.choice(ready))].popleft()[1])

    _cycle = 0


class CocotbBus:
    """The bus of :class:`dtqatten.driver.bus.Bus` on cocotbext-axi; for bridged threads."""

    def __init__(self, dut: Any, memory: Any) -> None:
        self.dut, self.memory = dut, memory
        lite = AxiLiteBus.from_prefix(dut, LITE_PREFIX.rstrip("_"))
        self.lite = AxiLiteMaster(lite, dut.clk)

    def read_register(self, offset: int) -> int:
        """Return a register."""
        answer = _wait_for(self.lite.read, offset, 4)
        if answer.resp != AxiResp.OKAY:
            raise OSError(f"no register at {offset:#x}")
        return int.from_bytes(answer.data, "little")

    def write_register(self, offset: int, value: int) -> None:
        """Write a register."""
        answer = _wait_for(self.lite.write, offset, value.to_bytes(4, "little"))
        if answer.resp != AxiResp.OKAY:
            raise OSError(f"no register to be written at {offset:#x}")

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the memory."""
        return bytes(self.memory.read(address % SIZE, size))

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of the memory."""
        self.memory.write(address % SIZE, data)

    def wait(self) -> None:
        """Wait for the interrupt line."""
        _wait_for(self._interrupt)

    async def _interrupt(self) -> None:
        for _ in range(DEADLINE):
            if int(self.dut.irq.value):
                return
            await RisingEdge(self.dut.clk)
        raise TimeoutError(f"no interrupt within {DEADLINE} cycles")


def _wait_for(function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    """Call an asynchronous function from a bridged thread."""

    async def call() -> Any:
        return await function(*arguments)

    return cocotb.task.resume(call)()


#: Port that belongs to a channel of the bus, and is not its handshake.
CHANNEL = re.compile(rf"((?:{MASTER_PREFIX}|{LITE_PREFIX})(?:ar|aw|r|w|b))(?!valid|ready)\w+")


async def _outputs_are_known(dut: Any, outputs: Iterable[str]) -> None:
    """Fail in the first cycle in which an output that matters is unknown.

    What belongs to a channel matters while that is valid, its handshake and all else always.
    """
    watched = []
    for name in outputs:
        channel = CHANNEL.fullmatch(name)
        valid = getattr(dut, f"{channel[1]}valid") if channel else None
        watched.append((getattr(dut, name), valid))
    while True:
        await FallingEdge(dut.clk)
        for port, valid in watched:
            bits = str(port.value)
            matters = valid is None or str(valid.value) == "1"
            assert not matters or set(bits) <= {"0", "1"}, f"{port._name} is {bits}"


def _pauses(rng: np.random.Generator, share: float, longest: int) -> Iterator[bool]:
    """Pause for some cycles at a time, about a share of them all."""
    while True:
        for pause in (True, False):
            mean = longest * (share if pause else 1 - share)
            yield from [pause] * (1 + int(rng.integers(0, int(2 * mean) + 1)))


@cocotb.test()
async def chains_are_bit_exact(dut: Any) -> None:
    """Chains of random layers on a plain memory, then on one that pauses and reorders."""
    logging.getLogger("cocotb").setLevel(logging.WARNING)
    job = json.loads(Path(os.environ["DTQATTEN_JOB"]).read_text())
    system = SystemConfig(**job["system"] | {"core": Config(**job["system"]["core"])})
    cocotb.start_soon(Clock(dut.clk, PERIOD_NS, unit="ns").start())
    # The models refuse what is not known yet: reset comes first.
    dut.rst.value = 1
    await ClockCycles(dut.clk, 1)
    bus = AxiBus.from_prefix(dut, MASTER_PREFIX.rstrip("_"))
    rng = np.random.default_rng(job["seed"])
    if job["latency"] > 1:
        written = AxiRamWrite(bus.write, dut.clk, size=SIZE)
        read = ReorderingRead(
            bus.read, dut.clk, size=SIZE, mem=written.mem, rng=rng, latency=job["latency"]
        )
        for channel in (written.aw_channel, written.w_channel, read.ar_channel, read.r_channel):
            channel.set_pause_generator(_pauses(rng, 0.4, 4))
        written.b_channel.set_pause_generator(_pauses(rng, 0.4, job["latency"]))
        memory: Any = written
    else:
        memory = AxiRam(bus, dut.clk, size=SIZE)
    host = CocotbBus(dut, memory)
    await RisingEdge(dut.clk)
    dut.rst.value = 0
    cocotb.start_soon(_outputs_are_known(dut, job["outputs"]))

    def run() -> None:
        half = SIZE // 2
        device = Device(host, Arena(BASE, half), Arena(BASE + half, half))
        for _ in range(job["chains"]):
            chain = random_chain(system.core, rng, layers=int(rng.integers(1, 4)), calls=0.4)
            compare_results(chain, device.run(chain), expected(system.core, chain))

    await cocotb.task.bridge(run)()
    Path(job["result"]).write_text(json.dumps({"chains": job["chains"]}))
