"""SRAM: which memories of a design become macros, and what these cost.

Open macro libraries hold single-port memories in a few sizes. A memory is made of as many macros
side by side, and on top of each other, as its width and words need. If it is read and written at
one address, by one signal, a port is all that it needs; any other is *modelled*: each macro
:data:`SECOND_PORT` times as large. Delay, setup time and pin loads are the macro's own.
"""

import gzip
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.hw.base.memory_shape import Memory
from dtqatten.synth.tools import InputError

__all__ = [
    "SECOND_PORT",
    "Macro",
    "Model",
    "blackboxes",
    "liberty",
    "macro_files",
    "read_macros",
    "smallest",
    "techmap",
]

EDGES = ("rise", "fall")

#: Area of a memory with a read and a write port over that of one with a single port: a cell of
#: 8 transistors takes about 1.3 times the area of one of 6 (Chang et al., VLSI Circuits 2005),
#: decoder and word line drivers come twice. An assumption, not a measurement.
SECOND_PORT = 1.5


@dataclass(frozen=True)
class Macro:
    """A single-port SRAM macro, from its Liberty file: um2, ns and fF.

    Attributes
    ----------
    delay, setup : float
        Clock to data, and address or data to clock.
    load, slew : tuple of float
        Output transition over the load on it, two points of each.
    pin, clock : float
        Input capacitance of an ordinary pin, and of the clock pin.
    access : float
        Energy of a clock cycle with an access, in fJ; 0 if the file does not say.
    """

    name: str
    words: int
    width: int
    area: float
    delay: float
    setup: float
    pin: float
    clock: float
    load: tuple[float, ...]
    slew: tuple[float, ...]
    access: float = 0.0


@dataclass(frozen=True)
class Model:
    """A memory made of ``across * deep`` macros of a kind."""

    memory: Memory
    macro: Macro
    across: int
    deep: int

    @property
    def area(self) -> float:
        """Area, with the second port of a memory that has one."""
        macros = self.across * self.deep * self.macro.area
        return macros if self.memory.ports == 1 else SECOND_PORT * macros

    @property
    def access_pj(self) -> float:
        """Energy of an access, of one row of macros: the others keep still."""
        return self.across * self.macro.access / 1000

    @property
    def liberty(self) -> str:
        """Its cell for a Liberty library of :func:`liberty`."""
        memory, macro = self.memory, self.macro
        address = memory.address_bits
        # Addresses and enables go to every macro, a bit of a word to those on top of each other.
        every, bit = macro.pin * self.across * self.deep, macro.pin * self.deep
        clock = macro.clock * self.across * self.deep

        def setup(name: str, bits: int | None, load: float) -> str:
            kind = f"bus({name}) {{ bus_type : bus{bits};" if bits else f"pin({name}) {{"
            constraint = "".join(
                f'{edge}_constraint(scalar) {{ values("{macro.setup}"); }} ' for edge in EDGES
            )
            return f"""
    {kind} direction : input; capacitance : {load};
      timing() {{ related_pin : "clk"; timing_type : setup_rising; {constraint}}}
    }}"""

        index = ", ".join(map(str, macro.load))
        slew = ", ".join(map(str, macro.slew))
        arcs = "".join(
            f'cell_{edge}(scalar) {{ values("{macro.delay}"); }} '
            f'{edge}_transition(over_load) {{ index_1("{index}"); values("{slew}"); }} '
            for edge in EDGES
        )
        inputs = (
            ("ren", None, every),
            *((name, address, every) for name in memory.addresses),
            # Write masks: mostly one net to all bits, which in a macro is one pin.
            ("wen", memory.width, every / memory.width),
            ("wdata", memory.width, bit),
        )
        return f"""
  cell({memory.cell}) {{
    area : {self.area};
    interface_timing : true;
    dont_use : true; dont_touch : true;
    pin(clk) {{ direction : input; clock : true; capacitance : {clock}; }}
    bus(rdata) {{ bus_type : bus{memory.width}; direction : output;
      timing() {{ related_pin : "clk"; timing_type : rising_edge; {arcs}}}
    }}{"".join(setup(*port) for port in inputs)}
  }}"""


def macro_files(folder: Path) -> list[Path]:
    """Return the Liberty files of a folder, plain and compressed by gzip."""
    return sorted((*folder.glob("*.lib"), *folder.glob("*.lib.gz")))


def read_macros(folder: Path) -> list[Macro]:
    """Read every single-port macro among the Liberty files of a folder, plain or compressed.

    Raises
    ------
    SynthError
        If there is none, or a file is no Liberty file.
    """
    from liberty.parser import parse_liberty

    macros = []
    for path in macro_files(folder):
        try:
            content = path.read_bytes()
            library = parse_liberty(
                (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
            )
        except Exception as error:  # the parser's own, and its parser generator's
            raise InputError(f"{path} is no Liberty file: {error}") from None
        units = Units.of(library)
        macros += [macro_of(cell, units) for cell in library.get_groups("cell") if is_memory(cell)]
    if not macros:
        raise InputError(
            f"no memory macro in the *.lib and *.lib.gz of {folder}: give a folder of SRAM "
            "Liberty files"
        )
    return macros


def is_memory(cell: Any) -> bool:
    """Whether a cell says that it is one."""
    return bool(cell.get_groups("memory"))


@dataclass(frozen=True)
class Units:
    """What a Liberty file's numbers are multiplied by.

    Attributes
    ----------
    farad : float
        Loads, to fF, and energies, to fJ: they are in the unit of loads times V^2.
    second : float
        To ns.
    slew : float
        Transitions, to ns from 20 to 80 %.
    """

    farad: float
    second: float
    slew: float

    @classmethod
    def of(cls, library: Any) -> "Units":
        """Read them."""
        number, unit = library["capacitive_load_unit"]
        farad = float(number) * {"ff": 1.0, "pf": 1000.0}[text(unit).lower()]
        second = {"1ns": 1.0, "1ps": 1e-3, "10ps": 1e-2, "100ps": 0.1}[
            text(library.get("time_unit", "1ns"))
        ]
        low, high = (
            float(library.get(f"slew_{end}_threshold_pct_rise", default))
            for end, default in (("lower", 20), ("upper", 80))
        )
        derate = float(library.get("slew_derate_from_library", 1.0))
        return cls(farad, second, second * derate * 60 / (high - low))


def text(value: Any) -> str:
    """Return a Liberty value without quotes."""
    return str(value).strip('"')


def macro_of(cell: Any, units: Units) -> Macro:
    """Return the macro that a Liberty cell describes, by the worst of its arcs and pins."""
    memory = cell.get_groups("memory")[0]
    pins = [*cell.get_groups("pin"), *cell.get_groups("bus")]
    arcs = list(timings(pins))
    reads = [arc for arc in arcs if text(arc["timing_type"]) == "rising_edge"]
    setups = [
        float(table(constraint).max())
        for arc in arcs
        if text(arc["timing_type"]) == "setup_rising"
        for constraint in arc.groups
    ]
    delay = max(
        float(table(read.get_group(f"cell_{edge}")).max()) for read in reads for edge in EDGES
    )
    slews = [read.get_group(f"{edge}_transition") for read in reads for edge in EDGES]
    slew = max(slews, key=lambda group: float(table(group).max()))
    inputs = [pin for pin in pins if text(pin["direction"]) == "input"]
    loads = [(is_clock(pin), units.farad * float(pin["capacitance"])) for pin in inputs]
    return Macro(
        text(cell.args[0]),
        2 ** int(memory["address_width"]),
        int(memory["word_width"]),
        float(cell["area"]),
        units.second * delay,
        units.second * max(setups),
        max(load for clock, load in loads if not clock),
        max(load for clock, load in loads if clock),
        tuple((units.farad * table(slew, "index_1").ravel()[[0, -1]]).tolist()),
        tuple((units.slew * table(slew)[-1][[0, -1]]).tolist()),
        units.farad * access_energy(pins),
    )


def table(group: Any, name: str = "values") -> NDArray[np.float64]:
    """Return an array of a Liberty group, a row each line; numbers may be in quotes or bare."""
    rows = group[name]
    rows = rows if isinstance(rows, list) else [rows]
    lines = [[float(value) for value in text(row).split(",") if value.strip()] for row in rows]
    return np.array(lines)


def is_clock(pin: Any) -> bool:
    """Whether a pin says that it is a clock."""
    return text(pin.get("clock", "false")) == "true"


def timings(pins: Iterable[Any]) -> Iterator[Any]:
    """Yield the arcs of pins, those of single bits of a bus, too."""
    for pin in pins:
        yield from pin.get_groups("timing")
        for bit in pin.get_groups("pin"):
            yield from bit.get_groups("timing")


def access_energy(pins: Iterable[Any]) -> float:
    """Return what both edges of a clock pin take, in the state in which they take most.

    A macro with a second clock, for its self-test, runs by one of them.
    """
    taken = [
        sum(
            max(
                float(table(group).max())
                for power in powers
                for group in power.get_groups(f"{edge}_power")
            )
            for edge in EDGES
        )
        for pin in pins
        if is_clock(pin) and (powers := pin.get_groups("internal_power"))
    ]
    return max(taken, default=0.0)


def smallest(macros: Iterable[Macro], memory: Memory) -> Model:
    """Return the smallest model of a memory, stacked only beyond the deepest macro."""
    macros = list(macros)
    deepest = max(macro.words for macro in macros)
    models = [
        Model(
            memory,
            macro,
            math.ceil(memory.width / macro.width),
            math.ceil(memory.words / macro.words),
        )
        for macro in macros
        if macro.words >= min(memory.words, deepest)
    ]
    return min(models, key=lambda model: (model.area, model.macro.name))


def liberty(models: Iterable[Model]) -> str:
    """Return a Liberty library of models."""
    models = list(models)
    widths = {bits for model in models for bits in (model.memory.width, model.memory.address_bits)}
    types = "".join(
        f"""
  type(bus{bits}) {{ base_type : array; data_type : bit; bit_width : {bits};
    bit_from : {bits - 1}; bit_to : 0; downto : true; }}"""
        for bits in sorted(widths)
    )
    thresholds = "".join(
        f"  {name}_threshold_pct_{edge} : {percent};\n"
        for name, percent in (("slew_lower", 20), ("slew_upper", 80), ("input", 50), ("output", 50))
        for edge in EDGES
    )
    return f"""library(modelled_sram) {{
  delay_model : table_lookup;
  time_unit : "1ns";
  voltage_unit : "1V";
  current_unit : "1uA";
  leakage_power_unit : "1nW";
  capacitive_load_unit(1, ff);
{thresholds}  lu_table_template(over_load) {{ variable_1 : total_output_net_capacitance;
    index_1("1000, 1001"); }}{types}{"".join(model.liberty for model in models)}
}}
"""


def techmap(models: Iterable[Model]) -> str:
    """Return a Yosys techmap from memories to the cells of their models.

    A memory with several read ports of the models' kind becomes as many copies.
    """
    cases = "".join(
        f"""
    if (FITS && {condition(model.memory)})
      begin : {model.memory.cell}
        for (i = 0; i < RD_PORTS; i = i + 1) begin : read_port
          {model.memory.cell} memory (.clk(WR_CLK), .ren(RD_EN[i]),
            {address_pins(model.memory)},
            .rdata(RD_DATA[i*WIDTH +: WIDTH]), .wen(WR_EN), .wdata(WR_DATA));
        end
      end"""
        for model in models
    )
    some = " || ".join(condition(model.memory) for model in models)
    return f"""(* techmap_celltype = "$mem_v2" *)
module modelled_sram (RD_CLK, RD_EN, RD_ARST, RD_SRST, RD_ADDR, RD_DATA,
                      WR_CLK, WR_EN, WR_ADDR, WR_DATA);
  parameter MEMID = "", SIZE = 4, OFFSET = 0, ABITS = 2, WIDTH = 8, INIT = 0;
  parameter RD_PORTS = 1, RD_CLK_ENABLE = 1, RD_CLK_POLARITY = 1, RD_TRANSPARENCY_MASK = 0;
  parameter RD_COLLISION_X_MASK = 0, RD_WIDE_CONTINUATION = 0, RD_CE_OVER_SRST = 0;
  parameter RD_ARST_VALUE = 0, RD_SRST_VALUE = 0, RD_INIT_VALUE = 0;
  parameter WR_PORTS = 1, WR_CLK_ENABLE = 1, WR_CLK_POLARITY = 1, WR_PRIORITY_MASK = 0;
  parameter WR_WIDE_CONTINUATION = 0;
  parameter _TECHMAP_CONNMAP_RD_ADDR_ = 0, _TECHMAP_CONNMAP_WR_ADDR_ = 0;
  input [RD_PORTS-1:0] RD_CLK, RD_EN, RD_ARST, RD_SRST;
  input [RD_PORTS*ABITS-1:0] RD_ADDR;
  output [RD_PORTS*WIDTH-1:0] RD_DATA;
  input [WR_PORTS-1:0] WR_CLK;
  input [WR_PORTS*WIDTH-1:0] WR_EN, WR_DATA;
  input [WR_PORTS*ABITS-1:0] WR_ADDR;
  localparam FITS = WR_PORTS == 1 && OFFSET == 0 && RD_CLK_ENABLE == {{RD_PORTS{{1'b1}}}}
    && RD_TRANSPARENCY_MASK == 0;
  localparam ONE_PORT = RD_PORTS == 1 && _TECHMAP_CONNMAP_RD_ADDR_ == _TECHMAP_CONNMAP_WR_ADDR_;
  wire _TECHMAP_FAIL_ = !(FITS && ({some}));
  genvar i;
  generate{cases}
  endgenerate
endmodule
"""


def condition(memory: Memory) -> str:
    """Return the condition, in a techmap, on which a memory is this one."""
    one_port = "" if memory.ports == 1 else "!"
    return f"(SIZE == {memory.words} && WIDTH == {memory.width} && {one_port}ONE_PORT)"


def address_pins(memory: Memory) -> str:
    """Return how, in a techmap, a cell's address inputs are connected."""
    signals = {"addr": "WR_ADDR[0", "raddr": "RD_ADDR[i*ABITS", "waddr": "WR_ADDR[0"}
    return ", ".join(
        f".{name}({signals[name]} +: {memory.address_bits}])" for name in memory.addresses
    )


def blackboxes(models: Iterable[Model]) -> str:
    """Return empty Verilog modules of the models' cells."""
    return "".join(f"(* blackbox *)\n{model.memory.declaration()}endmodule\n" for model in models)
