"""Registers inside block RAMs and multipliers, which Yosys leaves unused."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = ["merge_output_registers"]


def merge_output_registers(netlist: dict[str, Any]) -> int:
    """Move flip-flops right behind a block RAM or multiplier of an ECP5 into its output registers.

    Outputs of a ``DP16KD`` or ``MULT18X18D`` are then there early in a cycle instead of late. The
    flip-flops of a block RAM's port or of a product go if all its outputs have one, and nothing
    else; all with one enable, none inverted, none that is reset or starts at one. In 36 bits,
    reading port B shows half of the word at the outputs of A, and both get B's enable.

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


class _Control(NamedTuple):
    """Bits of what controls a flip-flop."""

    clock: tuple[int | str, ...]
    enable: tuple[int | str, ...]
    reset: tuple[int | str, ...] = ("0",)


@dataclass(frozen=True)
class _Place:
    """Registers behind outputs of a cell, all unused, or all used with these changes to it.

    ``outputs``: regular expression of their ports; ``clock``: bits of the clock they have, any if
    None; ``signals``: ports that take what controls the flip-flops, by their names in `_Control`.
    """

    outputs: str
    clock: list[int | str] | None
    signals: dict[str, str]
    parameters: dict[str, str]


def _places(cell: dict[str, Any]) -> Iterator[_Place]:
    """Output registers of a cell that are not used yet."""
    parameters, connections = cell["parameters"], cell["connections"]
    if cell["type"] == "DP16KD":
        wide = int(parameters["DATA_WIDTH_B"], 2) == 36
        for side, halves in (("B", "AB"),) if wide else (("A", "A"), ("B", "B")):
            clocked = parameters[f"CLK{side}MUX"] == f"CLK{side}"
            if clocked and parameters[f"REGMODE_{side}"] == "NOREG":
                yield _Place(
                    outputs=rf"DO[{halves}]\d+",
                    clock=connections[f"CLK{side}"],
                    signals={f"OCE{half}": "enable" for half in halves},
                    parameters={f"REGMODE_{half}": "OUTREG" for half in halves},
                )
    if cell["type"] == "MULT18X18D" and "REG_OUTPUT_CLK" not in parameters:
        yield _Place(
            outputs=r"P\d+",
            clock=None,
            signals={"CLK0": "clock", "CE0": "enable", "RST0": "reset"},
            parameters={
                "REG_OUTPUT_CLK": "CLK0",
                "REG_OUTPUT_CE": "CE0",
                "REG_OUTPUT_RST": "RST0",
            },
        )


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
    places = [(cell, place) for cell in cells.values() for place in _places(cell)]
    for cell, place in places:
        registers = {
            port: _register(cells, users[bits[0]])
            for port, bits in cell["connections"].items()
            if re.fullmatch(place.outputs, port) and bits and users[bits[0]]
        }
        # How each is controlled, None where it cannot go.
        controls = {_control(cells[name]) if name else None for name in registers.values()} or {
            None
        }
        control = controls.pop()
        if controls or control is None or place.clock not in (None, list(control.clock)):
            continue
        for port, signal in place.signals.items():
            cell["connections"][port] = list(getattr(control, signal))
            cell["port_directions"][port] = "input"
        cell["parameters"].update(place.parameters)
        for port, name in registers.items():
            cell["connections"][port] = cells.pop(str(name))["connections"]["Q"]
        merged += len(registers)
    return merged


def _register(cells: dict[str, Any], users: list[tuple[str | None, str]]) -> str | None:
    """Name of the flip-flop that alone takes a bit, None if there is none."""
    (name, port), *others = users
    flip_flop = name is not None and cells[name]["type"] == "TRELLIS_FF" and port == "DI"
    return name if flip_flop and not others else None


def _control(flip_flop: dict[str, Any]) -> _Control | None:
    """Return what controls a flip-flop, None if it has what registers inside a cell have not."""
    parameters, connections = flip_flop["parameters"], flip_flop["connections"]
    enables = {"1 ": ("1",), "CE": tuple(connections.get("CE", ()))}
    plain = (
        parameters["CEMUX"] in enables
        and parameters["CLKMUX"] == "CLK"
        and parameters["REGSET"] == "RESET"
        and connections["LSR"] == ["0"]
    )
    return _Control(tuple(connections["CLK"]), enables[parameters["CEMUX"]]) if plain else None
