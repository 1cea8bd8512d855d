"""Registers inside block RAMs, which Yosys leaves unused."""

import re
from collections import defaultdict
from typing import Any

__all__ = ["merge_output_registers"]


def merge_output_registers(netlist: dict[str, Any]) -> int:
    """Move flip-flops right behind a block RAM of an ECP5 into its own output registers.

    The block RAM (``DP16KD``) then has its outputs early in a cycle instead of late. A port's
    flip-flops go if all its outputs have one, and nothing else; all with one enable, none inverted,
    none that is reset or starts at one. In 36 bits, reading port B shows half of the word at the
    outputs of A, and both get B's enable.

    Parameters
    ----------
    netlist : dict
        JSON of Yosys after ``synth_ecp5``; changed in place.

    Returns
    -------
    int
        Flip-flops that went.
    """
    return sum(_merge(module) for module in netlist["modules"].values())


def _merge(module: dict[str, Any]) -> int:
    cells = module["cells"]
    users: defaultdict[int | str, list[tuple[str | None, str]]] = defaultdict(list)
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    users[bit].append((name, port))
    for port in module["ports"].values():
        for bit in port["bits"]:
            users[bit].append((None, ""))
    merged = 0
    for ram in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        wide = int(ram["parameters"]["DATA_WIDTH_B"], 2) == 36
        for side, halves in (("B", "AB"),) if wide else (("A", "A"), ("B", "B")):
            outputs = {
                port: bits[0]
                for port, bits in ram["connections"].items()
                if re.fullmatch(rf"DO[{halves}]\d+", port) and bits and users[bits[0]]
            }
            registers = {port: _register(cells, users[bit]) for port, bit in outputs.items()}
            # How each is controlled, None where it cannot go.
            controls = {_control(cells[name]) if name else None for name in registers.values()} or {
                None
            }
            control = controls.pop()
            clock = ram["connections"][f"CLK{side}"], ram["parameters"][f"CLK{side}MUX"]
            if controls or control is None or (list(control[0]), f"CLK{side}") != clock:
                continue
            for half in halves:
                ram["connections"][f"OCE{half}"] = list(control[1])
                ram["parameters"][f"REGMODE_{half}"] = "OUTREG"
            for port, name in registers.items():
                ram["connections"][port] = cells.pop(str(name))["connections"]["Q"]
            merged += len(registers)
    return merged


def _register(cells: dict[str, Any], users: list[tuple[str | None, str]]) -> str | None:
    """Name of the flip-flop that alone takes a bit, None if there is none."""
    (name, port), *others = users
    flip_flop = name is not None and cells[name]["type"] == "TRELLIS_FF" and port == "DI"
    return name if flip_flop and not others else None


def _control(flip_flop: dict[str, Any]) -> tuple[tuple[int | str, ...], ...] | None:
    """Clock and enable of a flip-flop, None if it has what a block RAM's register has not."""
    parameters, connections = flip_flop["parameters"], flip_flop["connections"]
    enables = {"1 ": ("1",), "CE": tuple(connections.get("CE", ()))}
    plain = (
        parameters["CEMUX"] in enables
        and parameters["CLKMUX"] == "CLK"
        and parameters["REGSET"] == "RESET"
        and connections["LSR"] == ["0"]
    )
    return (tuple(connections["CLK"]), enables[parameters["CEMUX"]]) if plain else None
