"""Designs placed from end to end, on a library of a handful of cells."""

import dataclasses
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from dtqatten.synth.design import Design
from dtqatten.synth.flow import ASIC, Flow, Placement
from dtqatten.synth.place.clock_tree import ClockTree, grow_clock_tree
from dtqatten.synth.place.design import place_design
from dtqatten.synth.place.layout import Layout
from dtqatten.synth.place.netlist import Netlist
from dtqatten.synth.place.options import PlaceOptions
from dtqatten.synth.place.wires import Wire
from dtqatten.synth.report import placed_table
from dtqatten.synth.tools import SynthError, has_opensta
from legal_layout import check_legal

pytestmark = pytest.mark.skipif(not has_opensta(), reason="OpenSTA is not installed")


def sources(netlist: Netlist) -> dict[str, set[str]]:
    """Registers and ports that each register, memory and port depends on through gates."""
    driver = {
        net: pin for pin, net in enumerate(netlist.pin_net) if netlist.pin_drives[pin] and net >= 0
    }
    inputs = {net: name for name, is_input, net in netlist.ports if is_input}
    state = {
        cell
        for cell, kind in enumerate(netlist.kinds)
        if kind.startswith("DFF") or kind.startswith("sram")
    }

    def behind(net: int, seen: dict[int, set[str]]) -> set[str]:
        if net in seen:
            return seen[net]
        if net < 0:
            return {f"constant {net}"}
        if net in inputs:
            return {inputs[net]}
        pin = driver[net]
        cell = netlist.pin_cell[pin]
        if cell in state:
            return {f"{netlist.names[cell]}/{netlist.pin_name[pin]}"}
        seen[net] = set()
        for other in netlist.pins(cell):
            if not netlist.pin_drives[other]:
                seen[net] |= behind(netlist.pin_net[other], seen)
        return seen[net]

    seen: dict[int, set[str]] = {}
    found = defaultdict(set)
    for cell in state:
        for pin in netlist.pins(cell):
            if not netlist.pin_drives[pin]:
                key = f"{netlist.names[cell]}/{netlist.pin_name[pin]}"
                found[key] = behind(netlist.pin_net[pin], seen)
    for name, is_input, net in netlist.ports:
        if not is_input:
            found[name] = behind(net, seen)
    return dict(found)


@pytest.mark.parametrize(("name", "mhz"), [("adders", 900.0), ("stores", 1500.0)])
def test_repair_improves_slack_and_keeps_the_logic(
    name: str, mhz: float, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    given = request.getfixturevalue(name)
    before = given.layout(tmp_path).netlist
    work = tmp_path / "work"
    work.mkdir()
    # Wires heavy enough to matter in so small a block.
    options = PlaceOptions(
        density=0.6, halo=1.0, rounds=2, effort=1, signal=Wire(10.0, 1.0), clock=Wire(2.0, 0.5)
    )
    placed = place_design(
        given.design, given.result, given.folder, [given.lef], options, work, mhz=mhz
    )
    result, layout = placed.result, placed.layout
    check_legal(layout)
    assert sources(layout.netlist) == sources(before)
    slack = result["placed_slack_ns"]
    assert slack["placed"] >= slack["clock"]
    assert slack["placed"] == pytest.approx(1000 / mhz - 1000 / result["placed_fmax_mhz"], abs=1e-6)
    if slack["clock"] < 0:
        assert result["rounds"]
        best = max(each["slack_ns"] for each in result["rounds"])
        assert slack["placed"] == max(best, slack["clock"])
    # The result's areas, from the outlines.
    sizes = [layout.outlines[kind] for kind in layout.netlist.kinds]
    cells = sum(each.width * each.height for each in sizes if each.core)
    macros = sum(100.0 * len(each.parts) for each in sizes if not each.core)
    die = 1e6 * result["placed_mm2"]
    assert result["placed_density"] == pytest.approx((cells + macros) / die)
    assert result["macros"] == (4 if name == "stores" else 0)
    tree = result["clock_tree"]
    assert tree["sinks"] == sum(kind.startswith(("DFF", "sram")) for kind in layout.netlist.kinds)
    assert tree["latency_ns"] > 0
    assert 0 <= tree["skew_ns"] < tree["latency_ns"]
    assert 0 < tree["mw"] < result["power_mw"]
    assert json.loads(json.dumps(result)) == result


def depths(layout: Layout, tree: ClockTree, clock: int) -> dict[int, int]:
    """Return how many buffers each clock pin is behind, by its cell."""
    netlist = layout.netlist
    driver = {n: p for p, n in enumerate(netlist.pin_net) if netlist.pin_drives[p]}
    found = {}
    for pin in tree.sinks:
        net, depth = netlist.pin_net[pin], 0
        while net != clock:
            cell = netlist.pin_cell[driver[net]]
            assert cell in tree.buffers
            net, depth = netlist.pin_net[netlist.first[cell]], depth + 1
        found[netlist.pin_cell[pin]] = depth
    return found


def test_slow_memories_join_the_clock_tree_further_up(stores, tmp_path: Path) -> None:
    """And buffers stand on sites of their own, off the macros."""
    from dtqatten.synth.cells import CellLibrary
    from dtqatten.synth.place.drives import Drives

    layout: Layout = stores.layout(tmp_path)
    rng = np.random.default_rng(5)
    layout.plan = plan = dataclasses.replace(layout.plan, width=300.0, height=300.0)
    layout.at = rng.uniform(100, 290, layout.at.shape)
    macros = np.flatnonzero(~layout.is_core)
    layout.at[macros] = [[20.0 + 40 * i, 20.0] for i in range(len(macros))]
    (clock,) = (net for name, _, net in layout.netlist.ports if name == "clk")
    files = [*sorted(tmp_path.glob("cells_*.lib")), tmp_path / "sram.lib"]
    library = CellLibrary.open(files[:-1], tmp_path)
    # So that the wire between two macros takes about a stage.
    tree = grow_clock_tree(layout, clock, Drives(files), library.buffers, Wire(2000.0, 1.0))
    found = depths(layout, tree, clock)
    flip_flops = {depth for cell, depth in found.items() if cell not in macros}
    assert flip_flops == {tree.levels}
    assert {found[cell] for cell in macros} < set(range(1, tree.levels))
    low, size = layout.at[tree.buffers], layout.sizes[tree.buffers]
    for corner, grid in zip(low.T, (plan.site, plan.row), strict=True):
        assert np.allclose(corner / grid, np.rint(corner / grid))
    assert np.array_equal(layout.flip[tree.buffers, 1], np.rint(low[:, 1] / plan.row) % 2 == 1)
    taken = np.concatenate([layout.at[macros] - plan.halo, low])
    wide = np.concatenate([layout.sizes[macros] + 2 * plan.halo, size])
    overlaps = (taken[:, None] < (taken + wide)[None] - 1e-6).all(-1)
    assert (overlaps & overlaps.T).sum() == len(taken)


def test_the_clock_tree_is_balanced(adders, tmp_path: Path) -> None:
    """Every sink behind the same number of buffers, and each behind the port."""
    from dtqatten.synth.cells import CellLibrary
    from dtqatten.synth.place.drives import Drives

    layout: Layout = adders.layout(tmp_path)
    rng = np.random.default_rng(3)
    layout.at = rng.uniform(0, 300, layout.at.shape)
    (clock,) = (net for name, _, net in layout.netlist.ports if name == "clk")
    files = sorted(tmp_path.glob("cells_*.lib"))
    library = CellLibrary.open(files, tmp_path)
    tree = grow_clock_tree(layout, clock, Drives(files), library.buffers, Wire(1.0, 0.2))
    assert set(depths(layout, tree, clock).values()) == {tree.levels}
    assert tree.levels >= 2
    assert len(layout.at) == len(layout.netlist.kinds)


def test_a_placed_result_is_kept_and_drawn(sized_liberty: Path, lef: Path, tmp_path: Path) -> None:
    text = """module leaf(input clk, rst, a, b, output reg y); reg c, d;
always @(posedge clk) begin c <= a; d <= b; y <= ~(c & d); end endmodule"""
    design = Design("leaf", "leaf", {"design.v": text})
    options = PlaceOptions(effort=1, rounds=1)
    flow = Flow(tmp_path, (sized_liberty,), placement=Placement((lef,), options))
    done: list[str] = []
    result = flow.run(ASIC, design, multipliers=2, step=done.append)
    assert done
    assert result["placed_fmax_mhz"] < result["fmax_mhz"] * 1.05
    assert result["um2_per_multiplier_placed"] == pytest.approx(result["placed_mm2"] * 1e6 / 2)
    assert json.loads((tmp_path / "placed-leaf.json").read_text()) == json.loads(json.dumps(result))
    assert (tmp_path / "placed-leaf.png").stat().st_size > 1000
    assert placed_table([result]).row_count == 1
    done.clear()
    again = flow.run(ASIC, design, multipliers=2, step=done.append)
    assert json.dumps(again) == json.dumps(result)
    assert not done


def test_what_cannot_be_placed_is_refused(adders, lef: Path, tmp_path: Path) -> None:
    for changed, says in (
        ({"density": 0.2}, "--density is 0.2: give 0.3 to 0.95"),
        ({"aspect": 6.0}, "--aspect is 6.0"),
        ({"halo": -1.0}, "--halo is -1.0"),
        ({"rounds": -1}, "--rounds is -1"),
        ({"effort": 10}, "--effort is 10"),
        ({"signal": Wire(-1.0, 0.1)}, r"--signal-wire is -1\.0 0\.1"),
    ):
        with pytest.raises(ValueError, match=says):
            PlaceOptions(**changed)
    few = tmp_path / "few.lef"
    text = (lef / "cells.lef").read_text()
    few.write_text(text[: text.index("MACRO BUF")] + "END LIBRARY\n")
    with pytest.raises(SynthError, match="no LEF geometry of"):
        place_design(
            adders.design, adders.result, adders.folder, [few], PlaceOptions(), tmp_path, mhz=100.0
        )
