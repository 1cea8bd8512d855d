"""The shape of a memory that an SRAM macro can be, and the module that stands for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PARAMETERS", "Memory", "memory_of"]

#: What of a Yosys cell ``$mem_v2`` says whether it is one.
PARAMETERS = (
    *("SIZE", "OFFSET", "WIDTH"),
    *("RD_PORTS", "RD_CLK_ENABLE", "RD_TRANSPARENCY_MASK", "WR_PORTS"),
)


@dataclass(frozen=True, order=True)
class Memory:
    """A memory of ``words`` words of ``width`` bits, one clock.

    Its module has ``clk``, read enable ``ren``, ``rdata``, which holds until the next read, a write
    enable ``wen`` for each bit, ``wdata``, and :attr:`addresses`. A read takes the word as it is
    before the clock edge.

    Parameters
    ----------
    words, width : int
    ports : int
        1 for reads and writes, or 2, one for each.
    """

    words: int
    width: int
    ports: int = 2

    @property
    def cell(self) -> str:
        """Name of the module that stands for it."""
        return f"sram_{self.words}x{self.width}_{'1rw' if self.ports == 1 else '1r1w'}"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its module's address inputs."""
        return ("addr",) if self.ports == 1 else ("raddr", "waddr")

    @property
    def address_bits(self) -> int:
        """Bits of an address."""
        return max(1, math.ceil(math.log2(self.words)))

    def declaration(self, prefix: str = "", data: str = "output") -> str:
        """Return the head of its module in Verilog.

        Parameters
        ----------
        prefix : str
            Of its name.
        data : str
            Kind of ``rdata``.
        """
        bits, wide = f"[{self.address_bits - 1}:0]", f"[{self.width - 1}:0]"
        addresses = (f"input {bits} {name}" for name in self.addresses)
        written = (f"input {wide} wen", f"input {wide} wdata")
        ports = ("input clk", "input ren", *addresses, *written, f"{data} {wide} rdata")
        listed = ",\n".join(f"  {port}" for port in ports)
        return f"module {prefix}{self.cell} (\n{listed}\n);\n"


def memory_of(
    value: Mapping[str, int], read_address: object, write_address: object
) -> Memory | None:
    """Return the memory that a Yosys cell ``$mem_v2`` is; None if no macro could be it.

    A macro has registered reads, which do not see a write of the same cycle, and one write port. It
    has one port for both if they have one address. Several read ports are as many copies of a
    memory.

    Parameters
    ----------
    value : mapping of str to int
        The cell's parameters, those of :data:`PARAMETERS`.
    read_address, write_address : object
        What is connected to all read ports, and to the write port.
    """
    clocked = value["RD_PORTS"] and value["RD_CLK_ENABLE"] == 2 ** value["RD_PORTS"] - 1
    if not clocked or value["WR_PORTS"] != 1 or value["OFFSET"] or value["RD_TRANSPARENCY_MASK"]:
        return None
    return Memory(value["SIZE"], value["WIDTH"], 1 if read_address == write_address else 2)
