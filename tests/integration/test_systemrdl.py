"""SystemRDL as PeakRDL's compiler reads it, against the table of registers."""

from pathlib import Path
from typing import Any

from systemrdl import RDLCompiler
from systemrdl.node import FieldNode, RegNode
from systemrdl.rdltypes import OnWriteType

from dtqatten.configuration.system import SystemConfig
from dtqatten.interface.registers import REGISTERS, Access, Interrupt, Register, Status

#: Names of a register's bits, where it has any.
BITS = {"status": Status, "interrupt": Interrupt, "interrupt_enable": Interrupt}


def compiled(path: Path) -> dict[str, RegNode]:
    compiler = RDLCompiler()
    compiler.compile_file(str(path))
    top = compiler.elaborate().top
    assert top.inst_name == "dtqatten_system"
    return {node.inst_name: node for node in top.children() if isinstance(node, RegNode)}


def fields(node: RegNode) -> dict[str, FieldNode]:
    return {field.inst_name: field for field in node.fields()}


def check_access(register: Register, field: Any) -> None:
    readable = register.access is not Access.PULSE
    assert (field.is_sw_readable, field.is_sw_writable) == (
        readable,
        register.access is not Access.READ,
    )
    cleared = OnWriteType.woclr if register.access is Access.CLEAR else None
    assert field.get_property("onwrite") == cleared
    assert field.get_property("singlepulse") == (register.access is Access.PULSE)


def test_registers_are_those_of_the_table(system_package: Path) -> None:
    found = compiled(system_package / "dtqatten_system.rdl")
    assert list(found) == [register.name for register in REGISTERS]
    for register in REGISTERS:
        node = found[register.name]
        assert node.absolute_address == register.offset
        assert node.get_property("regwidth") == register.bits
        assert node.get_property("accesswidth") == 32
        assert node.get_property("desc").startswith(register.meaning)
        assert ("busy are ignored" in node.get_property("desc")) == register.locked
        for field in node.fields():
            check_access(register, field)


def test_bits_are_those_that_software_writes_and_reads(system_package: Path) -> None:
    found = compiled(system_package / "dtqatten_system.rdl")
    for name, bits in BITS.items():
        assert {field: node.low for field, node in fields(found[name]).items()} == {
            bit.name: bit.bit_length() - 1 for bit in bits
        }
    assert {field: node.low for field, node in fields(found["control"]).items()} == {
        "START": 0,
        "RESUME": 1,
        "ABORT": 2,
        "CLEAR_COUNTERS": 3,
    }
    (whole,) = fields(found["error_address"]).values()
    assert (whole.low, whole.high) == (0, 63)
    codes = fields(found["error_code"])["value"].get_property("encode")
    values = {code.name: code.value for code in codes.members.values()}
    assert (values["PROTECTED"], values["READ_RESPONSE"], len(values)) == (27, 15, 33)
    assert all(node.width == 1 for node in fields(found["flags"]).values())


def test_values_after_reset(system_package: Path, machine: SystemConfig) -> None:
    found = compiled(system_package / "dtqatten_system.rdl")
    reset = {
        name: sum(field.get_property("reset") << field.low for field in node.fields())
        for name, node in found.items()
    }
    assert {name: value for name, value in reset.items() if value} == {
        "id": int.from_bytes(b"DTQA"[::-1], "big"),
        "version": 3,
        "rows": 2,
        "cols": 2,
        "depth": 4,
        "d_head": 8,
        "n_max": 6,
        "heads": 2,
        "bus_bits": 64,
        "flags": reset["flags"],
        "planes": 2,
        "value_depth": 4,
        "address_bits": 40,
        "capacity": 6,
        "read_base": 0x1000,
        "read_limit": 0xFFF,
        "write_base": 0x1000,
        "write_limit": 0xFFF,
    }
    # CHAINED and CAUSAL are there in every machine.
    assert reset["flags"] & 0b11 == 0b11
