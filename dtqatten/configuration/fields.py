"""Checks of configuration fields: one place, one form of refusal."""

import enum
from collections.abc import Collection
from numbers import Integral
from typing import Any

import numpy as np

from dtqatten.files.errors import UsageError

__all__ = ["ConfigError", "boolean", "instance", "integer", "member", "one_of", "power_of_two"]


class ConfigError(UsageError):
    """A configuration value that cannot work; the message names value, limit and way out."""


def integer(config: Any, name: str, low: int, high: int, *, optional: bool = False) -> None:
    """Check a field and keep it as an ``int``.

    Parameters
    ----------
    config : frozen dataclass
    name : str
    low, high : int
        Smallest and largest value.
    optional : bool
        None is left alone.

    Raises
    ------
    ConfigError
        If it holds no integer, of Python or NumPy, or one out of range.
    """
    if optional and getattr(config, name) is None:
        return
    number = _number(config, name, f"choose one in {low}..{high}" + ", or None" * optional)
    if not low <= number <= high:
        raise ConfigError(
            f"{name} is {number}, outside {low}..{high}: choose a value in that range"
        )


def one_of(config: Any, name: str, choices: Collection[int], way_out: str) -> None:
    """Check that a field is one of some integers, and keep it as an ``int``.

    Parameters
    ----------
    config : frozen dataclass
    name : str
    choices : collection of int
    way_out : str
        What the message suggests.

    Raises
    ------
    ConfigError
        If it holds anything else, with the way out.
    """
    number = _number(config, name, way_out)
    if number not in choices:
        raise ConfigError(f"{name} is {number}: {way_out}")


def power_of_two(config: Any, name: str, low: int, high: int, *, optional: bool = False) -> None:
    """Check that a field is a power of two, and keep it as an ``int``.

    Parameters
    ----------
    config : frozen dataclass
    name : str
    low, high : int
        Smallest and largest value, powers of two.
    optional : bool
        None is left alone.

    Raises
    ------
    ConfigError
        If it holds anything else.
    """
    integer(config, name, low, high, optional=optional)
    value = getattr(config, name)
    if value is not None and value & (value - 1):
        down = 1 << value.bit_length() - 1
        raise ConfigError(f"{name} is {value}, not a power of two: use {down} or {2 * down}")


def boolean(config: Any, name: str) -> None:
    """Check a field and keep it as a ``bool``.

    Raises
    ------
    ConfigError
        If it holds anything but a truth value of Python or NumPy; 0 and 1 are not accepted.
    """
    value = getattr(config, name)
    if not isinstance(value, bool | np.bool_):
        raise ConfigError(f"{name} is {value!r}: choose True or False")
    _keep(config, name, bool(value))


def member(config: Any, name: str, kind: type[enum.Enum]) -> None:
    """Check a field and keep it as a member of an enumeration, which may be given by its value.

    Raises
    ------
    ConfigError
        If it holds neither a member nor the value of one.
    """
    value = getattr(config, name)
    try:
        _keep(config, name, kind(value))
    except ValueError:
        choices = ", ".join(str(each.value) for each in kind)
        raise ConfigError(f"{name} is {value!r}: choose one of {choices}") from None


def instance(config: Any, name: str, kind: type, way_out: str) -> None:
    """Check that a field holds an object of a class.

    Parameters
    ----------
    config : dataclass
    name : str
    kind : type
    way_out : str
        What the message suggests.

    Raises
    ------
    ConfigError
        If it does not, with the way out.
    """
    value = getattr(config, name)
    if not isinstance(value, kind):
        raise ConfigError(f"{name} is {value!r}: {way_out}")


def _number(config: Any, name: str, way_out: str) -> int:
    """Return a field's integer, and keep it as an ``int``."""
    value = getattr(config, name)
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ConfigError(f"{name} must be an integer, not {value!r}: {way_out}")
    _keep(config, name, int(value))
    return int(value)


def _keep(config: Any, name: str, value: object) -> None:
    """Set a field of a frozen dataclass."""
    object.__setattr__(config, name, value)
