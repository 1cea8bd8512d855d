"""Wires and their SPEF file, against a computation of its own and against OpenSTA's reading."""

import re
from pathlib import Path

import numpy as np
import pytest

from dtqatten.synth.place.layout import Layout
from dtqatten.synth.place.placer import arrange, place
from dtqatten.synth.place.wires import Wire, extract, write_spef
from dtqatten.synth.tools import has_opensta, opensta

SIGNAL, CLOCK = Wire(4.0, 0.1), Wire(1.0, 0.2)


@pytest.fixture
def layout(stores, tmp_path: Path) -> Layout:
    of = stores.layout(tmp_path)
    arrange(of, tmp_path, [])
    place(of, tmp_path, ["global", "legal"], effort=1)
    return of


def places(layout: Layout) -> list[set[tuple[float, float]]]:
    """Every net's points, from the outlines; upright cells only are mirrored here."""
    netlist = layout.netlist
    found: list[set[tuple[float, float]]] = [set() for _ in range(netlist.nets)]
    for pin, net in enumerate(netlist.pin_net):
        if net < 0:
            continue
        cell = netlist.pin_cell[pin]
        outline = layout.outlines[netlist.kinds[cell]]
        name = netlist.pin_name[pin]
        for x, y in (outline.pins[name], *outline.more.get(name, ())):
            dx = outline.width - x if layout.flip[cell, 0] else x
            dy = outline.height - y if layout.flip[cell, 1] else y
            at = layout.at[cell] + (dx, dy)
            found[net].add((round(at[0], 6), round(at[1], 6)))
    for number, (_, _, net) in enumerate(netlist.ports):
        if net >= 0:
            found[net].add(tuple(np.round(layout.ports[number], 6)))
    return found


def test_loads_and_resistances_are_those_of_the_lengths(layout: Layout, tmp_path: Path) -> None:
    clock = [net for name, _, net in layout.netlist.ports if name == "clk"]
    wires = extract(layout, SIGNAL, CLOCK, clock)
    write_spef(layout, wires, tmp_path / "x.spef", "stores")
    sections = re.findall(
        r"\*D_NET (\S+) (\S+)\n(.*?)\*END", (tmp_path / "x.spef").read_text(), re.DOTALL
    )
    names = {name: net for net, name in enumerate(layout.netlist.net_names())}
    points = places(layout)
    assert sections
    checked = 0
    for name, total, body in sections:
        net = names[name]
        wire = CLOCK if net in clock else SIGNAL
        caps = [float(c) for c in re.findall(r"^\d+ \S+ (\S+)$", body.partition("*RES")[0], re.M)]
        ohms = [float(r) for r in re.findall(r"^\d+ \S+ \S+ (\S+)$", body, re.M)]
        assert sum(caps) == pytest.approx(float(total), rel=1e-3, abs=1e-4)
        length = float(total) / wire.ff
        at = np.array(sorted(points[net]))
        half = np.ptp(at, axis=0).sum()
        # Up to three points, half the perimeter is the length; else it is a lower bound.
        assert length >= half - 1e-2
        if len(at) <= 3:
            checked += 1
            assert length == pytest.approx(half, abs=1e-2)
        assert sum(ohm for ohm in ohms if ohm > 0.001) == pytest.approx(
            length * wire.ohm, rel=1e-3, abs=0.05
        )
    assert checked > 20
    # Nets of several points that have no section would be without wire.
    assert {names[name] for name, _, _ in sections} >= {
        net for net, at in enumerate(points) if len(at) > 1 and wires.points.pins[net][1:]
    }


@pytest.mark.skipif(not has_opensta(), reason="OpenSTA is not installed")
def test_opensta_reads_the_same_loads(layout: Layout, tmp_path: Path) -> None:
    wires = extract(layout, SIGNAL, CLOCK, [])
    write_spef(layout, wires, tmp_path / "x.spef", "stores")
    layout.netlist.write(tmp_path / "x.v", "stores")
    nets = [net for net in range(layout.netlist.nets) if len(wires.points.pins[net]) > 1]
    names = layout.netlist.net_names()
    reads = "".join(f"read_liberty {path.name}\n" for path in sorted(tmp_path.glob("*.lib")))
    text = opensta(
        f"{reads}read_verilog x.v\nlink_design stores\nset_cmd_units -capacitance fF\n"
        "create_clock -name c -period 1\nread_spef x.spef\n"
        + "".join(f"report_net -connections -verbose -digits 5 {names[net]}\n" for net in nets)
        + "exit\n",
        tmp_path,
        "x",
    )
    assert "Warning" not in text
    found = [float(value) for value in re.findall(r"Wire capacitance: ([\d.]+)", text, re.M)]
    assert len(found) == len(nets)
    assert found == pytest.approx([wires.loads[net] for net in nets], rel=0.02, abs=0.02)


def test_an_ideal_net_has_no_wire(layout: Layout) -> None:
    clock = [net for name, _, net in layout.netlist.ports if name == "clk"]
    wires = extract(layout, SIGNAL, CLOCK, clock, ideal=clock)
    assert wires.lengths[clock].sum() == 0.0
    assert wires.lengths.sum() > 0.0
