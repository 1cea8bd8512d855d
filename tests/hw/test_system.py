# amaranth: UnusedElaboratable=no
"""The system's ports are those that its docs list for an integrator."""

import re
from pathlib import Path

import pytest

from dtqatten import PRESETS
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.system import System
from dtqatten.sim.engines.exported import exported

DOCS = Path(__file__).parents[2] / "docs" / "system.md"


def documented(system: SystemConfig) -> dict[str, tuple[str, int]]:
    """Return direction and bits of each port in the table."""
    table = DOCS.read_text().split("## Ports")[1].split("**Reset.**")[0]
    sizes = {
        "`address_bits`": system.address_bits,
        "`bus_bits`": system.bus_bits,
        "`bus_bits / 8`": system.bus_bits // 8,
    }
    found = {}
    for row in re.findall(r"^\| (`.+?) \| (in|out) \| (.+?) \|", table, re.MULTILINE):
        names, direction, bits = row
        for name in re.findall(r"`(\w+)`", names):
            assert name not in found
            found[name] = (direction, sizes[bits] if bits in sizes else int(bits))
    return found


@pytest.mark.parametrize(("bus_bits", "address_bits"), [(128, 40), (64, 32)])
def test_the_table_of_ports_is_the_verilog(bus_bits, address_bits) -> None:
    system = SystemConfig(core=PRESETS["tiny"], bus_bits=bus_bits, address_bits=address_bits)
    text = exported("system", System, system)
    (top,) = re.findall(r"^module dtqatten_system\(.*?^endmodule", text, re.MULTILINE | re.DOTALL)
    ports = {
        name: (f"{direction}", int(high or 0) + 1)
        for direction, high, name in re.findall(
            r"^  (in|out)put (?:\[(\d+):0\] )?(\w+);", top, re.MULTILINE
        )
    }
    assert ports == documented(system)
