"""Sizes of a machine on a bus: the core's configuration and that of its memory system."""

import enum
from dataclasses import dataclass

from dtqatten.config import Config, ConfigError
from dtqatten.descriptor import PAGE_BYTES

__all__ = ["ReadStream", "SystemConfig"]


@dataclass(frozen=True, kw_only=True)
class SystemConfig:
    """A core and the AXI4 bus it sits on.

    Parameters
    ----------
    core : Config
    bus_bits : int
        AXI4 data width: 64, 128, 256 or 512.
    address_bits : int
        AXI4 address width, 16 to 64.
    burst_beats : int
        Most beats of a burst, a power of two up to 256 whose bytes fit a page. Bursts end at
        multiples of it, so none crosses a page.
    buffer_bursts : int
        Longest bursts that each stream has room for, 2 to 16.

    Raises
    ------
    ConfigError
        If a value is impossible; the message names value, limit and way out.
    """

    core: Config
    bus_bits: int = 128
    address_bits: int = 40
    burst_beats: int = 16
    buffer_bursts: int = 4

    def __post_init__(self) -> None:
        if self.bus_bits not in (64, 128, 256, 512):
            raise ConfigError(f"bus_bits is {self.bus_bits!r}: choose 64, 128, 256 or 512")
        if not 16 <= self.address_bits <= 64:
            raise ConfigError(f"address_bits is {self.address_bits}, outside 16..64")
        most = min(256, PAGE_BYTES // self.bus_bytes)
        if self.burst_beats not in (2**i for i in range(9)) or self.burst_beats > most:
            raise ConfigError(
                f"burst_beats is {self.burst_beats}: choose a power of two up to {most}, "
                f"what a page of {PAGE_BYTES} bytes holds"
            )
        if not 2 <= self.buffer_bursts <= 16:
            raise ConfigError(f"buffer_bursts is {self.buffer_bursts}, outside 2..16")

    @property
    def bus_bytes(self) -> int:
        """Bytes of a beat."""
        return self.bus_bits // 8

    @property
    def buffer_beats(self) -> int:
        """Beats that each stream has room for."""
        return self.burst_beats * self.buffer_bursts

    @property
    def plane_bytes(self) -> int:
        """Bytes of one plane of one token."""
        return self.core.d_head // 2


class ReadStream(enum.IntEnum):
    """Read streams; the value is the AXI ID, so that answers find their stream in any order."""

    DESCRIPTOR = 0
    HEAD_TABLE = 1
    Q_HIGH = 2
    Q_LOW = 3
    K_HIGH = 4
    K_LOW = 5
    V_HIGH = 6
    V_LOW = 7
    Q_GAINS = 8
    K_GAINS = 9
    V_GAINS = 10
