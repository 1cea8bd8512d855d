"""A simulated machine with memory for a cascade."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dtqatten.api.layers import Cascade
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.device import Device
from dtqatten.interface.descriptor import PAGE_BYTES, SIZE
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device

__all__ = ["device_for"]


@contextmanager
def device_for(
    system: SystemConfig, cascade: Cascade, *, waves: Path | None = None
) -> Iterator[Device]:
    """Yield a simulated machine that runs a cascade; the file of waves is complete afterwards.

    Parameters
    ----------
    system : SystemConfig
    cascade : Cascade
    waves : Path, optional
        FST file that gets every signal of the machine in every cycle.

    Raises
    ------
    RuntimeError
        If Verilator or the C++ compiler fails, with their messages.
    """
    device = simulated_device(
        system,
        size=memory_for(cascade),
        timeout=longest(system, cascade),
        # Code that writes waves takes minutes to optimize, and writes no faster for it.
        optimize=2 if waves is None else 0,
        waves=waves,
    )
    assert isinstance(device.bus, SimulatedBus)
    try:
        yield device
    finally:
        device.bus.close()


def memory_for(cascade: Cascade) -> int:
    """Return bytes of a memory, three quarters of it for inputs, that holds a cascade."""
    heads, n, d = cascade.heads, cascade.n, cascade.d_head
    inputs = cascade.layers * (SIZE + 3 * heads * n * (d + 1) + 4 * heads + 8 * 64)
    outputs = cascade.layers * (heads * n * d * 2 + 6 * n + 3 * 64)
    return 4 * PAGE_BYTES * (1 + max(-(-inputs // 3), outputs) // PAGE_BYTES)


def longest(system: SystemConfig, cascade: Cascade) -> int:
    """Return cycles after which a layer is given up: several times what the slowest one takes."""
    core, n = system.core, cascade.n
    products = cascade.heads * (n + core.rows) * (n + core.cols) * cascade.d_head * 8
    return 20_000 + 8 * products // (core.rows * min(core.cols, core.depth, core.group))
