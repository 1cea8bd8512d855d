"""Registers in series, trees of registers, counts, products in three cycles."""

from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.utils import ceil_log2

__all__ = ["bit_length", "counted", "delayed", "multiplied", "reduced", "reduction_latency"]


def delayed(m: Module, value: Any, cycles: int, name: str, *, reset_less: bool = True) -> Any:
    """Return ``value``, a signal or view, of ``cycles`` cycles ago.

    ``reset_less=False`` for what says that something is valid.
    """
    for i in range(cycles):
        previous = value
        value = Signal(value.shape(), name=f"{name}_{i + 1}", reset_less=reset_less)
        m.d.sync += value.eq(previous)
    return value


def counted(
    m: Module,
    more: Value,
    less: Value,
    name: str,
    *,
    most: int,
    init: int = 0,
    spare: int = 0,
    by: Value | int = 1,
) -> Value:
    """Return a register that says whether a count exceeds ``spare``.

    The count, from ``init`` and at most ``most``, grows by ``by``, at least 1, with ``more`` and
    falls by 1 with ``less``, bits that may come late in a cycle: neither waits for a sum. Where
    ``by`` is more than 1, there is no ``spare`` and ``less`` never without the answer.
    """
    count = Signal(range(-spare, most - spare + 1), init=init - spare, name=f"{name}_count")
    some = Signal(init=init > spare, name=name)
    enough = count >= 0 if spare else Const(1)
    # All sums are there before it is known which one counts.
    m.d.sync += [
        count.eq(Mux(more, Mux(less, count + (by - 1), count + by), Mux(less, count - 1, count))),
        some.eq(Mux(more == less, some, Mux(more, enough, count > 1))),
    ]
    return some


def multiplied(m: Module, a: Value, b: Value, name: str) -> Value:
    """Return ``a * b`` of three cycles ago, ``b`` unsigned, one product a cycle.

    First registers of its own, since the multipliers of FPGAs are far from all else; then the
    products with both halves of a factor, then their sum: neither takes a ns at 45 nm where the
    whole, 20 by 16 bits, takes one and a half. The halved factor is ``a`` where that has more than
    the 18 bits of an FPGA's multiplier.
    """
    a, b = delayed(m, a, 1, f"{name}_a"), delayed(m, b, 1, f"{name}_b")
    halved, other = (a, b) if len(a) > 18 else (b, a)
    half = -(-len(halved) // 2)
    high_half = halved[half:].as_signed() if halved.shape().signed else halved[half:]
    parts = []
    for part, bits in (("low", halved[:half]), ("high", high_half)):
        product = Signal((other * bits).shape(), name=f"{name}_{part}", reset_less=True)
        m.d.sync += product.eq(other * bits)
        parts.append(product)
    low, high = parts
    whole = Signal((a * b).shape(), name=name, reset_less=True)
    m.d.sync += whole.eq((high << half) + low)
    return whole


def bit_length(value: Value) -> Value:
    """Return the bits that an unsigned value takes, 0 for 0; as a tree of halves."""
    if len(value) == 1:
        return value
    half = 1 << ceil_log2(len(value)) - 1
    low, high = value[:half], value[half:]
    return Mux(high.any(), half + bit_length(high), bit_length(low))


def reduction_latency(count: int) -> int:
    """Cycles that :func:`reduced` takes for ``count`` values: a level of the tree each."""
    return ceil_log2(count)


def reduced(
    m: Module, values: Sequence[Value], combine: Callable[[Value, Value], Value], name: str
) -> Value:
    """Combine values pairwise in a tree, one register a level, one result a cycle.

    The result has the shape that ``combine`` gives it.
    """
    level = 0
    while len(values) > 1:
        pairs = [combine(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
        if len(values) % 2:
            pairs.append(values[-1])
        level += 1
        registers = [
            Signal(pair.shape(), name=f"{name}_{level}_{i}", reset_less=True)
            for i, pair in enumerate(pairs)
        ]
        m.d.sync += [r.eq(pair) for r, pair in zip(registers, pairs, strict=True)]
        values = registers
    return values[0]
