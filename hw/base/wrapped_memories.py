"""Memories as instances of wrapper modules, in which a user puts macros of a technology."""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dtqatten.hw.base.memory_shape import PARAMETERS, Memory, memory_of

__all__ = ["Wrapped", "wrap", "wrappers"]

#: A memory in RTLIL, with the attributes before it.
CELL = re.compile(r"^(?:  attribute [^\n]*\n)*  cell \$mem_v2 (\S+)\n(.*?)^  end\n", re.S | re.M)
SETTING = re.compile(r"^    (?:parameter|connect) \\(\w+) (.*)$", re.M)
#: What a wrapper does not do: reset of what was read, wide ports, writes that a read sees at once.
ZERO = (
    *("RD_ARST", "RD_SRST", "RD_WIDE_CONTINUATION", "WR_WIDE_CONTINUATION"),
    *("RD_TRANSPARENCY_MASK", "RD_COLLISION_X_MASK"),
)


@dataclass(frozen=True, order=True)
class Wrapped:
    """A wrapper module: a memory, and how many read ports share its writes."""

    memory: Memory
    reads: int = 1

    @property
    def module(self) -> str:
        """Name of the module, without prefix."""
        return self.memory.cell.replace("1r1w", f"{self.reads}r1w")


def wrap(rtlil: str, prefix: str) -> tuple[str, dict[Wrapped, int]]:
    """Replace memories in RTLIL by instances; return it and the wrappers that it then uses.

    With each wrapper comes how many consecutive bits are always written together.

    A memory with registered reads, one write port and no contents becomes an instance. Others stay:
    ROMs, register files, whose reads have no register, and memories whose reads see a write of the
    same cycle.

    Parameters
    ----------
    rtlil : str
        After Yosys's ``memory_collect``.
    prefix : str
        Of the wrappers' names.
    """
    found: dict[Wrapped, int] = {}

    def instance(match: re.Match[str]) -> str:
        setting = dict(SETTING.findall(match[2]))
        value = {name: _number(setting[name]) for name in PARAMETERS}
        memory = memory_of(value, setting["RD_ADDR"], setting["WR_ADDR"])
        empty = re.fullmatch(r"\d+'x", setting["INIT"]) is not None
        edges = [setting[f"{side}_CLK_POLARITY"] for side in ("RD", "WR")]
        if (
            memory is None
            or not empty
            or any("0" in bits.partition("'")[2] for bits in edges)
            or not all(re.fullmatch(r"\d+'0+", setting[name]) for name in ZERO)
        ):
            return match[0]
        wrapped = Wrapped(memory, value["RD_PORTS"])
        found[wrapped] = math.gcd(found.get(wrapped, 0), together(setting["WR_EN"], memory.width))
        pins = {"clk": "WR_CLK", "ren": "RD_EN", "rdata": "RD_DATA"}
        pins |= {"wen": "WR_EN", "wdata": "WR_DATA"}
        sides = ("WR",) if memory.ports == 1 else ("RD", "WR")
        pins |= {name: f"{of}_ADDR" for name, of in zip(memory.addresses, sides, strict=True)}
        # The address of a single word has no bits, that of a module has one.
        if not _number(setting["ABITS"]):
            setting |= {
                "WR_ADDR": "1'0",
                "RD_ADDR": f"{value['RD_PORTS']}'{'0' * value['RD_PORTS']}",
            }
        lines = (f"    connect \\{pin} {setting[name]}\n" for pin, name in pins.items())
        return f"  cell \\{prefix}{wrapped.module} {match[1]}\n{''.join(lines)}  end\n"

    return CELL.sub(instance, rtlil), dict(sorted(found.items()))


#: A signal, or a slice of it, in RTLIL.
SLICE = re.compile(r"(\\\S+)(?: \[(\d+)(?::(\d+))?\])?")


def together(enables: str, width: int) -> int:
    """Return how many consecutive bits have one enable, all along a signal of RTLIL.

    Parameters
    ----------
    enables : str
        Signals and slices of signals, the highest bit first.
    width : int
        Bits of a word; 1 is returned where the signals do not say so many.
    """
    parts = SLICE.findall(enables)
    # A signal has at least the bits that are named.
    most = {name: 0 for name, _, _ in parts}
    for name, high, _ in parts:
        most[name] = max(most[name], int(high or 0))
    bits = [
        (name, bit)
        for name, high, low in parts
        for bit in range(int(high or most[name]), int(low or high or 0) - 1, -1)
    ]
    if len(bits) != width:
        return 1
    return math.gcd(*(len(list(same)) for _, same in itertools.groupby(bits)))


def _number(constant: str) -> int:
    """Return the value of a constant of RTLIL."""
    _, mark, digits = constant.partition("'")
    return int(digits, 2) if mark else int(constant)


def model(memory: Memory, prefix: str, whole: int) -> str:
    """Return the module of a memory as behaviour, which simulates and synthesizes.

    Parameters
    ----------
    memory : Memory
    prefix : str
        Of its name.
    whole : int
        Bits that are written together.
    """
    if whole == memory.width:
        written = "Words are written whole: all bits of wen are alike."
    else:
        written = (
            f"Bits of wen are alike in groups of {whole}." if whole > 1 else "Bits of wen differ."
        )
    addresses = memory.addresses
    write, top = addresses[-1], memory.width - 1
    return f"""// {written}
{memory.declaration(prefix, "output reg")}
  reg [{top}:0] sram_contents [0:{memory.words - 1}];
  integer sram_bit;
  always @(posedge clk) begin
    if (ren) rdata <= sram_contents[{addresses[0]}];
    for (sram_bit = 0; sram_bit < {memory.width}; sram_bit = sram_bit + 1)
      if (wen[sram_bit]) sram_contents[{write}][sram_bit] <= wdata[sram_bit];
  end
endmodule
"""


def copies(wrapped: Wrapped, prefix: str) -> str:
    """Return the module of a memory with several read ports: a copy for each."""
    memory, reads, bits = wrapped.memory, wrapped.reads, wrapped.memory.address_bits
    width = memory.width
    instances = "".join(
        f"""  {prefix}{memory.cell} copy_{i} (
    .clk(clk), .ren(ren[{i}]), .raddr(raddr[{bits * (i + 1) - 1}:{bits * i}]), .waddr(waddr),
    .wen(wen), .wdata(wdata), .rdata(rdata[{width * (i + 1) - 1}:{width * i}])
  );
"""
        for i in range(reads)
    )
    return f"""module {prefix}{wrapped.module} (
  input clk,
  input [{reads - 1}:0] ren,
  input [{reads * bits - 1}:0] raddr,
  input [{bits - 1}:0] waddr,
  input [{width - 1}:0] wen,
  input [{width - 1}:0] wdata,
  output [{reads * width - 1}:0] rdata
);
{instances}endmodule
"""


def wrappers(found: Mapping[Wrapped, int], prefix: str) -> tuple[list[str], str]:
    """Return modules that make copies of memories, and the models of all memories.

    Parameters
    ----------
    found : mapping of Wrapped to int
        As of :func:`wrap`.
    prefix : str
        Of the modules' names.
    """
    several = [copies(wrapped, prefix) for wrapped in found if wrapped.reads > 1]
    whole: dict[Memory, int] = {}
    for wrapped, bits in found.items():
        whole[wrapped.memory] = math.gcd(whole.get(wrapped.memory, 0), bits)
    return several, "\n".join(model(each, prefix, bits) for each, bits in sorted(whole.items()))
