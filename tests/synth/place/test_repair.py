"""Buffers in long nets, and sizes on slow paths."""

from pathlib import Path

import numpy as np
import pytest

from dtqatten.synth.cells import BufferCell
from dtqatten.synth.place.drives import Drives
from dtqatten.synth.place.floorplan import Floorplan
from dtqatten.synth.place.layout import Layout
from dtqatten.synth.place.lef import lef_files, read_lef
from dtqatten.synth.place.netlist import Netlist
from dtqatten.synth.place.repair import BUFFER_FF, Repair
from dtqatten.synth.place.timing import SlowPath
from dtqatten.synth.place.wires import Wire, extract

WIRE = Wire(1.0, 0.1)


@pytest.fixture
def drives(sized_liberty: Path) -> Drives:
    return Drives([sized_liberty])


def star(lef: Path, tmp_path: Path, ends: list[tuple[float, float]]) -> Layout:
    """An inverter in a corner that drives inverters at some places."""
    netlist = Netlist()
    source, net = netlist.add_net(), netlist.add_net()
    netlist.ports.append(("a", True, source))
    netlist.add_cell("INV", "driver", [("A", False, source), ("Y", True, net)])
    for i, _ in enumerate(ends):
        netlist.add_cell("INV", f"end_{i}", [("A", False, net), ("Y", True, netlist.add_net())])
    plan = Floorplan(2000.0, 2000.0, 1.0, 0.5, 0.0)
    at = np.array([(0.0, 0.0), *ends])
    outlines = read_lef(lef_files([lef]), tmp_path)
    return Layout(netlist, outlines, plan, at, np.zeros((len(at), 2), bool), np.zeros((1, 2)))


@pytest.mark.parametrize(
    "ends",
    [
        [(1500.0, 0.0)],
        [(900.0, 900.0), (900.0, 100.0), (100.0, 900.0)],
        [(float(x), float(y)) for x in range(50, 1800, 300) for y in range(50, 1800, 300)],
    ],
)
def test_no_driver_has_more_than_it_can_drive(
    ends: list[tuple[float, float]], lef: Path, drives: Drives, tmp_path: Path
) -> None:
    layout = star(lef, tmp_path, ends)
    wires = extract(layout, WIRE, WIRE, [])
    buffer = BufferCell(3.0, "BUF_X4", "A", "Y")
    added = Repair(layout, wires, drives, buffer, [], driver="BUF").split_heavy_nets()
    assert added == len(layout.netlist.kinds) - 1 - len(ends) > 0
    assert len(layout.at) == len(layout.netlist.kinds)
    after = extract(layout, WIRE, WIRE, [])
    netlist = layout.netlist
    driver = {n: p for p, n in enumerate(netlist.pin_net) if netlist.pin_drives[p]}
    for net, pins in enumerate(after.points.pins):
        if len(pins) > 1 and netlist.names[netlist.pin_cell[pins[0][0]]] != "driver":
            loads = sum(
                drives.cells[netlist.kinds[netlist.pin_cell[pin]]].loads["A"] for pin, _ in pins[1:]
            )
            # Trees of the parts need not be parts of the tree.
            assert loads + after.loads[net] <= 1.2 * BUFFER_FF
    # Each end is behind the driver still.
    for cell in range(1, 1 + len(ends)):
        net = netlist.pin_net[netlist.first[cell]]
        while netlist.names[netlist.pin_cell[driver[net]]] != "driver":
            net = netlist.pin_net[netlist.first[netlist.pin_cell[driver[net]]]]


def test_a_short_net_and_a_frozen_one_stay(lef: Path, drives: Drives, tmp_path: Path) -> None:
    buffer = BufferCell(3.0, "BUF_X4", "A", "Y")
    for ends, frozen in (([(10.0, 0.0)], []), ([(1500.0, 0.0)], [1])):
        layout = star(lef, tmp_path, ends)
        wires = extract(layout, WIRE, WIRE, [])
        assert Repair(layout, wires, drives, buffer, frozen, driver="BUF").split_heavy_nets() == 0


def test_long_nets_of_ports_are_split(lef: Path, drives: Drives, tmp_path: Path) -> None:
    """Of an input, behind which a cell drives it, and of an output, which keeps its name."""
    layout = star(lef, tmp_path, [(10.0, 0.0)])
    netlist = layout.netlist
    netlist.ports.append(("y", False, 2))
    layout.ports = np.array([(1400.0, 0.0), (1600.0, 1000.0)])
    wires = extract(layout, WIRE, WIRE, [])
    buffer = BufferCell(3.0, "BUF_X4", "A", "Y")
    # Behind a buffer are 470 um and the inverter's 1 fF, then 440 um and the next one's 4 fF: three
    # reach over 1350 of 1400 um; 430 um and the port's 5 fF, and four times 440, over 2190 of 2590.
    added = Repair(layout, wires, drives, buffer, [], driver="BUF").split_heavy_nets()
    assert added == 3 + 5
    assert [port[:2] for port in netlist.ports] == [("a", True), ("y", False)]
    driver = {n: p for p, n in enumerate(netlist.pin_net) if netlist.pin_drives[p]}

    def back(net: int) -> list[str]:
        """Return the cells from a net to the port."""
        cells = []
        while net in driver:
            cell = netlist.pin_cell[driver[net]]
            cells.append(netlist.kinds[cell])
            net = netlist.pin_net[netlist.first[cell]]
        assert net == netlist.ports[0][2]
        return cells

    assert back(netlist.ports[1][2]) == ["BUF_X4"] * 5 + ["INV"] * 2 + ["BUF_X4"] * 3


@pytest.mark.parametrize(("ohm", "added"), [(5.0, 0), (10.0, 1)])
def test_a_wire_that_is_slow_itself_is_split(
    ohm: float, added: int, lef: Path, drives: Drives, tmp_path: Path
) -> None:
    """A strong cell drives 51 fF in 13 ps, but 500 um of wire take 65 or 130 ps."""
    layout = star(lef, tmp_path, [(500.0, 0.0)])
    layout.netlist.kinds[0] = "INV_X4"
    wires = extract(layout, Wire(ohm, 0.1), WIRE, [])
    buffer = BufferCell(3.0, "BUF_X4", "A", "Y")
    repair = Repair(layout, wires, drives, buffer, [], driver="BUF")
    assert repair.split_heavy_nets() == added


def test_a_cell_with_a_long_wire_grows_and_one_without_does_not(
    lef: Path, drives: Drives, tmp_path: Path
) -> None:
    assert drives.sizes("INV") == ["INV", "INV_X4"]
    assert drives.sizes("DFF") == ["DFF"]
    assert drives.cells["INV"].resistance == pytest.approx(1.0, rel=0.01)  # ps a fF
    assert drives.cells["INV_X4"].resistance == pytest.approx(0.25, rel=0.01)
    assert drives.cells["INV"].delay == pytest.approx(50.0)
    assert drives.cells["INV_X4"].loads == {"A": 4.0}
    assert drives.cells["DFF"].clocks == {"C"}
    buffer = BufferCell(3.0, "BUF_X4", "A", "Y")
    layout = star(lef, tmp_path, [(300.0, 0.0)])
    wires = extract(layout, WIRE, WIRE, [])
    path = SlowPath("a", "b", -0.1, (0, 1))
    assert Repair(layout, wires, drives, buffer, [], driver="BUF").speed_up([path], 1.0) == (1, 0)
    # The second drives nothing: larger, it would only load the first.
    assert layout.netlist.kinds == ["INV_X4", "INV"]


def test_what_is_on_no_slow_path_is_put_behind_a_buffer(
    lef: Path, drives: Drives, tmp_path: Path
) -> None:
    layout = star(lef, tmp_path, [(10.0, 0.0)] * 30)
    wires = extract(layout, WIRE, WIRE, [])
    buffer = BufferCell(3.0, "BUF_X4", "A", "Y")
    path = SlowPath("a", "b", -0.1, (0, 1))
    _, shields = Repair(layout, wires, drives, buffer, [], driver="BUF").speed_up([path], 1.0)
    assert shields == 1
    netlist = layout.netlist
    driven = [netlist.pin_cell[pin] for pin, net in enumerate(netlist.pin_net) if net == 1]
    assert driven == [0, 1, 31]
