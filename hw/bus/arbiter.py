"""Round-robin choice, and choice of a bus master's next burst, checked against its window."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.read_channel import request_layout
from dtqatten.hw.bus.window import PAGE_BITS, contains

__all__ = ["NextBurst", "next_burst", "rotated_choice"]


@dataclass(frozen=True)
class NextBurst:
    """The burst that is next, combinational.

    Attributes
    ----------
    choice : Signal
        Its stream.
    request : Signal(request_layout(system))
    address : Signal(address_bits)
        Of its first byte.
    allowed, outside : Value
        There is a burst, and it lies inside the window; or it does not.
    """

    choice: Signal
    request: Any
    address: Signal
    allowed: Value
    outside: Value


def rotated_choice(m: Module, wanting: Value, granted: Signal, name: str) -> Signal:
    """Return the index of the next set bit of ``wanting`` after ``granted``, round robin.

    Parameters
    ----------
    m : Module
    wanting : Value
        A bit for each requester.
    granted : Signal
        Index of the previous choice.
    name : str
        Of the result.
    """
    count = len(wanting)
    choice = Signal(range(count), name=name)
    m.d.comb += choice.eq(granted)
    # Later statements take precedence: the lowest bit above the granted one, else the lowest.
    for i in reversed(range(count)):
        with m.If(wanting[i]):
            m.d.comb += choice.eq(i)
    for i in reversed(range(1, count)):
        with m.If(wanting[i] & (granted < i)):
            m.d.comb += choice.eq(i)
    return choice


def next_burst(
    m: Module,
    system: SystemConfig,
    requests: list[Any],
    granted: Signal,
    window: Value,
    late: Value | None = None,
    left: Value | None = None,
) -> NextBurst:
    """Choose the next stream with a request after ``granted``, round robin.

    Streams that are ``late`` are chosen while no other one has a request, and something is left.

    Parameters
    ----------
    m : Module
    system : SystemConfig
    requests : list of stream interfaces of request_layout(system)
    granted : Signal(range(len(requests)))
        Stream of the previous burst.
    window : Value
        Pages that may be accessed, as of :func:`~dtqatten.hw.bus.window.window_layout`.
    late, left : Value, optional
        A bit for each stream, and one for all; none is late by default.
    """
    wanting: Value = Cat(request.valid for request in requests)
    if late is not None and left is not None:
        early = wanting & ~late
        wanting = Mux(early.any(), early, wanting & left.replicate(len(requests)))
    choice = rotated_choice(m, wanting, granted, "choice")
    request = Signal(request_layout(system), name="request")
    address = Signal(system.address_bits, name="address")
    inside = Signal(name="inside")
    m.d.comb += [
        request.eq(Array(Value.cast(request.p) for request in requests)[choice]),
        address.eq(Cat(request.offset, request.word)),
        inside.eq(contains(window, address[PAGE_BITS:])),
    ]
    return NextBurst(choice, request, address, wanting.any() & inside, wanting.any() & ~inside)
