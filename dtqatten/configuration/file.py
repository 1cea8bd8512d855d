"""Configurations in TOML files."""

import dataclasses
import difflib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtqatten.configuration.changes import changed, configured
from dtqatten.configuration.core import PRESETS, Config, ConfigError
from dtqatten.configuration.system import SystemConfig

__all__ = ["CORE", "SYSTEM", "ConfigFile", "load"]

#: Keys of the file: a configuration's fields.
CORE = tuple(each.name for each in dataclasses.fields(Config))

#: Keys of its table ``[system]``.
SYSTEM = tuple(each.name for each in dataclasses.fields(SystemConfig) if each.name != "core")


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """What a file says; everything else is the preset's.

    Attributes
    ----------
    path : Path
    preset : str or None
        What the configuration starts from; without one, ``rows``, ``cols`` and ``depth`` are given.
    core, system : mapping
        Fields of ``Config`` and ``SystemConfig`` that are given.
    """

    path: Path
    preset: str | None = None
    core: Mapping[str, Any] = field(default_factory=dict)
    system: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the machine: the file's, without its suffix."""
        return self.path.stem

    def config(self, preset: str | None = None, **changes: Any) -> Config:
        """Return the core's configuration.

        Parameters
        ----------
        preset : str, optional
            Start from this one, in place of the file's own.
        **changes
            Fields that win over the file's. ``depth`` alone sets ``value_depth`` too, as
            :func:`~dtqatten.configuration.changes.configured` has it.

        Raises
        ------
        ConfigError
            If a value is impossible; the message names file, key, value and limit.
        """
        start = preset or self.preset
        try:
            if start is not None:
                config = configured(start, **self.core)
            elif missing := [key for key in ("rows", "cols", "depth") if key not in self.core]:
                raise ConfigError(
                    f"{', '.join(missing)} missing: give a value, or a preset to start from "
                    f"({', '.join(PRESETS)})"
                )
            else:
                config = Config(**self.core)
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}") from None
        return changed(config, **changes)

    def system_config(self, core: Config, **changes: Any) -> SystemConfig:
        """Return a core on the bus that the file describes.

        Parameters
        ----------
        core : Config
        **changes
            Fields that win over the file's.

        Raises
        ------
        ConfigError
            If a value is impossible.
        """
        try:
            system = SystemConfig(core=core, **self.system)
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}") from None
        return dataclasses.replace(system, **changes)


def load(path: Path) -> ConfigFile:
    """Read a file and check every key and value in it.

    Raises
    ------
    ConfigError
        If the file cannot be read, has a key that there is not, or a value that is impossible;
        the message names file, key, value and limit.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from None
    if path.stem in tuple(PRESETS):
        raise ConfigError(f"{path} is called like preset {path.stem}: give the file another name")
    preset, system = content.pop("preset", None), content.pop("system", {})
    if preset is not None and preset not in tuple(PRESETS):
        raise ConfigError(f"{path}: preset is {preset!r}: choose one of {', '.join(PRESETS)}")
    if not isinstance(system, dict):
        raise ConfigError(f"{path}: system is {system!r}: make it a table, [system]")
    _refuse_unknown(path, "", content, ("preset", *CORE, "system"))
    _refuse_unknown(path, "[system] ", system, SYSTEM)
    found = ConfigFile(path=path, preset=preset, core=content, system=system)
    found.system_config(found.config())
    return found


def _refuse_unknown(
    path: Path, table: str, content: Mapping[str, Any], known: Collection[str]
) -> None:
    """Refuse keys that there are not.

    Parameters
    ----------
    path : Path
    table : str
        Where they are, for the message.
    content : mapping
    known : collection of str
        Keys that there are.
    """
    for key in content:
        if key in known:
            continue
        if not table and key in SYSTEM:
            raise ConfigError(f"{path}: {key} belongs into the table [system]: put it there")
        near = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"{path}: no key {table}{key}: {hint}choose of {', '.join(known)}")
