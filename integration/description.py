"""One line that says what a block is, for catalogues of cores."""

import dataclasses
from typing import Any

from amaranth.lib import wiring

from dtqatten.configuration.system import SystemConfig

__all__ = ["description"]


def description(component: wiring.Component, system: SystemConfig | None) -> str:
    """Return what a block is, and the sizes that it has, if it has any.

    Parameters
    ----------
    component : Component
    system : SystemConfig, optional
        If the block is the machine on its bus.
    """
    sizes: Any = system if system is not None else getattr(component, "config", None)
    parts = ["dtqatten attention accelerator"]
    if isinstance(sizes, SystemConfig):
        parts += _fields(sizes.core)
    return ", ".join(parts + _fields(sizes))


def _fields(sizes: Any) -> list[str]:
    """Return names and values of a configuration's fields, but for another configuration."""
    if not dataclasses.is_dataclass(sizes):
        return []
    values = [(field.name, getattr(sizes, field.name)) for field in dataclasses.fields(sizes)]
    return [f"{name} {value}" for name, value in values if not dataclasses.is_dataclass(value)]
