"""SRAM: which memories of a design become macros, and what these cost.

Open macro libraries hold single-port memories in a few sizes. A memory is made of as many macros
side by side, and on top of each other, as its width and words need. If it is read and written at
one address, by one signal, a port is all that it needs; any other is *modelled*: each macro
:data:`SECOND_PORT` times as large. Delay, setup time and pin loads are the macro's own.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from dtqatten.hw.base.memory_shape import Memory
from dtqatten.synth.macros import EDGES, Macro

__all__ = [
    "SECOND_PORT",
    "Model",
    "blackboxes",
    "liberty",
    "smallest",
    "techmap",
]

#: Area of a memory with a read and a write port over that of one with a single port: a cell of
#: 8 transistors takes about 1.3 times the area of one of 6 (Chang et al., VLSI Circuits 2005),
#: decoder and word line drivers come twice. An assumption, not a measurement.
SECOND_PORT = 1.5


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
