"""Energy of a PE, from what its nets do with the operands of a real sentence."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.tiles import Step, edges, tile_steps
from dtqatten.golden.numerics.codes import Granularity, quantize
from dtqatten.golden.numerics.order import boundaries, promote
from dtqatten.golden.traces.trace import Trace
from dtqatten.hw.payloads.arrays import control_layout
from dtqatten.sim.lockstep.pod import pack_control
from dtqatten.synth.attempts import SRAM_LIBERTY
from dtqatten.synth.fanout import read_loads
from dtqatten.synth.gates import Gates
from dtqatten.synth.place.design import NAMES
from dtqatten.synth.place.timing import NETLIST, SPEF
from dtqatten.synth.tools import SynthError, opensta, yosys

__all__ = ["PeEnergy", "pe_energy", "placed_pe_energy", "trace_steps"]

#: Volts, of the library's corner; for the check of what OpenSTA says.
VDD = 1.1


@dataclass(frozen=True)
class PeEnergy:
    """Energy of a PE in a cycle in which it works: of a pod, over its PEs.

    Attributes
    ----------
    internal_pj, switching_pj, leakage_pj : float
        By OpenSTA: inside cells, on nets, and leakage in a cycle.
    check_pj : float
        ``C * V**2 / 2`` of every toggle of every net, pins only: what ``switching_pj`` should be
        without wires.
    cycles, instances : int
        What was simulated: PEs, for so many cycles each.
    """

    internal_pj: float
    switching_pj: float
    leakage_pj: float
    check_pj: float
    cycles: int
    instances: int

    @property
    def total_pj(self) -> float:
        """All of it."""
        return self.internal_pj + self.switching_pj + self.leakage_pj


def trace_steps(config: Config, trace: Trace) -> list[Step]:
    """Return the steps of Q x K^T of all heads of a recorded layer, clustered and promoted."""
    q, k, _ = (quantize(x, Granularity.HEAD) for x in trace.gathered())
    n = q.codes.shape[1]
    n4 = int((trace.bits == 4).sum())
    limits = boundaries(n4, n, config.rows, config.cols, config.group)
    steps: list[Step] = []
    for head in range(len(q.codes)):
        of_keys = edges(config.cols, k.codes[head], promote(limits.k, n) == 8)
        for row in edges(config.rows, q.codes[head], promote(limits.q, n) == 8):
            for tile in of_keys:
                steps += tile_steps(config, row, tile)
    return steps


def pe_energy(folder: Path, config: Config, steps: Sequence[Step], ghz: float = 1.0) -> PeEnergy:
    """Simulate a grid of pods' netlists on steps, and have OpenSTA turn toggles into energy.

    Every pod of the grid works on its own row and columns; as skew only delays what a pod does, all
    are given their operands at once. Without delays there are no glitches, which a real PE has.

    Parameters
    ----------
    folder : Path
        Where ``dtqatten synth --block pe`` has worked.
    config : Config
        Of the PEs; says how many a pod has.
    steps : sequence of Step
    ghz : float
        Clock rate, for leakage.

    Raises
    ------
    SynthError
        If a tool refuses the netlist.
    """
    if not (folder / "netlist.v").exists():
        raise SynthError(f"no netlist in {folder}: run `dtqatten synth --block pe`")
    top, module = _flat(folder, "netlist.v")
    # Names without what Tcl would take for something else.
    module["cells"] = {f"cell_{i}": cell for i, cell in enumerate(module["cells"].values())}
    (folder / "renamed.json").write_text(json.dumps({"modules": {top: module}}))
    yosys(
        "read_json renamed.json\nwrite_verilog -noattr -noexpr -nohex -simple-lhs flat.v\n",
        folder,
        "renamed",
    )
    gates = _simulated(folder, module, config, steps)
    return _measured(folder, "flat.v", top, module, gates, config, len(steps), ghz)


def placed_pe_energy(
    folder: Path, config: Config, steps: Sequence[Step], ghz: float = 1.0
) -> PeEnergy:
    """Return the energy of a placed PE: as :func:`pe_energy`, with its wires and its clock tree.

    Parameters
    ----------
    folder : Path
        Where ``dtqatten synth --block pe --place`` has placed it.
    config : Config
    steps : sequence of Step
    ghz : float

    Raises
    ------
    SynthError
        If there is no placed netlist, or a tool refuses it.
    """
    if not (folder / NAMES).exists():
        raise SynthError(f"no placed netlist in {folder}: run `dtqatten synth --block pe --place`")
    names = json.loads((folder / NAMES).read_text())
    top, module = _flat(folder, NETLIST)
    # Its ports are bits with numbers: words again, by their names.
    bits: dict[str, dict[int, int]] = defaultdict(dict)
    for number, name in enumerate(names["ports"]):
        word, _, index = name.partition("[")
        bits[word][int(index.rstrip("]") or 0)] = module["ports"][f"p{number}"]["bits"][0]
    ports = {word: {"bits": [of[index] for index in sorted(of)]} for word, of in bits.items()}
    gates = _simulated(folder, {**module, "ports": ports}, config, steps)
    # The simulation has no clock: OpenSTA knows how often its tree toggles.
    clock = {f"c{cell}" for cell in names["clock"]}
    gates.drivers = {
        net: pin for net, pin in gates.drivers.items() if pin.partition("/")[0] not in clock
    }
    clock_port = f"p{names['ports'].index('clk')}"
    return _measured(folder, NETLIST, top, module, gates, config, len(steps), ghz, SPEF, clock_port)


def _libraries(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.lib")) if path.name != SRAM_LIBERTY]


def _flat(folder: Path, netlist: str) -> tuple[str, dict[str, Any]]:
    """Return name and module of a netlist, its modules dissolved, in Yosys's JSON."""
    yosys(
        f"read_verilog {netlist}\nhierarchy -auto-top\nflatten -noscopeinfo\n"
        "write_json flat.json\n",
        folder,
        "flat",
    )
    flat = json.loads((folder / "flat.json").read_text())
    (top, module), *more = flat["modules"].items()
    if more:
        raise SynthError(f"the PE has {len(more)} modules beside {top}")
    return top, module


def _simulated(
    folder: Path, module: dict[str, Any], config: Config, steps: Sequence[Step]
) -> Gates:
    """Return a netlist that has passed steps."""
    cells = json.loads((folder / "cells.json").read_text())["modules"]
    gates = Gates(module, cells, config.rows * config.hops)
    for number, step in enumerate(steps):
        gates.clock(
            {
                "q_i": bits_of(np.repeat(step.q, config.hops, axis=0)),
                "k_i": bits_of(np.tile(step.k.reshape(config.hops, -1), (config.rows, 1))),
                # Control comes a cycle after its operands.
                "control_i": [
                    gates.all * (word >> bit & 1)
                    for word in [pack_control(config, steps[max(number - 1, 0)])]
                    for bit in range(control_layout(config).size)
                ],
                "clk": [0],
                "rst": [gates.all if number < 4 else 0],
            }
        )
    return gates


def _measured(
    folder: Path,
    netlist: str,
    top: str,
    module: dict[str, Any],
    gates: Gates,
    config: Config,
    cycles: int,
    ghz: float,
    spef: str | None = None,
    clock: str = "clk",
) -> PeEnergy:
    """Have OpenSTA turn toggles of a netlist, and of its wires, into energy."""
    libraries = _libraries(folder)
    times = cycles * config.rows * config.hops
    activity = {
        gates.drivers[net]: count / times
        for net, count in gates.toggles.items()
        if net in gates.drivers
    }
    report = opensta(
        "".join(f"read_liberty {file.name}\n" for file in libraries)
        + f"read_verilog {netlist}\nlink_design {top}\n"
        + (f"read_spef {spef}\n" if spef else "")
        + f"""create_clock -name clock -period {1 / ghz} [get_ports {clock}]
report_power
"""
        + "".join(
            f"sta::set_power_pin_activity [get_pins {pin}] {value:.6f} 0.5\n"
            for pin, value in activity.items()
        )
        + "puts annotated\nreport_power\nexit\n",
        folder,
        "power",
    )
    total = re.search(
        r"^Total +(\S+) +(\S+) +(\S+)", report.partition("annotated")[2], re.MULTILINE
    )
    if total is None:
        raise SynthError(f"no power in {folder / 'power.log'}")
    internal, switching, leakage = (
        1e12 * float(watt) / (1e9 * ghz) / config.pod_cols for watt in total.groups()
    )
    loads = read_loads(libraries)
    on_net: dict[int, float] = defaultdict(float)
    for cell in module["cells"].values():
        for pin, bits in cell["connections"].items():
            for bit in bits:
                if isinstance(bit, int):
                    on_net[bit] += loads[cell["type"]].get(pin) or 0.0
    check = sum(count * on_net[net] for net, count in gates.toggles.items()) / times
    check_pj = check * VDD**2 / 2 / 1000 / config.pod_cols
    pes = config.rows * config.cols
    return PeEnergy(internal, switching, leakage, check_pj, cycles, pes)


def bits_of(operands: NDArray[np.int64]) -> list[int]:
    """Return operands ``[pods, nibbles]`` as the bits of a port, an integer of all pods each."""
    nibbles = operands & 15
    return [
        int("".join(map(str, column[::-1])), 2)
        for column in (nibbles[:, :, None] >> np.arange(4) & 1).reshape(len(operands), -1).T
    ]
