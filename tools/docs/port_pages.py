"""The reference pages of ports and payloads, from the components' own signatures."""

import functools
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data, stream, wiring
from markup import markdown

from dtqatten import PRESETS
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.port_list import bit_range, direction, fields
from dtqatten.hw.blocks import Block, build

__all__ = ["Port", "page", "ports"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Port:
    """A port of a module: ``layout`` of its bits, if it has fields, by the function ``made_by``."""

    name: str
    direction: str
    bits: int
    meaning: str
    layout: Any = None
    made_by: str = ""


def page(preset: str) -> str:
    """Return the page of all blocks at a preset."""
    system = SystemConfig(core=PRESETS[preset])
    lines = [
        f"# Ports and payloads of `{preset}`",
        "",
        f"Blocks that `dtqatten verilog --preset {preset} --block ...` writes. Each also has `clk`",
        "and `rst`, which is synchronous and active high. A stream moves a payload in each cycle",
        "in which `valid` and `ready` are 1. Bit 0 is the lowest; of an array, element 0 is.",
        "",
        "```text",
        *re.findall(r".{1,92}(?:\s|$)", f"{system}"),
        "```",
    ]
    for block in Block:
        component = build(block, system)
        # Amaranth warns of components that are not elaborated: here the signature is all.
        component._MustUse__used = True
        summary = markdown((inspect.getdoc(component) or "").split("\n", 1)[0])
        lines += ["", f"## {block}", "", f"Module `dtqatten_{block}`. {summary}", ""]
        found = list(ports(component))
        lines += ["| port | direction | bits | meaning |", "|---|---|---|---|"]
        lines += [f"| `{p.name}` | {p.direction} | {p.bits} | {p.meaning} |" for p in found]
        for port in found:
            if port.layout is not None:
                lines += _payload(component, port)
    return "\n".join(lines) + "\n"


def ports(component: wiring.Component) -> Iterator[Port]:
    """Yield the ports of a component in the order of its signature, without clock and reset."""
    meanings = _members(component) | _bus_ports()
    for name, member in component.signature.members.items():
        kind, meaning = meanings.get(name, ("", ""))
        # What passes an input on is of its type.
        kind += meanings.get(name.removesuffix("_o") + "_i", ("", ""))[0]
        made = re.search(r"(\w+_layout)\(", kind)
        made_by = made[1] if made else ""
        if member.is_port:
            width = Shape.cast(member.shape).width
            if width:
                layout = member.shape if made_by or _has_fields(member.shape) else None
                yield Port(name, direction(member.flow), width, meaning, layout, made_by)
            continue
        signature = member.signature
        assert isinstance(signature, stream.Signature), name
        there, back = direction(member.flow), direction(member.flow.flip())
        layout = signature.members["payload"].shape
        yield Port(f"{name}__valid", there, 1, meaning)
        yield Port(f"{name}__ready", back, 1, "")
        bits = Shape.cast(layout).width
        yield Port(f"{name}__payload", there, bits, "see below", layout, made_by)


def _has_fields(shape: Any) -> bool:
    """Whether bits have names: not those of an array of numbers."""
    if isinstance(shape, data.ArrayLayout):
        return _has_fields(shape.elem_shape)
    return isinstance(shape, data.Layout)


def _payload(component: wiring.Component, port: Port) -> list[str]:
    """Return the section of a port with fields: what its layout's docstring says, and a table."""
    maker = getattr(sys.modules[type(component).__module__], port.made_by, None)
    text = markdown(inspect.getdoc(maker) or "") if maker is not None else ""
    lines = ["", f"**`{port.name}`** {text}", "", "| bits | field | type |", "|---|---|---|"]
    for name, low, width, kind in fields(port.layout):
        lines.append(f"| {bit_range(low, width)} | `{name}` | {kind} |")
    return lines


@functools.cache
def _bus_ports() -> dict[str, tuple[str, str]]:
    """Return the meanings of the ports of the buses, from the table for integrators."""
    text = (ROOT / "docs" / "system.md").read_text("utf-8").split("## Ports")[1]
    found: dict[str, tuple[str, str]] = {}
    for names, meaning in re.findall(r"^\| (`.+?) \| (?:in|out) \| .+? \| (.*?) ?\|$", text, re.M):
        found |= dict.fromkeys(re.findall(r"`(\w+)`", names), ("", meaning))
    return found


def _members(component: wiring.Component) -> dict[str, tuple[str, str]]:
    """Return type and meaning of each member, from the docstring of the component."""
    text = inspect.getdoc(component) or ""
    section = text.split("Members\n-------\n")[-1].split("\n\n")[0]
    found: dict[str, tuple[str, str]] = {}
    for entry in re.split(r"^(?=\S)", section, flags=re.MULTILINE):
        head, _, body = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        meaning = markdown(" ".join(body.split()))
        found |= dict.fromkeys(re.split(r",\s*", names), (kind, meaning))
    return found
