"""Memories made of several SRAM macros, as one block of the floorplan."""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from dtqatten.synth.place.lef import Outline
from dtqatten.synth.sram import SECOND_PORT
from dtqatten.synth.tools import InputError

__all__ = ["memory_outlines"]


def memory_outlines(
    memories: Mapping[str, Mapping[str, Any]], cells: Mapping[str, Outline], halo: float
) -> dict[str, Outline]:
    """Return the outline of each memory that synthesis made of macros.

    Its macros stand in a grid near to a square, two halos apart. A macro that stands for one with
    a second port is modelled :data:`~dtqatten.synth.sram.SECOND_PORT` times as wide.

    Parameters
    ----------
    memories : mapping
        ``memories`` of :func:`~dtqatten.synth.asic.synthesize`.
    cells : mapping of str to Outline
        Of the macros.
    halo : float
        Around each macro, um.

    Raises
    ------
    InputError
        If a macro's geometry is missing.
    """
    found = {}
    for name, memory in memories.items():
        macro = cells.get(memory["macro"])
        if macro is None:
            raise InputError(
                f"no LEF geometry of the macro {memory['macro']}: give its LEF file with --lef"
            )
        width = macro.width * (1.0 if memory["ports"] == 1 else SECOND_PORT)
        found[name] = block(name, memory, macro, width, 2 * halo)
    return found


def block(
    name: str, memory: Mapping[str, Any], macro: Outline, width: float, space: float
) -> Outline:
    """Return the outline of a memory of macros ``width`` wide, ``space`` apart."""
    across, deep = memory["across"], memory["deep"]
    number = across * deep
    w, h = width + space, macro.height + space
    in_row = min(
        range(1, number + 1), key=lambda n: (max(n * w, -(-number // n) * h), -(-number // n))
    )
    rows = -(-number // in_row)
    corners = tuple((i % in_row * w, i // in_row * h) for i in range(number))
    words, bits = map(int, re.findall(r"\d+", name)[:2])
    word = sorted_buses(macro)
    # What is not part of a word: address, enables, clock.
    others = [xy for pin, xy in macro.pins.items() if pin not in word["in"] + word["out"]]
    middle = (
        sum(x for x, _ in others) / max(len(others), 1),
        sum(y for _, y in others) / max(len(others), 1),
    )
    pins: dict[str, tuple[float, float]] = {}
    more: dict[str, tuple[tuple[float, float], ...]] = {}

    def add(pin: str, points: list[tuple[float, float]]) -> None:
        pins[pin], *rest = points
        if rest:
            more[pin] = tuple(rest)

    def at(part: int, point: tuple[float, float]) -> tuple[float, float]:
        return corners[part][0] + point[0], corners[part][1] + point[1]

    share = -(-bits // across)
    for bit in range(bits):
        column, index = divmod(bit, share)
        parts = [column + across * level for level in range(deep)]
        for pin, bus in (("wdata", word["in"]), ("rdata", word["out"])):
            place = macro.pins[bus[index % len(bus)]] if bus else middle
            add(bit_of(pin, bit, bits), [at(part, place) for part in parts])
        # Masks are mostly one net, which on a macro is one pin.
        add(bit_of("wen", bit, bits), [at(part, middle) for part in parts])
    address = max(1, (words - 1).bit_length())
    for pin, width_of in (("clk", 1), ("ren", 1), *((a, address) for a in addresses(memory))):
        for bit in range(width_of):
            add(bit_of(pin, bit, width_of), [at(part, middle) for part in range(number)])
    return Outline(
        in_row * w - space,
        rows * h - space,
        core=False,
        pins=pins,
        outputs=frozenset(pin for pin in pins if pin.startswith("rdata")),
        parts=corners,
        more=more,
    )


def addresses(memory: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the address ports of a memory's cell."""
    return ("addr",) if memory["ports"] == 1 else ("raddr", "waddr")


def bit_of(pin: str, bit: int, width: int) -> str:
    """Return a pin's name as the netlist has it."""
    return f"{pin}[{bit}]" if width > 1 else pin


def sorted_buses(macro: Outline) -> dict[str, list[str]]:
    """Return a macro's widest input and output bus, each from bit 0 on."""
    buses: dict[bool, dict[str, list[tuple[int, str]]]] = {
        True: defaultdict(list),
        False: defaultdict(list),
    }
    for pin in macro.pins:
        if found := re.fullmatch(r"(.+)[\[<](\d+)[\]>]", pin):
            buses[pin in macro.outputs][found[1]].append((int(found[2]), pin))
    widest = {
        drives: max(of.values(), key=len, default=[]) if of else [] for drives, of in buses.items()
    }
    return {
        "in": [pin for _, pin in sorted(widest[False])],
        "out": [pin for _, pin in sorted(widest[True])],
    }
