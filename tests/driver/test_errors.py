"""Exceptions of the driver: one for each error code."""

import pytest

from dtqatten.driver.errors import EXCEPTIONS, DeviceError, error_of
from dtqatten.interface.registers import ErrorCode


def test_every_code_has_a_class_with_a_reason() -> None:
    assert set(EXCEPTIONS) == set(ErrorCode) - {ErrorCode.NONE}
    assert len({cls.__name__ for cls in EXCEPTIONS.values()}) == len(EXCEPTIONS)
    assert all(issubclass(cls, DeviceError) and cls.__doc__ for cls in EXCEPTIONS.values())


def test_the_message_names_code_address_and_progress() -> None:
    error = error_of(12, 0xABC0, 3)
    assert type(error) is EXCEPTIONS[ErrorCode.READ_WINDOW]
    assert type(error).__name__ == "ReadWindowError"
    assert str(error).startswith("READ_WINDOW at 0xabc0, after 3 complete layers: the region there")
    with pytest.raises(ValueError, match="99"):
        error_of(99, 0, 0)
