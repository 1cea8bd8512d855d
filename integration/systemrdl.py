"""The registers in SystemRDL 2.0, for tools that make drivers, models and documents of it."""

from collections.abc import Iterator

from dtqatten import __version__
from dtqatten.configuration.system import SystemConfig
from dtqatten.integration.register_fields import Described, RegisterField, described_registers
from dtqatten.interface.registers import Access

__all__ = ["systemrdl"]

#: Properties of a field by how software uses its register. The machine clears what acts once, and
#: sets what software clears.
PROPERTIES = {
    Access.READ: "sw = r; hw = w;",
    Access.WRITE: "sw = rw; hw = r;",
    Access.PULSE: "sw = w; hw = r; singlepulse;",
    Access.CLEAR: "sw = rw; onwrite = woclr; hw = r; hwset;",
}
#: Of one that never changes.
CONSTANT = "sw = r; hw = na;"


def systemrdl(system: SystemConfig, name: str) -> str:
    """Return the address map of a machine's AXI4-Lite port.

    Parameters
    ----------
    system : SystemConfig
    name : str
        Of the address map.
    """
    registers = list(described_registers(system))
    lines = [
        f"// dtqatten {__version__}, `dtqatten verilog --package`: registers of {name}",
        f"// {system}",
        "// SPDX-License-Identifier: Apache-2.0",
        *(line for each in registers for line in _values(each)),
        f"addrmap {name} {{",
        "    littleendian;",
        f"    desc = {_text('AXI4-Lite port of a dtqatten attention accelerator')};",
        "    default accesswidth = 32;",
        *(line for each in registers for line in _register(each)),
        "};",
    ]
    return "\n".join(lines) + "\n"


def _text(words: str) -> str:
    """Return a string of SystemRDL."""
    return '"' + words.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _values(each: Described) -> Iterator[str]:
    """Yield the enumerations of a register's values."""
    for field in each.fields:
        if field.values:
            yield f"enum {each.register.name}_e {{"
            for value in field.values:
                number = f"{field.bits}'h{int(value):x}"
                yield f"    {value.name} = {number} {{ desc = {_text(value.meaning)}; }};"
            yield "};"


def _register(each: Described) -> Iterator[str]:
    register = each.register
    yield "    reg {"
    yield f"        regwidth = {register.bits};"
    yield f"        desc = {_text(each.meaning)};"
    for field in each.fields:
        yield f"        field {{ {_properties(each, field)} }} {_place(field)};"
    yield f"    }} {register.name} @ {register.offset:#05x};"


def _properties(each: Described, field: RegisterField) -> str:
    kind = CONSTANT if each.constant else PROPERTIES[each.register.access]
    encoded = f" encode = {each.register.name}_e;" if field.values else ""
    return f"{kind} desc = {_text(field.meaning)};{encoded}"


def _place(field: RegisterField) -> str:
    high = field.low + field.bits - 1
    return f"{field.name}[{high}:{field.low}] = {field.bits}'h{field.reset:x}"
