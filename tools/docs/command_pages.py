"""The reference page of the command line, from the commands themselves."""

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from dtqatten.cli import app

__all__ = ["commands", "page"]


def page() -> str:
    """Return all commands with their arguments and options."""
    group: Any = typer.main.get_command(app)
    lines = [
        "# Commands",
        "",
        f"{group.help} `dtqatten COMMAND --help` says the same in a terminal.",
        "",
        "A command exits with 0 if all is well, with 1 if it ran and failed, and with 2 if it",
        "cannot run as asked.",
    ]
    for name, command in commands("dtqatten", group):
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(command.collect_usage_pieces(context))
        text = re.sub(r"``([^`]*)``", r"`\1`", (command.help or "").strip())
        lines += ["", f"## {name}", "", text, "", "```text", f"{name} {usage}", "```"]
        lines += _parameters(command, context)
    return "\n".join(lines) + "\n"


def commands(name: str, group: Any) -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group by what is typed, those of its groups in their places."""
    for part, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(f"{name} {part}", command)
        else:
            yield f"{name} {part}", command


def _parameters(command: Any, context: Any) -> list[str]:
    """Return the table of a command's parameters, from what its help says of them."""
    records = [param.get_help_record(context) for param in command.get_params(context)]
    rows = [_row(*record) for record in records if record is not None]
    return ["", "| parameter | value | meaning |", "|---|---|---|", *rows]


def _row(names: str, meaning: str) -> str:
    """Return a parameter's row of the table."""
    name, _, kind = names.partition(" <")
    kinds = kind.removesuffix(">").split("|") if kind else []
    value = ", ".join(f"`{one}`" for one in kinds if one)
    parts = re.sub(r"[^,/ ]+", r"`\g<0>`", name)
    return f"| {parts} | {value} | {' '.join(meaning.split())} |".replace("  ", " ")
