"""The host's end of a board: a device on its line, and layers through it."""

from collections.abc import Callable

import numpy as np

from dtqatten.api.attention import Attention, on_device
from dtqatten.api.layers import Cascade, Shares
from dtqatten.boards.catalog import Board
from dtqatten.driver.device import Arena, Device
from dtqatten.driver.errors import PortError
from dtqatten.driver.serial_bus import SerialBus
from dtqatten.golden.traces.recording import Recording
from dtqatten.hw.system import constants
from dtqatten.interface.descriptor import PAGE_BYTES

__all__ = ["device_on", "random_recording", "run_layers"]

#: Parts of the memory that are for inputs, and of how many.
INPUTS, PARTS = 5, 8


def device_on(bus: SerialBus, board: Board) -> Device:
    """Return the machine at the end of a line; most of its memory is for inputs.

    Raises
    ------
    PortError
        If it is not the machine of that board.
    LinkError
        If the line fails.
    """
    pages = bus.memory_bytes // PAGE_BYTES
    border = bus.memory_base + pages * INPUTS // PARTS * PAGE_BYTES
    inputs = Arena(bus.memory_base, border - bus.memory_base)
    device = Device(bus, inputs, Arena(border, bus.memory_base + bus.memory_bytes - border))
    sizes, wanted = device.sizes, constants(board.system)
    if differing := [name for name in wanted if name in sizes and sizes[name] != wanted[name]]:
        name = differing[0]
        raise PortError(
            f"{bus.port}: its machine has {name} {sizes[name]}, that of {board.name} "
            f"{wanted[name]}: give its --board, or build and program it anew"
        )
    return device


def random_recording(board: Board, heads: int, tokens: int, seed: int) -> Recording:
    """Return a layer of normally distributed Q, K and V for a board's machine."""
    shape = (3, 1, heads, tokens, board.system.core.d_head)
    q, k, v = np.random.default_rng(seed).normal(size=shape)
    return Recording(q=q, k=k, v=v)


def run_layers(
    device: Device,
    board: Board,
    recording: Recording,
    *,
    shares: Shares,
    causal: bool = False,
    tell: Callable[[str], object] = lambda _: None,
) -> list[Attention]:
    """Run layers on a board and compare every bit with the golden model.

    Parameters
    ----------
    device : Device
    board : Board
    recording : Recording
    shares, causal
        As of :func:`dtqatten.api.attention.attention_layers`.
    tell : callable
        Hears what is done.

    Raises
    ------
    AssertionError
        If the board gives anything else than the golden model.
    LayoutError
        If the layers do not suit the machine, or its memory.
    DeviceError, LinkError, TimeoutError
        As of :meth:`dtqatten.driver.device.Device.run`.
    """
    cascade = Cascade(
        recording.q,
        recording.k,
        recording.v,
        bits=recording.bits,
        shares=shares,
        causal=causal,
    )
    return list(on_device(device, board.system, cascade, tell))
