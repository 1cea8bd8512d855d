"""The table of registers, and what is generated from it."""

import pytest

from dtqatten.registers import (
    ADDRESS_BITS,
    REGISTERS,
    Control,
    ErrorCode,
    c_header,
    markdown,
    offset_of,
)


def test_registers_do_not_overlap_and_fit() -> None:
    words = [r.offset + 4 * i for r in REGISTERS for i in range(r.bits // 32)]
    assert len(set(words)) == len(words)
    assert max(words) < 1 << ADDRESS_BITS
    assert all(r.offset % (r.bits // 8) == 0 for r in REGISTERS)
    assert len({r.name for r in REGISTERS}) == len(REGISTERS)


def test_header_and_tables_have_everything() -> None:
    header, table = c_header(), markdown()
    for register in REGISTERS:
        assert f"#define DTQATTEN_{register.name.upper()} {register.offset:#05x}u" in header
        assert f"`{register.name}`" in table
    for code in ErrorCode:
        assert f"DTQATTEN_ERROR_{code.name} {code.value}u" in header
    assert "DTQATTEN_CONTROL_ABORT 0x4u" in header


def test_offsets_by_name() -> None:
    assert offset_of("control") == 0x40
    with pytest.raises(KeyError):
        offset_of("nothing")


def test_control_bits_are_single_bits() -> None:
    assert [bit.value for bit in Control] == [1, 2, 4, 8]
