"""Static timing analysis of a netlist."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from dtqatten.synth.cells import CellLibrary
from dtqatten.synth.design import Design
from dtqatten.synth.tools import SynthError, opensta

__all__ = ["LOAD_FF", "Timing", "analyse"]

#: Load on every output, in fF; inputs are driven by the library's smallest buffer.
LOAD_FF = 5.0

PATHS = 10

#: Toggles of every net in a cycle that power is reported for: random data in half of the cycles.
#: OpenSTA's own propagation takes what leaves a memory for constant.
ACTIVITY = 0.25

#: Endpoints at most whose paths are told.
CLOSE = 2000


@dataclass(frozen=True)
class ClosePath:
    """The worst path to an endpoint: its slack, and the logic on it, cells by their instances."""

    slack_ns: float
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Timing:
    """What a timing analysis says.

    Attributes
    ----------
    slack_ns : float
        Worst slack of all paths.
    fmax_mhz : float
        Clock rate at which it is zero.
    paths : list of dict
        The worst endpoints: ``start``, ``end``, ``slack_ns``.
    close : list of ClosePath
        Those that miss the clock, or leave less than what was asked for.
    uniform_mw : float or None
        Power with :data:`ACTIVITY` at every net; memories have none. None where OpenSTA stumbles.
    """

    slack_ns: float
    fmax_mhz: float
    paths: list[dict[str, object]]
    close: list[ClosePath] = field(default_factory=list)
    uniform_mw: float | None = None

    def summary(self) -> dict[str, object]:
        """Return all but ``close``."""
        return {key: value for key, value in vars(self).items() if key != "close"}


def analyse(
    design: Design,
    library: CellLibrary,
    netlist: str,
    more: list[str],
    period_ns: float,
    at: Path,
    *,
    margin_ns: float = 0.0,
) -> Timing:
    """Analyse a netlist with OpenSTA, in the folder ``at``.

    The clock is ideal, without uncertainty; wires have no delay. Inputs arrive with the clock edge
    through the library's smallest buffer, outputs have until the next one and drive
    :data:`LOAD_FF`. Paths from ``design.ideal`` do not count.

    Parameters
    ----------
    design : Design
    library : CellLibrary
    netlist : str
        Verilog file in ``at``.
    more : list of str
        Further Liberty files in ``at``.
    period_ns : float
    at : Path
    margin_ns : float
        Paths with less slack are told.

    Raises
    ------
    SynthError
        If OpenSTA refuses the netlist, or it has no timing path.
    """
    reads = "".join(f"read_liberty {name}\n" for name in (*(f.name for f in library.files), *more))
    ideal = "".join(
        f"if {{[llength [get_ports -quiet {name}]]}} "
        f"{{ set_false_path -from [get_ports {name}] }}\n"
        for name in design.ideal
    )
    text = opensta(
        f"""{reads}read_verilog {netlist}
link_design {design.top}
if {{![llength [get_ports -quiet {design.clock}]]}} {{
  puts "Error: {design.top} has no port {design.clock}: name its clock with --clock"
}}
set_cmd_units -time ns -capacitance fF
create_clock -name clock -period {period_ns} [get_ports {design.clock}]
foreach port [all_inputs] {{
  if {{[get_property $port full_name] ne "{design.clock}"}} {{
    set_input_delay 0 -clock clock $port
    set_driving_cell -lib_cell {library.buffer} $port
  }}
}}
set_output_delay 0 -clock clock [all_outputs]
set_load {LOAD_FF} [all_outputs]
{ideal}report_worst_slack -digits 4
report_checks -path_delay max -format summary -group_count {PATHS} -digits 3
report_checks -path_delay max -digits 3 -fields {{capacitance slew}}
puts "close:"
report_checks -path_delay max -slack_max {margin_ns} -group_count {CLOSE} -digits 4
set_power_activity -global -activity {ACTIVITY} -duty 0.5
catch report_power
exit
""",
        at,
        "timing",
    )
    worst = re.search(r"^worst slack (-?[\d.]+)", text, re.MULTILINE)
    if worst is None:
        raise SynthError(
            f"no timing path in {design.top}: is {design.clock} its clock? (log: {at}/timing.log)"
        )
    slack = float(worst[1])
    paths: list[dict[str, object]] = [
        {"start": name_of(start), "end": name_of(end), "slack_ns": float(value)}
        for start, end, value in re.findall(
            r"^(\S+) \(\S+\) +(\S+) \(\S+\) +(-?\d+\.\d+)$", text, re.MULTILINE
        )
    ]
    close = []
    for path in text.partition("close:")[2].split("Startpoint: ")[1:]:
        left = re.search(r"(-?[\d.]+) +slack", path)
        # From a register's output to the input of the next: what is between them counts.
        cells = tuple(re.findall(r" [v^] (\S+)/\S+ \(", path)[2:-1])
        close.append(ClosePath(float(left[1]) if left else 0.0, cells))
    power = re.search(r"^Total +\S+ +\S+ +\S+ +(\S+)", text, re.MULTILINE)
    milliwatts = 1000 * float(power[1]) if power else None
    return Timing(slack, 1000 / (period_ns - slack), paths, close, milliwatts)


def name_of(pin: str) -> str:
    """Drop what Yosys appends to a register's name, and the pin."""
    return re.sub(r"\$_\w+_/\w+$", "", pin)
