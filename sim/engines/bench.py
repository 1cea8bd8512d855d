"""Benches for engines: inputs of a device, and its expected outputs."""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

__all__ = ["Bench", "MismatchError", "Shown", "compare", "noise"]


class MismatchError(AssertionError):
    """A port of the device differs from the cycle model."""


class Bench(Protocol):
    """Streams jobs through a cycle model; a device must show the same outputs.

    Each cycle the caller drives :meth:`inputs` into the device, lets it settle, passes what it
    reads to :meth:`check`, and then clocks the device and calls :meth:`clock`. Inputs follow from
    the model alone, never from the device.
    """

    #: Cycles after which a run has failed.
    deadline: int

    @property
    def done(self) -> bool:
        """Whether all jobs went in and all results came out."""

    def inputs(self) -> dict[str, int]:
        """Return the values of the input ports in this cycle; those left out are zero."""

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle; those left out do not matter."""

    def check(self, ports: Mapping[str, int]) -> None:
        """Compare the output ports of the device in this cycle."""

    def clock(self) -> None:
        """Pass a clock edge."""


def compare(cycle: int, ports: Mapping[str, int], expected: Mapping[str, int]) -> None:
    """Compare a device's ports with those that the model expects in a cycle.

    Raises
    ------
    MismatchError
        If a port differs.
    """
    for name, value in expected.items():
        if ports[name] != value:
            raise MismatchError(f"cycle {cycle}: {name} is {ports[name]:#x}, model has {value:#x}")


class Shown(dict[str, int]):
    """The ports of a device in a cycle, each read when it is first asked for.

    Reading costs most of a cycle where the device is behind a simulator's interface, and not all
    ports matter in each cycle.

    Parameters
    ----------
    read : callable
        Returns a port's value, given its name.
    """

    def __init__(self, read: Callable[[str], int]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, name: str) -> int:
        value = self[name] = self._read(name)
        return value


def noise(rng: np.random.Generator, width: int) -> int:
    """Return random bits, for a port whose value must not matter."""
    return int.from_bytes(rng.bytes((width + 7) // 8), "little") & ((1 << width) - 1)
