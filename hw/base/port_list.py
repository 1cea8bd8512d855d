"""Ports of a component, and the fields in their bits."""

from collections.abc import Iterator, Mapping
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data, wiring

__all__ = ["bit_range", "clock_lines", "direction", "fields", "port_lines"]


def direction(flow: wiring.Flow) -> str:
    """Return ``in`` or ``out``."""
    return "in" if flow is wiring.In else "out"


def bit_range(low: int, width: int) -> str:
    """Return the numbers of bits, the highest one first."""
    return f"{low + width - 1}:{low}" if width > 1 else f"{low}"


def fields(layout: Any, name: str = "", at: int = 0) -> Iterator[tuple[str, int, int, str]]:
    """Yield path, lowest bit, bits and type of each field of a layout that has any bits."""
    if isinstance(layout, data.StructLayout):
        for key, field in layout:
            yield from fields(field.shape, f"{name}.{key}" if name else key, at + field.offset)
        return
    if isinstance(layout, data.ArrayLayout):
        element = Shape.cast(layout.elem_shape)
        sign = "signed" if element.signed else "unsigned"
        kind = f"{layout.length} x {sign} {element.width}"
        yield name or "(elements)", at, element.width * layout.length, kind
        return
    shape = Shape.cast(layout)
    if not shape.width:
        return
    kind = "signed" if shape.signed else "bit" if shape.width == 1 else "unsigned"
    if isinstance(layout, type) and hasattr(layout, "__members__"):
        members: Any = layout.__members__
        kind = ", ".join(f"{int(one.value)}: {each}" for each, one in members.items())
    yield name, at, shape.width, kind


def port_lines(component: wiring.Component) -> Iterator[str]:
    """Yield a line for each port of a component, and for each field in its bits."""
    for path, member, _ in component.signature.flatten(component):
        width = Shape.cast(member.shape).width
        if not width:
            continue
        own = f"[{bit_range(0, width)}] " if width > 1 else ""
        yield f"{direction(member.flow):3} {own}{'__'.join(map(str, path))}"
        if isinstance(member.shape, data.Layout):
            for name, low, bits, kind in fields(member.shape):
                yield f"      [{bit_range(low, bits)}] {name}: {kind}"


def clock_lines(component: wiring.Component) -> Iterator[str]:
    """Yield what clocks and resets there are beside ``clk`` and ``rst``."""
    clocked: Mapping[str, tuple[str, ...]] = getattr(component, "clocked", {})
    for domain, names in clocked.items():
        own = [name for name in names if not name.startswith(f"{domain}_")]
        yield f"{domain}_clk: clock of {', '.join([f'{domain}_*', *own])}; of any rate and phase."
        yield f"{domain}_rst: synchronous to it, active high. It comes with rst: both high at the"
        yield "same time for at least eight cycles of the slower clock, after power-up too. rst may"
        yield "come alone."
