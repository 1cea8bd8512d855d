"""Presets and configurations with some fields changed."""

import math
from numbers import Integral
from typing import Any

from dtqatten.configuration.core import PRESETS, Config
from dtqatten.configuration.fields import ConfigError

__all__ = ["changed", "configured"]


def configured(preset: str, **changes: Any) -> Config:
    """Return a preset with some fields changed, as of :func:`changed`.

    Parameters
    ----------
    preset : str
    **changes
        Fields of :class:`Config`.

    Raises
    ------
    ConfigError
        If there is no such preset, or a value is impossible.
    """
    if preset not in PRESETS:
        raise ConfigError(f"no preset {preset!r}: choose one of {', '.join(PRESETS)}")
    return changed(PRESETS[preset], **changes)


def changed(config: Config, **changes: Any) -> Config:
    """Return a configuration with some fields changed.

    A preset's ``value_depth`` suits only its ``depth``, its ``normalizer_lanes`` only its ``cols``:
    where ``depth`` or ``cols`` is changed alone, the other one gets its default. ``pod_cols`` gets
    the largest of its divisors that divides ``cols``.

    Raises
    ------
    ConfigError
        If a value is impossible.
    """
    for changed_alone, suited in (("depth", "value_depth"), ("cols", "normalizer_lanes")):
        if changed_alone in changes:
            changes = {suited: None, **changes}
    cols = changes.get("cols")
    if isinstance(cols, Integral) and int(cols) > 0:
        changes = {"pod_cols": math.gcd(int(cols), config.pod_cols), **changes}
    return config.replace(**changes)
