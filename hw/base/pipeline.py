"""Registers in series, trees of registers, reads that see writes, counts, fast products."""

from collections.abc import Callable, Sequence
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import memory
from amaranth.utils import ceil_log2

__all__ = [
    "bit_length",
    "counted",
    "delayed",
    "multiplied",
    "reduced",
    "reduction_latency",
    "written_through",
]


def delayed(m: Module, value: Any, cycles: int, name: str, *, reset_less: bool = True) -> Any:
    """Return ``value``, a signal or view, as it was ``cycles`` cycles ago.

    Parameters
    ----------
    m : Module
    value : Signal or View
    cycles : int
    name : str
        Prefix of the registers.
    reset_less : bool
        False for flags that say that something is valid.
    """
    for i in range(cycles):
        previous = value
        value = Signal(value.shape(), name=f"{name}_{i + 1}", reset_less=reset_less)
        m.d.sync += value.eq(previous)
    return value


def written_through(m: Module, write: memory.WritePort, read: memory.ReadPort, name: str) -> Value:
    """Return what a port reads, with what is written there in the same cycle.

    A transparent port would do so too, but no SRAM macro has one.

    Parameters
    ----------
    m : Module
    write : WritePort
        Of whole words.
    read : ReadPort
        Not transparent, and always enabled.
    name : str
        Prefix of the registers.
    """
    same = delayed(m, write.en & (write.addr == read.addr), 1, f"{name}_same")
    return Mux(same, delayed(m, write.data, 1, f"{name}_written"), read.data)


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

    ``more`` and ``less`` may arrive late in a cycle: all sums are precomputed, and they only
    select. With ``by > 1``, ``spare`` must be 0 and ``less`` requires the result to be high.

    Parameters
    ----------
    m : Module
    more, less : Value
        The count grows by ``by``; it falls by 1.
    name : str
        Of the register; prefix of the count.
    most, init : int
        Largest and initial count.
    spare : int
        What the count has to exceed.
    by : Value or int
        At least 1.
    """
    count = Signal(range(-spare, most - spare + 1), init=init - spare, name=f"{name}_count")
    some = Signal(init=init > spare, name=name)
    enough = count >= 0 if spare else Const(1)
    # All sums are precomputed; ``more`` and ``less`` select one.
    m.d.sync += [
        count.eq(Mux(more, Mux(less, count + (by - 1), count + by), Mux(less, count - 1, count))),
        some.eq(Mux(more == less, some, Mux(more, enough, count > 1))),
    ]
    return some


def multiplied(m: Module, a: Value, b: Value, name: str) -> Value:
    """Return ``a * b`` of three cycles ago, ``b`` unsigned, one product a cycle.

    Cycle 1 registers the factors, since an FPGA's multipliers are far from other logic. Cycle 2
    multiplies both halves of one factor, cycle 3 adds the two products: at 45 nm either takes less
    than 1 ns, where a whole product of 20 by 16 bits takes 1.5 ns. The factor cut in halves is
    ``a`` if it exceeds the 18 bits of an FPGA's multiplier, else ``b``.

    Parameters
    ----------
    m : Module
    a, b : Value
        Factors.
    name : str
        Prefix of the registers.
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

    Parameters
    ----------
    m : Module
    values : sequence of Value
    combine : callable
        Result of two values; its shape is that of the result.
    name : str
        Prefix of the registers.
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
