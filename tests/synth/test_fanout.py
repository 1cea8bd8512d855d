"""Buffer trees: every net within its limit, and what ABC has sized left alone."""

from collections import defaultdict
from typing import Any

import pytest

from dtqatten.synth.cells import BufferCell
from dtqatten.synth.fanout import LEAF_FF, ROOT_FF, buffer_nets, fourfold

BUFFER = BufferCell(2.0, "BUF4", "A", "Y")
LOADS = {
    "BUF1": {"A": 1.0},
    "BUF4": {"A": 3.5},
    "GATE": {"A": 1.5},
    "RAM": {"D": 5.0, "C": None},
    "DFF": {"D": 1.0, "C": None},
}


def cell(kind: str, **pins: int) -> dict[str, Any]:
    return {"type": kind, "connections": {pin: [bit] for pin, bit in pins.items()}}


def module(inputs: dict[str, int], cells: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "ports": {name: {"direction": "input", "bits": [bit]} for name, bit in inputs.items()},
        "cells": {f"c{i}": one for i, one in enumerate(cells)},
    }


def loads_of(found: dict[str, Any]) -> dict[int, float]:
    on: dict[int, float] = defaultdict(float)
    for one in found["cells"].values():
        for pin, load in LOADS.get(one["type"], {}).items():
            for bit in one["connections"].get(pin, []):
                on[bit] += load or 0.0
    return on


@pytest.mark.parametrize("macros", [1, 5, 9, 10, 100, 1000])
def test_macros_hang_on_trees(macros: int) -> None:
    gates = [cell("GATE", A=2) for _ in range(6)]
    found = module({"a": 2, "clk": 3}, gates + [cell("RAM", D=2, C=3) for _ in range(macros)])
    count = buffer_nets({"top": found}, "top", LOADS, {"RAM"}, BUFFER)
    on = loads_of(found)
    assert on.pop(2) <= ROOT_FF
    assert all(load <= LEAF_FF for load in on.values())
    assert (count == 0) == (9 + 5 * macros <= ROOT_FF)
    # Everything still hangs on the net, through buffers.
    source = {
        one["connections"]["Y"][0]: one["connections"]["A"][0]
        for one in found["cells"].values()
        if one["type"] == "BUF4"
    }
    for one in found["cells"].values():
        for pin in ("A", "D"):
            for bit in one["connections"].get(pin, []):
                while bit in source:
                    bit = source[bit]
                assert bit == 2
        assert one["connections"].get("C", [3]) == [3]


def test_nets_of_gates_alone_stay() -> None:
    found = module({"a": 2}, [cell("GATE", A=2) for _ in range(100)])
    assert buffer_nets({"top": found}, "top", LOADS, set(), BUFFER) == 0


def test_instances_show_their_loads() -> None:
    """Four instances of 15 fF each: what is in a module counts where it is used."""
    leaf = module({"x": 2, "c": 3}, [cell("DFF", D=2, C=3) for _ in range(15)])
    top = module({"a": 2, "clk": 3}, [cell("leaf", x=2, c=3) for _ in range(4)])
    modules = {"top": top, "leaf": leaf}
    assert buffer_nets(modules, "top", LOADS, set(), BUFFER) == 2
    kinds = [one["type"] for one in top["cells"].values()]
    assert kinds.count("BUF4") == 2
    assert all(one["connections"].get("c", [3]) == [3] for one in top["cells"].values())


def test_the_tree_is_made_of_middling_buffers() -> None:
    buffers = (BufferCell(1.0, "BUF1", "A", "Y"), BUFFER)
    assert fourfold(buffers, LOADS) == BUFFER
