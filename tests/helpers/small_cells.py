"""A cell library small enough to read: inverter, NAND, NOR, buffer and flip-flop."""

THRESHOLDS = "".join(
    f"{name}_threshold_pct_{edge} : {percent};\n"
    for name, percent in (("slew_lower", 20), ("slew_upper", 80), ("input", 50), ("output", 50))
    for edge in ("rise", "fall")
)
HEAD = f"""delay_model : table_lookup; time_unit : "1ns"; voltage_unit : "1V"; current_unit : "1mA";
capacitive_load_unit(1, ff); {THRESHOLDS}
operating_conditions(typical) {{ process : 1.0; temperature : 25.0; voltage : 1.1; }}
default_operating_conditions : typical;
lu_table_template(line) {{ variable_1 : total_output_net_capacitance; index_1("0, 100"); }}
lu_table_template(plane) {{ variable_1 : input_net_transition; index_1("0, 1, 2");
variable_2 : total_output_net_capacitance; index_2("0, 50, 100"); }}
"""


def table(name: str, *values: float) -> str:
    """Values over load, whatever the input's transition."""
    line = ", ".join(map(str, values))
    return f'{name}(plane) {{ values("{line}", "{line}", "{line}"); }}\n'


def arcs(related: str, kind: str, delay: float, slope: float = 0.001) -> str:
    """Delay of an output: constant part, and by default a thousandth of a ns for every fF."""
    return (
        f'timing() {{ related_pin : "{related}"; {kind}\n'
        + "".join(
            table(f"cell_{edge}", delay, delay + 50 * slope, delay + 100 * slope)
            + table(f"{edge}_transition", 0.01, 0.015, 0.02)
            for edge in ("rise", "fall")
        )
        + "}\n"
    )


def gate(name: str, area: float, function: str, inputs: str, times: float = 1.0) -> str:
    """Return a cell; ``times`` as strong as the smallest, it loads its inputs as much more."""
    positive = name.startswith("BUF")
    sense = f"timing_sense : {'positive' if positive else 'negative'}_unate;"
    return (
        f"cell({name}) {{ area : {area};\n"
        + "".join(f"pin({pin}) {{ direction : input; capacitance : {times}; }}\n" for pin in inputs)
        + f'pin(Y) {{ direction : output; function : "{function}"; max_capacitance : 100;\n'
        + "".join(arcs(pin, sense, 0.05, 0.001 / times) for pin in inputs)
        + "}}\n"
    )


def adder(name: str, area: float, delay: float) -> str:
    """Return a full adder with inputs A, B and I, sum S and carry O."""
    sums = {
        "S": ("A ^ B ^ I", "timing_sense : non_unate;"),
        "O": ("(A & B) | (I & (A | B))", "timing_sense : positive_unate;"),
    }
    return (
        f"cell({name}) {{ area : {area};\n"
        + "".join(f"pin({pin}) {{ direction : input; capacitance : 1.0; }}\n" for pin in "ABI")
        + "".join(
            f'pin({pin}) {{ direction : output; function : "{function}"; max_capacitance : 100;\n'
            + "".join(arcs(related, sense, delay) for related in "ABI")
            + "}\n"
            for pin, (function, sense) in sums.items()
        )
        + "}\n"
    )


FLIP_FLOP = f"""cell(DFF) {{ area : 5.0; ff(IQ, IQN) {{ clocked_on : "C"; next_state : "D"; }}
pin(C) {{ direction : input; clock : true; capacitance : 1.0; }}
pin(D) {{ direction : input; capacitance : 1.0;
timing() {{ related_pin : "C"; timing_type : setup_rising;
rise_constraint(scalar) {{ values("0.1"); }} fall_constraint(scalar) {{ values("0.1"); }} }} }}
pin(Q) {{ direction : output; function : "IQ"; max_capacitance : 100;
{arcs("C", "timing_type : rising_edge;", 0.1)} }} }}
"""

GATES = (
    ("INV", 1.0, "!A", "A"),
    ("BUF", 1.5, "A", "A"),
    ("NAND2", 2.0, "!(A & B)", "AB"),
    ("NOR2", 2.0, "!(A | B)", "AB"),
)
LIBERTY = f"library(cells) {{ {HEAD}{''.join(gate(*each) for each in GATES)}{FLIP_FLOP}}}\n"
