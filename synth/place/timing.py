"""Timing and power of a placed netlist, with wires and a clock that takes time to arrive."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dtqatten.synth.design import Design
from dtqatten.synth.place.clock_tree import ClockTree
from dtqatten.synth.place.layout import Layout
from dtqatten.synth.place.wires import Wires, write_spef
from dtqatten.synth.timing import ACTIVITY, CLOSE, LOAD_FF
from dtqatten.synth.tools import SynthError, opensta

__all__ = ["NETLIST", "SPEF", "PlacedTiming", "SlowPath", "analyse_placed"]

#: Sinks whose clock is looked at, evenly among all.
SAMPLED = 4000

#: Files of an analysis, in its folder.
NETLIST, SPEF = "placed.v", "placed.spef"


@dataclass(frozen=True)
class SlowPath:
    """A path: the outputs it passes ``cell`` by ``cell``, ports not among them; slack in ns."""

    start: str
    end: str
    slack_ns: float
    cells: tuple[int, ...]


@dataclass(frozen=True)
class PlacedTiming:
    """What the analysis says.

    Attributes
    ----------
    slack_ns : float
        Worst of all paths.
    hold_slack_ns : float or None
        Worst from register to register; None without such a path.
    paths : list of SlowPath
        The worst first: those that miss the clock, one an endpoint, and at least one.
    latency_ns, skew_ns : float
        Mean arrival of the clock at its sinks, and latest less earliest; 0 where it is ideal.
    power_mw : float or None
        With :data:`~dtqatten.synth.timing.ACTIVITY` at every net; memories have none. None where
        the library has no power.
    clock_mw : float or None
        Of it, buffers of the clock tree and the nets they drive.
    """

    slack_ns: float
    hold_slack_ns: float | None
    paths: list[SlowPath]
    latency_ns: float
    skew_ns: float
    power_mw: float | None
    clock_mw: float | None


def analyse_placed(
    layout: Layout,
    wires: Wires,
    tree: ClockTree | None,
    design: Design,
    libraries: Sequence[str],
    driver: str,
    period_ns: float,
    folder: Path,
) -> PlacedTiming:
    """Analyse a layout with OpenSTA, in ``folder``.

    As :func:`~dtqatten.synth.timing.analyse`, with wires; with a clock tree, the clock arrives as
    late as this makes it, at the other ends of inputs and outputs with the mean of all sinks.

    Parameters
    ----------
    layout : Layout
    wires : Wires
    tree : ClockTree or None
        None: the clock is ideal.
    design : Design
    libraries : sequence of str
        Liberty files in ``folder``.
    driver : str
        Buffer before every input.
    period_ns : float
    folder : Path

    Raises
    ------
    SynthError
        If OpenSTA refuses the netlist or its wires.
    """
    netlist = layout.netlist
    netlist.write(folder / NETLIST, design.top)
    write_spef(layout, wires, folder / SPEF, design.top)
    clock, false = "", []
    for number, (name, is_input, _) in enumerate(netlist.ports):
        if name == design.clock:
            clock = f"p{number}"
        elif is_input and name.partition("[")[0] in design.ideal:
            false.append(f"p{number}")
    reads = "".join(f"read_liberty {name}\n" for name in libraries)
    text = opensta(
        f"""{reads}read_verilog {NETLIST}
link_design {design.top}
set_cmd_units -time ns -capacitance fF
set sta_report_default_digits 5
create_clock -name clock -period {period_ns} [get_ports {clock}]
create_clock -name io -period {period_ns}
foreach port [all_inputs] {{
  if {{[get_property $port full_name] ne "{clock}"}} {{
    set_input_delay 0 -clock io $port
    set_driving_cell -lib_cell {driver} $port
  }}
}}
set_output_delay 0 -clock io [all_outputs]
set_load {LOAD_FF} [all_outputs]
{"".join(f"set_false_path -from [get_ports {port}]{chr(10)}" for port in false)}
puts "wires:"
read_spef {SPEF}
puts "clock:"
{_clock_commands(layout, tree)}
puts "hold:"
report_checks -path_delay min -digits 4 -from [all_registers -clock_pins] \\
  -to [all_registers -data_pins]
puts "setup:"
report_worst_slack -digits 4
report_checks -path_delay max -digits 4
puts "failing:"
report_checks -path_delay max -slack_max 0 -group_count {CLOSE} -digits 4
set_power_activity -global -activity {ACTIVITY} -duty 0.5
puts "power:"
catch report_power
{_power_commands(tree)}
exit
""",
        folder,
        "placed",
    )
    spoken = text.partition("wires:")[2].partition("clock:")[0]
    if "Warning" in spoken or "not found" in spoken:
        raise SynthError(f"OpenSTA does not take the wires: {spoken.strip().splitlines()[0]}")
    arrivals = [float(value) for value in re.findall(r"^latency: (\S+)$", text, re.MULTILINE)]
    worst = re.search(r"^worst slack (-?[\d.]+)", text, re.MULTILINE)
    hold = re.search(r"(-?[\d.]+) +slack", text.partition("hold:")[2].partition("setup:")[0])
    if worst is None:
        raise SynthError(f"no timing path in {design.top} (log: {folder}/placed.log)")
    reports, _, failing = text.partition("setup:")[2].partition("failing:")
    failing, _, power = failing.partition("power:")
    paths = [_path(layout, report) for report in failing.split("Startpoint: ")[1:]]
    if not paths:
        paths = [_path(layout, report) for report in reports.split("Startpoint: ")[1:]]
    paths.sort(key=lambda path: path.slack_ns)
    total = re.search(r"^Total +\S+ +\S+ +\S+ +(\S+)", power, re.MULTILINE)
    # A library without operating conditions has no voltage.
    milliwatts = 1000 * float(total[1]) if total else 0.0
    of_clock = re.findall(r"^ +\S+ +\S+ +\S+ +(\S+) c\d+$", power, re.MULTILINE)
    return PlacedTiming(
        float(worst[1]),
        float(hold[1]) if hold else None,
        paths,
        float(np.mean(arrivals)) if arrivals else 0.0,
        max(arrivals) - min(arrivals) if arrivals else 0.0,
        milliwatts or None,
        1000 * sum(map(float, of_clock)) if milliwatts else None,
    )


def _clock_commands(layout: Layout, tree: ClockTree | None) -> str:
    """Return commands that propagate the clock, tell its arrivals, and let ports expect them."""
    if tree is None or not tree.buffers:
        return ""
    netlist = layout.netlist
    some = tree.sinks[:: -(-len(tree.sinks) // SAMPLED)]
    pins = " ".join(f"c{netlist.pin_cell[pin]}/{netlist.pin_name[pin]}" for pin in some)
    return f"""set_propagated_clock [get_clocks clock]
set sum 0.0
set count 0
foreach pin {{{pins}}} {{
  with_output_to_variable said "report_arrival \\[get_pins $pin\\]"
  if {{[regexp {{clock \\^. r (\\S+):(\\S+) f}} $said all early late]}} {{
    puts "latency: $late"
    set sum [expr {{$sum + $late}}]
    incr count
  }}
}}
if {{$count}} {{ set_clock_latency [expr {{$sum / $count}}] [get_clocks io] }}
"""


def _power_commands(tree: ClockTree | None) -> str:
    if tree is None or not tree.buffers:
        return ""
    cells = " ".join(f"c{cell}" for cell in tree.buffers)
    return f"catch {{ report_power -instances [get_cells {{{cells}}}] }}\n"


def _path(layout: Layout, report: str) -> SlowPath:
    """Return the path of a report, which begins with its start."""
    netlist = layout.netlist

    def name(pin: str) -> str:
        if found := re.fullmatch(r"c(\d+)(/.*)?", pin):
            # Without what Yosys appends to a register's name.
            return re.sub(r"\$_\w+_$", "", netlist.names[int(found[1])])
        return netlist.ports[int(pin[1:])][0] if re.fullmatch(r"p\d+", pin) else pin

    slack = re.search(r"(-?[\d.]+) +slack", report)
    end = re.search(r"^Endpoint: (\S+)", report, re.MULTILINE)
    data = report.partition("data arrival time")[0]
    cells = [
        int(cell)
        for cell, pin in re.findall(r" [v^] c(\d+)/(\S+) \(", data)
        if _drives(layout, int(cell), pin)
    ]
    return SlowPath(
        name(report.split(maxsplit=1)[0]),
        name(end[1]) if end else "",
        float(slack[1]) if slack else 0.0,
        tuple(cells),
    )


def _drives(layout: Layout, cell: int, pin: str) -> bool:
    netlist = layout.netlist
    return any(netlist.pin_name[p] == pin and netlist.pin_drives[p] for p in netlist.pins(cell))
