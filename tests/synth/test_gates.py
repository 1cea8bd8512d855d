"""The gate simulator, on netlists small enough to follow by hand."""

import pytest

from dtqatten.synth.gates import Gates


def cell(kind: str, **pins: int | str) -> dict:
    return {"type": kind, "connections": {pin: [bit] for pin, bit in pins.items()}}


def of_library(inputs: str, output: str, *parts: dict) -> dict:
    names = [*inputs, output]
    return {
        "ports": {
            pin: {"direction": "output" if pin == output else "input", "bits": [2 + i]}
            for i, pin in enumerate(names)
        },
        "cells": {str(i): part for i, part in enumerate(parts)},
    }


LIBRARY = {
    "INV": of_library("A", "Y", cell("$_NOT_", A=2, Y=3)),
    "BUF": {
        "ports": {
            "A": {"direction": "input", "bits": [2]},
            "Y": {"direction": "output", "bits": [2]},
        },
        "cells": {},
    },
    "NAND": of_library("AB", "Y", cell("$_AND_", A=2, B=3, Y=9), cell("$_NOT_", A=9, Y=4)),
    "DFF": of_library("DC", "Q", cell("$_DFF_P_", C=3, D=2, Q=4)),
    "TRI": of_library("A", "Y", cell("$_TBUF_", A=2, Y=3)),
}


def netlist(inputs: dict[str, int], **cells: dict) -> dict:
    ports = {name: {"direction": "input", "bits": [bit]} for name, bit in inputs.items()}
    return {"ports": ports, "cells": cells}


def test_a_toggle_flip_flop_toggles_every_cycle() -> None:
    module = netlist({"c": 2}, inv=cell("INV", A=4, Y=3), reg=cell("DFF", D=3, C=2, Q=4))
    gates = Gates(module, LIBRARY, instances=3)
    for _ in range(4):
        gates.clock({"c": [0]})
    assert gates.drivers == {3: "inv/Y", 4: "reg/Q"}
    # The first cycle settles the inverter; its change then reaches the register one cycle later.
    assert gates.toggles[3] == 3 * 4
    assert gates.toggles[4] == 3 * 3


def test_instances_are_independent() -> None:
    module = netlist(
        {"c": 2, "a": 5, "b": 6},
        nand=cell("NAND", A=5, B=6, Y=7),
        buf=cell("BUF", A=7, Y=8),
        reg=cell("DFF", D=8, C=2, Q=9),
    )
    gates = Gates(module, LIBRARY, instances=4)
    a, b = 0b1100, 0b1010
    gates.clock({"c": [0], "a": [a], "b": [b]})
    assert gates.values[8] & 15 == ~(a & b) & 15
    gates.clock({"c": [0], "a": [a], "b": [b]})
    assert gates.values[9] & 15 == ~(a & b) & 15
    assert gates.toggles[9] == 3


def test_constants_and_what_cannot_be_simulated() -> None:
    gates = Gates(netlist({"a": 5}, nand=cell("NAND", A=5, B="1", Y=7)), LIBRARY, instances=2)
    gates.clock({"a": [0b01]})
    assert gates.values[7] & 3 == 0b10
    with pytest.raises(ValueError, match="out is a TRI"):
        Gates(netlist({"a": 5}, out=cell("TRI", A=5, Y=6)), LIBRARY, instances=1)
    with pytest.raises(ValueError, match="loop"):
        Gates(netlist({}, inv=cell("INV", A=3, Y=3)), LIBRARY, instances=1)
