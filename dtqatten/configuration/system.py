"""Sizes of a machine on a bus: the core's configuration and that of its memory system."""

import enum
from dataclasses import dataclass

from dtqatten.configuration.core import PRESETS, Config
from dtqatten.configuration.fields import instance, integer, one_of
from dtqatten.interface.descriptor import PAGE_BYTES

__all__ = ["ReadStream", "SystemConfig"]

#: Lengths of bursts: powers of two up to AXI4's limit; bursts end at multiples of them.
BURSTS = tuple(2**i for i in range(9))


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
        Room of each stream, in bursts of ``burst_beats``: 2 to 16.

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
        instance(self, "core", Config, f"give a Config, such as PRESETS[{next(iter(PRESETS))!r}]")
        one_of(self, "bus_bits", (64, 128, 256, 512), "choose 64, 128, 256 or 512")
        integer(self, "address_bits", 16, 64)
        most = min(256, PAGE_BYTES // self.bus_bytes)
        one_of(
            self,
            "burst_beats",
            [beats for beats in BURSTS if beats <= most],
            f"choose a power of two up to {most}, what a page of {PAGE_BYTES} bytes holds",
        )
        integer(self, "buffer_bursts", 2, 16)

    @property
    def read_streams(self) -> tuple["ReadStream", ...]:
        """Read streams that the machine has ports for: all up to the last one that it needs."""
        last = ReadStream.LISTS
        if self.core.held_importance:
            last = ReadStream.IMPORTANCE
        if self.core.bias_heads:
            last = ReadStream.KEY_BIAS
        return tuple(stream for stream in ReadStream if stream <= last)

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
    LISTS = 11
    #: Of caches whose importance is added to; used where the core has ``held_importance``. With
    #: ``bias_heads`` alone it has a port, since there is one for each ID up to the last, and idles.
    IMPORTANCE = 12
    #: Of keys, for each query head; only where the core has ``bias_heads``.
    KEY_BIAS = 13
