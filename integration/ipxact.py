"""IP-XACT (IEEE 1685-2014): a block's ports, files, bus interfaces and registers."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from amaranth.lib import wiring

from dtqatten import __version__
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import flat_ports
from dtqatten.hw.bus.axi import LITE_PREFIX, MASTER_PREFIX
from dtqatten.integration.description import description
from dtqatten.integration.register_fields import Described, RegisterField, described_registers
from dtqatten.interface.registers import ADDRESS_BITS, Access

__all__ = ["VENDOR", "ipxact"]

#: Vendor and library of what is described.
VENDOR = "dtqatten"
NAMESPACE = "http://www.accellera.org/XMLSchema/IPXACT/1685-2014"
#: Bus definitions are those that Vivado knows, which other tools know, too.
BUS_VENDOR = "xilinx.com"

#: How software uses a field; what a write of 1 does.
ACCESS = {
    Access.READ: "read-only",
    Access.WRITE: "read-write",
    Access.PULSE: "write-only",
    Access.CLEAR: "read-write",
}

Tree = ElementTree.Element


@dataclass(frozen=True)
class _Bus:
    """A bus interface: its definition and abstraction, ports by their names in that, its role."""

    name: str
    library: str
    kind: str
    ports: Mapping[str, str]
    role: Tree
    parameters: Mapping[str, str]


def _tree(tag: str, *inside: Tree | str | None, **attributes: str) -> Tree:
    """Return an element with text or elements in it; None is left out."""
    element = ElementTree.Element(f"{{{NAMESPACE}}}{tag}", attributes)
    for each in inside:
        if isinstance(each, str):
            element.text = each
        elif each is not None:
            element.append(each)
    return element


def _all(tag: str, inside: Iterable[Tree]) -> Tree | None:
    """Return an element that holds others, or None if there are none: it may not be empty."""
    found = list(inside)
    return _tree(tag, *found) if found else None


def ipxact(
    component: wiring.Component,
    top: str,
    files: Sequence[str],
    system: SystemConfig | None = None,
) -> str:
    """Return the description of a block as an IP-XACT component.

    Parameters
    ----------
    component : Component
    top : str
        Its module.
    files : sequence of str
        Its Verilog.
    system : SystemConfig, optional
        If the block is the machine on its bus: its AXI interfaces, interrupt and registers are
        described, too.
    """
    ElementTree.register_namespace("ipxact", NAMESPACE)
    names = [name for name, _, _ in flat_ports(component.signature, component)]
    others = list(getattr(component, "clocked", {}))
    root = _tree(
        "component",
        _tree("vendor", VENDOR),
        _tree("library", VENDOR),
        _tree("name", top),
        _tree("version", __version__),
        _all("busInterfaces", map(_interface, _buses(names, system, others))),
        None if system is None else _tree("addressSpaces", _address_space(system)),
        None if system is None else _tree("memoryMaps", _memory_map(system)),
        _model(component, top),
        _tree("fileSets", _file_set(files)),
        _tree("description", description(component, system)),
    )
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    licence = "<!-- SPDX-License-Identifier: Apache-2.0 -->"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{licence}\n{text}\n'


def _buses(
    names: Sequence[str], system: SystemConfig | None, others: Sequence[str]
) -> Iterable[_Bus]:
    """Yield the interfaces of a block with ports of these names.

    Parameters
    ----------
    names : sequence of str
    system : SystemConfig, optional
    others : sequence of str
        Interfaces with a clock and a reset of their own.
    """
    axi = [] if system is None else [MASTER_PREFIX, LITE_PREFIX]
    common = [name for name in (prefix.rstrip("_") for prefix in axi) if name not in others]
    for start, buses in (("", common), *((f"{name}_", [name]) for name in others)):
        clock, reset = f"{start}clk", f"{start}rst"
        clocked = {"ASSOCIATED_RESET": reset}
        if buses:
            clocked["ASSOCIATED_BUSIF"] = ":".join(buses)
        yield _Bus(clock, "signal", "clock", {"CLK": clock}, _tree("slave"), clocked)
        high = {"POLARITY": "ACTIVE_HIGH"}
        yield _Bus(reset, "signal", "reset", {"RST": reset}, _tree("slave"), high)
    if system is None:
        return
    irq = {"SENSITIVITY": "LEVEL_HIGH"}
    yield _Bus("irq", "signal", "interrupt", {"INTERRUPT": "irq"}, _tree("master"), irq)
    roles = (
        _tree("master", _tree("addressSpaceRef", addressSpaceRef="memory")),
        _tree("slave", _tree("memoryMapRef", memoryMapRef="registers")),
    )
    for prefix, role, protocol in zip(axi, roles, ("AXI4", "AXI4LITE"), strict=True):
        ports = {name.removeprefix(prefix).upper(): name for name in names if prefix in name}
        yield _Bus(prefix.rstrip("_"), "interface", "aximm", ports, role, {"PROTOCOL": protocol})


def _reference(tag: str, library: str, name: str) -> Tree:
    return _tree(tag, vendor=BUS_VENDOR, library=library, name=name, version="1.0")


def _interface(bus: _Bus) -> Tree:
    mapped = (
        _tree(
            "portMap",
            _tree("logicalPort", _tree("name", logical)),
            _tree("physicalPort", _tree("name", physical)),
        )
        for logical, physical in bus.ports.items()
    )
    return _tree(
        "busInterface",
        _tree("name", bus.name),
        _reference("busType", bus.library, bus.kind),
        _tree(
            "abstractionTypes",
            _tree(
                "abstractionType",
                _reference("abstractionRef", bus.library, f"{bus.kind}_rtl"),
                _tree("portMaps", *mapped),
            ),
        ),
        bus.role,
        _all("parameters", (_parameter(bus, *each) for each in bus.parameters.items())),
    )


def _parameter(bus: _Bus, name: str, value: str) -> Tree:
    return _tree(
        "parameter",
        _tree("name", name),
        _tree("value", value),
        parameterId=f"{bus.name}_{name}",
        type="string",
    )


def _address_space(system: SystemConfig) -> Tree:
    return _tree(
        "addressSpace",
        _tree("name", "memory"),
        _tree("range", f"{1 << system.address_bits:#x}"),
        _tree("width", str(system.bus_bits)),
        _tree("addressUnitBits", "8"),
    )


def _memory_map(system: SystemConfig) -> Tree:
    block = _tree(
        "addressBlock",
        _tree("name", "registers"),
        _tree("baseAddress", "0x0"),
        _tree("range", f"{1 << ADDRESS_BITS:#x}"),
        _tree("width", "32"),
        _tree("usage", "register"),
        *map(_register, described_registers(system)),
    )
    return _tree("memoryMap", _tree("name", "registers"), block, _tree("addressUnitBits", "8"))


def _register(each: Described) -> Tree:
    register = each.register
    return _tree(
        "register",
        _tree("name", register.name),
        _tree("description", each.meaning),
        _tree("addressOffset", f"{register.offset:#05x}"),
        _tree("size", str(register.bits)),
        _tree("volatile", str(each.volatile).lower()),
        *(_field(each, field) for field in each.fields),
    )


def _field(each: Described, field: RegisterField) -> Tree:
    access = each.register.access
    named = (
        _tree(
            "enumeratedValue",
            _tree("name", str(value.name)),
            _tree("description", value.meaning),
            _tree("value", f"{int(value):#x}"),
        )
        for value in field.values
    )
    return _tree(
        "field",
        _tree("name", field.name),
        _tree("description", field.meaning),
        _tree("bitOffset", str(field.low)),
        _tree("resets", _tree("reset", _tree("value", f"{field.reset:#x}"))),
        _tree("bitWidth", str(field.bits)),
        _tree("access", ACCESS[access]),
        _all("enumeratedValues", named),
        _tree("modifiedWriteValue", "oneToClear") if access is Access.CLEAR else None,
    )


def _model(component: wiring.Component, top: str) -> Tree:
    clocks = ["", *(f"{domain}_" for domain in getattr(component, "clocked", {}))]
    ports = [(start + name, "in", 1) for start in clocks for name in ("clk", "rst")]
    for name, flow, value in flat_ports(component.signature, component):
        ports.append((name, "in" if flow is wiring.In else "out", len(value)))
    return _tree(
        "model",
        _tree(
            "views",
            _tree(
                "view",
                _tree("name", "rtl"),
                _tree("componentInstantiationRef", "verilog"),
            ),
        ),
        _tree(
            "instantiations",
            _tree(
                "componentInstantiation",
                _tree("name", "verilog"),
                _tree("language", "verilog"),
                _tree("moduleName", top),
                _tree("fileSetRef", _tree("localName", "rtl")),
            ),
        ),
        _tree("ports", *(_port(*port) for port in ports)),
    )


def _port(name: str, direction: str, bits: int) -> Tree:
    vectors = None
    if bits > 1:
        ends = (_tree("left", str(bits - 1)), _tree("right", "0"))
        vectors = _tree("vectors", _tree("vector", *ends))
    wire = _tree("wire", _tree("direction", direction), vectors)
    return _tree("port", _tree("name", name), wire)


def _file_set(files: Sequence[str]) -> Tree:
    listed = (
        _tree("file", _tree("name", name), _tree("fileType", "verilogSource")) for name in files
    )
    return _tree("fileSet", _tree("name", "rtl"), *listed)
