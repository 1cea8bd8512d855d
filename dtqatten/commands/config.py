"""``dtqatten config``: what a configuration is made of, and whether a file of one is good."""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from dtqatten.commands.console import print_json, show
from dtqatten.commands.options import ConfigOption, JsonOption, StartOption, machine
from dtqatten.configuration.file import load
from dtqatten.files.errors import UsageError

__all__ = ["as_file", "check_config", "derived", "meanings", "show_config"]


def show_config(
    preset: StartOption = None,
    file: ConfigOption = None,
    as_toml: Annotated[
        bool, typer.Option("--toml", help="Print a file for --config, and nothing else.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print every field of a configuration, what it means, and the sizes that follow from it.

    Without --preset and --config it is that of preset base.

    Parameters
    ----------
    preset : str, optional
    file : Path, optional
    as_toml, as_json : bool
        At most one of them.
    """
    if as_toml and as_json:
        raise UsageError("--toml and --json both ask for nothing else: choose one")
    chosen = machine(preset, file)
    system = chosen.system()
    fields = {"": values_of(chosen.config), "system": values_of(system)}
    if as_toml:
        print(as_file(fields))
        return
    sizes = derived(chosen.config) + derived(system)
    if as_json:
        print_json(
            {
                "name": chosen.name,
                **fields[""],
                "system": fields["system"],
                "derived": {name: value for name, value, _ in sizes},
            }
        )
        return
    from rich.table import Table

    table = Table("field", "value", "meaning", title=chosen.name, title_justify="left")
    for part, source in (("", chosen.config), ("system", system)):
        says = meanings(type(source))
        for name, value in fields[part].items():
            table.add_row(f"{part}.{name}".lstrip("."), _shown(value), says[name])
    follows = Table("derived", "value", "meaning")
    for name, value, meaning in sizes:
        follows.add_row(name, str(value), meaning)
    show(table, follows)


def check_config(
    file: Annotated[Path, typer.Argument(help="TOML file of a configuration.")],
) -> None:
    """Check a configuration file: every key, value and limit."""
    read = load(file)
    show(f"{file}: good, {read.system_config(read.config())}")


def values_of(config: Any) -> dict[str, Any]:
    """Return a configuration's fields, as TOML and JSON have them."""
    found = {each.name: getattr(config, each.name) for each in dataclasses.fields(config)}
    return {
        name: value.value if hasattr(value, "value") else value
        for name, value in found.items()
        if not dataclasses.is_dataclass(value)
    }


def as_file(fields: dict[str, dict[str, Any]]) -> str:
    """Return a configuration file's text; a value of None is left out."""
    lines = []
    for part, values in fields.items():
        lines += [f"\n[{part}]"] if part else []
        for name, value in values.items():
            if value is not None:
                text = f'"{value}"' if isinstance(value, str) else _shown(value)
                lines.append(f"{name} = {text}")
    return "\n".join(lines)


def _shown(value: object) -> str:
    """Return a value as the table shows it; "-" is one that a file leaves out."""
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


def meanings(kind: type) -> dict[str, str]:
    """Return what the fields of a class mean: its docstring's section of parameters."""
    text = inspect.getdoc(kind) or ""
    section = text.split("Parameters\n----------\n")[1].split("\n\n")[0]
    found = {}
    for match in re.finditer(r"^([\w, ]+) :.*\n((?:    .*(?:\n|$))*)", section, re.MULTILINE):
        for name in match[1].split(", "):
            found[name] = " ".join(match[2].replace("``", "").split())
    return found


def derived(config: Any) -> list[tuple[str, int, str]]:
    """Return the sizes that follow from a configuration: name, value and meaning."""
    found = []
    for name, each in list(vars(type(config)).items()):
        if isinstance(each, property) and isinstance(value := getattr(config, name), int):
            meaning = (inspect.getdoc(each) or "").split("\n\n")[0]
            found.append((name, value, " ".join(meaning.replace("``", "").split())))
    return found
