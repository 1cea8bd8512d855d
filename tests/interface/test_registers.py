"""The table of registers."""

import pytest

from dtqatten.interface.registers import (
    ADDRESS_BITS,
    REGISTERS,
    Control,
    Interrupt,
    offset_of,
)


def test_registers_do_not_overlap_and_fit() -> None:
    words = [r.offset + 4 * i for r in REGISTERS for i in range(r.bits // 32)]
    assert len(set(words)) == len(words)
    assert max(words) < 1 << ADDRESS_BITS
    assert all(r.offset % (r.bits // 8) == 0 for r in REGISTERS)
    assert len({r.name for r in REGISTERS}) == len(REGISTERS)


def test_offsets_by_name() -> None:
    assert offset_of("control") == 0x40
    with pytest.raises(KeyError):
        offset_of("nothing")


def test_control_bits_are_single_bits() -> None:
    assert [bit.value for bit in Control] == [1, 2, 4, 8]


def test_after_reset_no_window_is_open() -> None:
    init = {register.name: register.init for register in REGISTERS if register.init}
    assert init == {
        "read_base": 0x1000,
        "read_limit": 0xFFF,
        "write_base": 0x1000,
        "write_limit": 0xFFF,
    }


def test_bits_that_may_be_written() -> None:
    flags = {register.name: register.flags for register in REGISTERS if register.flags}
    assert flags == {
        "control": Control,
        "interrupt_enable": Interrupt,
        "interrupt": Interrupt,
    }
