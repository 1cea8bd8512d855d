"""Generated Verilog as a native in-process model: Verilator behind ctypes."""

import ctypes
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray

from dtqatten.hw.base.export import PREFIX, flat_ports, verilog
from dtqatten.sim.engines.bench import Bench
from dtqatten.sim.engines.compiler import compiled
from dtqatten.sim.engines.ports import fitting

__all__ = [
    "Port",
    "VerilatedModel",
    "pack_words",
    "ports_of",
    "without_initial_values",
]


SHIM = """
#include "V{top}.h"
#include <cstdint>
#include <cstring>
#include <exception>
#include <vector>
static uint32_t* put(uint32_t* to, uint64_t value, int words) {{
    for (int i = 0; i < words; i++) *to++ = uint32_t(value >> 32 * i);
    return to;
}}
// Apply the inputs, sample the outputs that they and the state give, pass a rising edge.
static void pass(V{top}* top, const uint32_t* in, uint32_t* out) {{
{inputs}
    top->clk = 0; top->eval();
{outputs}
    top->clk = 1; top->eval();
}}
extern "C" {{
void* create() {{ auto* top = new V{top}; top->clk = 0; return top; }}
void destroy(void* model) {{ delete static_cast<V{top}*>(model); }}
void step(void* model, const uint32_t* in, uint32_t* out) {{
    pass(static_cast<V{top}*>(model), in, out);
}}
// Play cycles from power-up; return the first whose outputs differ where they matter, or -1.
int64_t replay(
    int64_t cycles, const uint32_t* in, int ins,
    const uint32_t* want, const uint32_t* care, int outs
) {{
    std::vector<uint32_t> out(outs);
    V{top} top;
    top.clk = 0;
    for (int64_t cycle = 0; cycle < cycles; cycle++, in += ins, want += outs, care += outs) {{
        try {{
            pass(&top, in, out.data());
        }} catch (const std::exception&) {{
            return cycle;
        }}
        for (int i = 0; i < outs; i++) if ((out[i] ^ want[i]) & care[i]) return cycle;
    }}
    return -1;
}}
}}
"""


@dataclass(frozen=True)
class Port:
    """A flat port: its name, width in bits and direction."""

    name: str
    width: int
    is_input: bool

    @property
    def words(self) -> int:
        """32-bit words that hold it."""
        return (self.width + 31) // 32


def ports_of(component: wiring.Component) -> list[Port]:
    """Return the flat ports of a component, without clock and reset."""
    return [
        Port(name, len(value), flow is wiring.In)
        for name, flow, value in flat_ports(component.signature, component)
    ]


def _shim(top: str, ports: list[Port]) -> str:
    inputs, outputs = [], []
    for port in ports:
        wide = port.width > 64
        member = f"top->{port.name.replace('__', '___05F')}"  # Verilator's own escape
        if port.is_input:
            value = (
                f"std::memcpy({member}.data(), in, {4 * port.words});"
                if wide
                else f"{member} = in[0]" + (" | uint64_t(in[1]) << 32;" if port.words == 2 else ";")
            )
            inputs.append(f"    {value} in += {port.words};")
        elif wide:
            outputs.append(
                f"    std::memcpy(out, {member}.data(), {4 * port.words}); out += {port.words};"
            )
        else:
            outputs.append(f"    out = put(out, {member}, {port.words});")
    return SHIM.format(top=top, inputs="\n".join(inputs), outputs="\n".join(outputs))


def without_initial_values(text: str) -> str:
    """Return Verilog whose registers start unknown, as on a chip.

    So do its RAMs, which are exported without contents; ROMs keep theirs.
    """
    return re.sub(r"^(  reg [^=;]+?) = [^;]+;", r"\1;", text, flags=re.MULTILINE)


def pack_words(ports: Sequence[Port], values: Mapping[str, int]) -> bytes:
    """Return the ports' values, 0 where none is given, as the compiled model takes them.

    Raises
    ------
    ValueError
        If a value is of no port, or its port is narrower.
    """
    if unknown := values.keys() - {port.name for port in ports}:
        raise ValueError(f"no port {', '.join(sorted(unknown))}")
    return b"".join(
        fitting(p.name, values.get(p.name, 0), p.width).to_bytes(4 * p.words, "little")
        for p in ports
    )


class VerilatedModel:
    """A component's Verilog, compiled once per content and run cycle by cycle.

    The clock starts after a reset of ``reset_cycles`` cycles.

    Parameters
    ----------
    component : wiring.Component
    name : str
        Module name.
    reset_cycles : int
        More than one where a port shows data registers, which have no reset.
    text : str, optional
        Verilog of a changed module, in place of the component's own.
    controls : sequence of Port
        Inputs that the change added.

    Attributes
    ----------
    inputs, outputs : list of Port
        In the order of :func:`pack_words`.

    Raises
    ------
    RuntimeError
        If Verilator or the C++ compiler fails, with their messages.
    """

    def __init__(
        self,
        component: wiring.Component,
        name: str,
        *,
        reset_cycles: int = 1,
        text: str | None = None,
        controls: Sequence[Port] = (),
    ) -> None:
        top = f"{PREFIX}{name}"
        text = verilog(component, name) if text is None else text
        ports = [Port("rst", 1, True), *controls, *ports_of(component)]
        library = compiled(text, name, _shim(top, ports))
        self.inputs = [p for p in ports if p.is_input]
        self.outputs = [p for p in ports if not p.is_input]
        self._library = ctypes.CDLL(str(library))
        self._library.create.restype = ctypes.c_void_p
        self._library.destroy.argtypes = [ctypes.c_void_p]
        self._library.step.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
        self._library.step.restype = None
        words, count = ctypes.c_void_p, ctypes.c_int
        self._library.replay.argtypes = [ctypes.c_int64, words, count, words, words, count]
        self._library.replay.restype = ctypes.c_int64
        self._out = ctypes.create_string_buffer(4 * sum(p.words for p in self.outputs))
        self._model = self._library.create()
        self._reset_cycles = reset_cycles
        self.reset()

    def __del__(self) -> None:
        if getattr(self, "_model", None):
            self._library.destroy(self._model)

    def reset(self) -> None:
        """Reset for ``reset_cycles`` cycles."""
        for _ in range(self._reset_cycles):
            self.step({"rst": 1})

    def run(self, bench: Bench, each: Callable[[], object] = lambda: None) -> None:
        """Reset, then run a bench to its end, comparing every cycle; ``each`` is called in each.

        Raises
        ------
        MismatchError
            If a port differs, or the bench's deadline has passed.
        """
        self.reset()
        while not bench.done:
            bench.check(self.step(bench.inputs()))
            bench.clock()
            each()

    def step(self, inputs: Mapping[str, int], *outputs: str) -> dict[str, int]:
        """Apply inputs (those not named are 0), sample outputs, pass a clock edge.

        Returns the named outputs, or all, as they were just before the edge.
        """
        self._library.step(self._model, pack_words(self.inputs, inputs), self._out)
        raw, at, values = self._out.raw, 0, {}
        for port in self.outputs:
            end = at + 4 * port.words
            if not outputs or port.name in outputs:
                values[port.name] = int.from_bytes(raw[at:end], "little")
            at = end
        return values

    def replay(
        self, inputs: NDArray[np.uint32], expected: NDArray[np.uint32], care: NDArray[np.uint32]
    ) -> int | None:
        """Play recorded cycles on a model of its own, from power-up on.

        Parameters
        ----------
        inputs : array of uint32, [cycles, words]
            Inputs, by row as of :func:`pack_words`.
        expected, care : array of uint32, [cycles, words]
            Outputs, and ones where they matter.

        Returns
        -------
        int or None
            First cycle whose outputs differ, or in which the logic does not settle.
        """
        arrays = [np.ascontiguousarray(a, dtype=np.uint32) for a in (inputs, expected, care)]
        (given, wanted, mattering), cycles = (a.ctypes.data for a in arrays), len(arrays[0])
        ins, outs = arrays[0].shape[1], arrays[1].shape[1]
        found = self._library.replay(cycles, given, ins, wanted, mattering, outs)
        return None if found < 0 else found
