"""What a module is made of before gates: sizes of its registers, adders, multiplexers, memories."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtqatten.hw.base.memory_shape import PARAMETERS, Memory, memory_of
from dtqatten.synth.design import Design
from dtqatten.synth.tools import yosys

__all__ = ["KINDS", "Contents", "contents_of", "read"]

#: Word-level logic only: what makes gates of it takes most of the time of synthesis.
SCRIPT = """hierarchy -check -top {top}
proc
opt_expr -mux_undef
opt_clean
opt_expr
opt_merge
opt_dff
opt_clean
wreduce
peepopt
opt_clean
memory -nomap
opt_clean
write_json contents.json
"""

#: Sizes that are counted, and what one is.
KINDS = {
    "flip_flop": "a bit of a register",
    "enable": "a bit of a register with an enable",
    "reset": "a bit of a register with a reset",
    "adder": "a bit of an adder, a subtractor or a comparison by size",
    "product": "a bit of one factor times a bit of the other",
    "and": "a bit of AND",
    "or": "a bit of OR",
    "xor": "a bit of XOR",
    "mux": "a bit of a multiplexer",
    "choice": "a bit of one input of a multiplexer with several",
    "shift": "a bit of a shifter, for each bit of its distance",
    "reduce": "an input of a reduction or of a comparison for equality",
    "rom": "a bit of a table",
    "register_file": "a bit of a memory that becomes flip-flops",
    "read_port": "such a bit, for each port that reads it",
}

ADDERS = {"add", "sub", "neg", "lt", "le", "gt", "ge"}
SHIFTS = {"shl", "shr", "sshl", "sshr", "shift", "shiftx"}
REDUCTIONS = {"eq", "ne", "logic_not", "logic_and", "logic_or"}
GATES = {"and": "and", "or": "or", "xor": "xor", "xnor": "xor"}


@dataclass(frozen=True)
class Contents:
    """What a kind of module holds, the modules inside left out.

    Attributes
    ----------
    sizes : Counter
        By the names in :data:`KINDS`.
    memories : Counter
        Memories that macros could be, one for each read port.
    modules : Counter
        Kinds of the modules inside.
    """

    sizes: Counter[str] = field(default_factory=Counter)
    memories: Counter[Memory] = field(default_factory=Counter)
    modules: Counter[str] = field(default_factory=Counter)

    def with_flip_flops(self, macros: Collection[Memory]) -> Counter[str]:
        """Return the sizes, those of memories that are no macro included."""
        sizes = Counter(self.sizes)
        for memory, count in self.memories.items():
            if memory not in macros:
                sizes["register_file"] += count * memory.words * memory.width
                sizes["read_port"] += count * memory.words * memory.width
        return sizes


def contents_of(design: Design, folder: Path) -> dict[str, Contents]:
    """Return what each kind of module of a design holds, by name.

    Parameters
    ----------
    design : Design
    folder : Path
        To work in.

    Raises
    ------
    SynthError
        If Yosys refuses the design.
    """
    yosys(design.write(folder) + SCRIPT.format(top=design.top), folder, "contents")
    return read(json.loads((folder / "contents.json").read_text()))


def read(design: Mapping[str, Any]) -> dict[str, Contents]:
    """Return what each module holds, from Yosys's JSON of word-level cells."""
    found = {}
    for name, module in design["modules"].items():
        contents = found[name] = Contents()
        for cell in module["cells"].values():
            kind = cell["type"]
            if not kind.startswith("$"):
                contents.modules[kind] += 1
            elif kind == "$mem_v2":
                count_memory(cell, contents)
            else:
                for size, count in sizes_of(kind[1:], cell):
                    contents.sizes[size] += count
    return found


def numbers(cell: Mapping[str, Any]) -> Counter[str]:
    """Return a cell's parameters that are numbers; others are 0."""
    return Counter(
        {
            name: int(value, 2)
            for name, value in cell["parameters"].items()
            if re.fullmatch("[01]+", str(value))
        }
    )


def count_memory(cell: Mapping[str, Any], contents: Contents) -> None:
    """Count a memory: macros, a table without writes, or a register file."""
    value, pins = numbers(cell), cell["connections"]
    memory = memory_of({name: value[name] for name in PARAMETERS}, pins["RD_ADDR"], pins["WR_ADDR"])
    bits = value["WIDTH"] * value["SIZE"]
    if memory is not None:
        contents.memories[memory] += value["RD_PORTS"]
    elif not value["WR_PORTS"]:
        contents.sizes["rom"] += bits * value["RD_PORTS"]
    else:
        contents.sizes["register_file"] += bits
        contents.sizes["read_port"] += bits * value["RD_PORTS"]


def sizes_of(kind: str, cell: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield what a word-level cell adds to the sizes."""
    value, pins = numbers(cell), cell["connections"]
    a, b, y = value["A_WIDTH"], value["B_WIDTH"], value["Y_WIDTH"]
    width = value["WIDTH"]
    if "dff" in kind:
        yield "flip_flop", width
        if "e" in kind.partition("dff")[2]:
            yield "enable", width
        if kind.startswith(("s", "a")):
            yield "reset", width
    elif kind in ADDERS:
        yield "adder", max(a, b, y)
    elif kind == "mul":
        yield "product", a * b
    elif kind in SHIFTS:
        # A constant distance is wires.
        if any(isinstance(bit, int) for bit in pins["B"]):
            longest = max(a, y)
            yield "shift", longest * min(b, longest.bit_length())
    elif kind in REDUCTIONS or kind.startswith("reduce"):
        yield "reduce", a + b
    elif kind in GATES or kind == "mux":
        yield from bitwise(kind, pins)
    elif kind == "pmux":
        yield "choice", width * value["S_WIDTH"]
    elif kind in ("bmux", "demux"):
        yield "choice", max(width, y if kind == "bmux" else a) << value["S_WIDTH"]


def bitwise(kind: str, pins: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the bits of a multiplexer or gate that are not all the same, and not constant.

    An enable for each bit of a word is mostly one signal.
    """
    length = len(pins["Y"])
    inputs = [(pins[name] + pins[name][-1:] * length)[:length] for name in ("A", "B")]
    if kind == "mux":
        inputs.append(pins["S"] * length)
    for bits in set(zip(*inputs, strict=True)):
        constants = sum(isinstance(bit, str) for bit in bits)
        if kind == "mux" and constants == 1:
            yield "and", 1
        elif not constants:
            yield GATES.get(kind, kind), 1
