"""Flat netlists: what modules dissolve into, and what is written of them."""

import json
from pathlib import Path

import pytest

from dtqatten.synth.place.netlist import Flattener, Netlist
from dtqatten.synth.tools import SynthError, yosys

BLACK = {"blackbox": "1"}


def port(way: str, *bits: int | str) -> dict:
    return {"direction": way, "bits": list(bits)}


def cell(kind: str, **connections: int | str) -> dict:
    return {"type": kind, "connections": {pin: [bit] for pin, bit in connections.items()}}


INV = {"attributes": BLACK, "ports": {"A": port("input", 2), "Y": port("output", 3)}, "cells": {}}


def test_ports_of_modules_that_share_a_net_make_one_of_two() -> None:
    """A module whose output is its input, one whose output is constant."""
    modules = {
        "INV": INV,
        "through": {
            "ports": {"i": port("input", 2), "o": port("output", 2), "one": port("output", "1")},
            "cells": {},
        },
        "top": {
            "ports": {"a": port("input", 2), "y": port("output", 6, 5)},
            "cells": {
                "part": cell("through", i=2, o=4, one=5),
                "gate": cell("INV", A=4, Y=6),
            },
        },
    }
    flat = Flattener(modules).flatten("top")
    assert flat.kinds == ["INV"]
    assert flat.names == ["gate"]
    (a, y0, y1) = flat.ports
    assert a == ("a", True, flat.pin_net[0])
    assert y0 == ("y[0]", False, flat.pin_net[1])
    assert y1 == ("y[1]", False, -2)
    assert flat.nets == 2


def test_a_short_of_constants_and_an_unknown_cell_are_refused() -> None:
    through = {"ports": {"i": port("input", 2), "o": port("output", 2)}, "cells": {}}
    top = {"ports": {}, "cells": {"part": cell("through", i="0", o="1")}}
    with pytest.raises(SynthError, match="ties a constant to another one"):
        Flattener({"through": through, "top": top}).flatten("top")
    with pytest.raises(SynthError, match="has a GONE, which is in no library"):
        Flattener({"top": {"ports": {}, "cells": {"x": cell("GONE")}}}).flatten("top")
    both = {"ports": {"x": port("inout", 2)}, "cells": {}}
    with pytest.raises(SynthError, match="port x of both directions"):
        Flattener({"top": both}).flatten("top")


def test_every_net_has_one_port(adders, tmp_path: Path) -> None:
    """`z` and `copy` share nets with other ports: buffers part them."""
    netlist: Netlist = adders.layout(tmp_path).netlist
    buffers = [name for name in netlist.names if name.startswith("port/")]
    assert sorted(buffers) == sorted(
        [f"port/{name}[{i}]" for name in ("copy", "z") for i in range(8)]
    )
    nets = [net for _, _, net in netlist.ports if net >= 0]
    assert len(set(nets)) == len(nets)
    assert [net for name, _, net in netlist.ports if name == "one"] == [-2]


def test_the_written_netlist_does_what_the_mapped_one_does(adders, tmp_path: Path) -> None:
    """Proved by Yosys; ports have numbers in the one, names in the other."""
    netlist: Netlist = adders.layout(tmp_path).netlist
    netlist.write(tmp_path / "flat.v", "flat")
    ports = ", ".join(f".p{i}({name})" for i, (name, _, _) in enumerate(netlist.ports))
    wide = "input clk, rst, input [7:0] a, b, output [7:0] y, z, copy, output one"
    (tmp_path / "wrapped.v").write_text(f"module wrapped({wide}); flat inside({ports}); endmodule")
    library = json.loads((tmp_path / "cells.json").read_text())["modules"]
    assert library
    yosys(
        """read_liberty -ignore_miss_func cells_0.lib
read_verilog netlist.v
read_verilog flat.v
read_verilog wrapped.v
hierarchy -check
flatten -noscopeinfo
splitnets -ports
async2sync
equiv_make adders wrapped proof
hierarchy -top proof
equiv_simple -undef
equiv_induct -undef
equiv_status -assert
""",
        tmp_path,
        "equivalent",
    )
