"""What harnesses of proofs share: sizes, free inputs, and what every burst has to keep."""

from amaranth.hdl import Assert, Assume, Module, ResetSignal, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.window import window_layout

__all__ = [
    "PAGE",
    "STREAMS",
    "SYSTEM",
    "Harness",
    "Proof",
    "assume_runs",
    "held",
    "in_window",
    "legal",
    "one_page",
]

#: Small sizes, so that buffers fill and wrap within few cycles. The logic is the same in all.
SYSTEM = SystemConfig(
    core=Config(rows=1, cols=1, depth=1, d_head=8, n_max=4),
    bus_bits=64,
    address_bits=16,
    burst_beats=2,
    buffer_bursts=2,
)

STREAMS = 2

#: Bytes that no burst of AXI4 may cross a multiple of, and in which windows are counted.
PAGE = 4096


class Proof(wiring.Component):
    """A design with free inputs, and an assertion about it."""

    #: Elaborates what the proof models in a way of its own.
    platform: object = None


class Harness(Proof):
    """A master and its streams with free inputs, of which ``wanted`` is asserted."""

    assertions: dict[str, Value]

    def __init__(self, wanted: str, ports: dict) -> None:
        self.wanted = wanted
        super().__init__({"window": In(window_layout(SYSTEM)), "stop": In(1), **ports})

    def _start(self) -> Module:
        """Return a module that assumes what does not change: the window; and no reset."""
        m = Module()
        window = Signal(window_layout(SYSTEM))
        begun = Signal()
        m.d.sync += [window.eq(self.window), begun.eq(1)]
        m.d.comb += [
            Assume(~ResetSignal()),
            Assume(~begun | (window.as_value() == self.window.as_value())),
        ]
        return m

    def _assert(self, m: Module, **assertions: Value) -> None:
        m.d.comb += Assert(assertions[self.wanted])


def held(m: Module, channel: wiring.PureInterface, name: str) -> Value:
    """Return that a stream keeps what it offered and was not taken."""
    waited = Signal(name=f"{name}_waited")
    payload = Signal(len(Value.cast(channel.p)), name=f"{name}_payload")
    m.d.sync += [waited.eq(channel.valid & ~channel.ready), payload.eq(channel.p)]
    return ~waited | (channel.valid & (Value.cast(channel.p) == payload))


def legal(channel: wiring.PureInterface, *, narrow_transfers: bool) -> Value:
    """Return that a burst is of whole words, as many as a burst may have, or one narrow beat."""
    word = (SYSTEM.bus_bytes - 1).bit_length()
    whole, part = (channel.p.size == word), (channel.p.size < word) & (channel.p.len == 0)
    aligned = (channel.p.addr & ((1 << channel.p.size) - 1)) == 0
    fits = (whole | part) if narrow_transfers else whole
    return ~channel.valid | (aligned & fits & (channel.p.len < SYSTEM.burst_beats))


def _last_byte(channel: wiring.PureInterface) -> Value:
    return channel.p.addr + ((channel.p.len + 1) << channel.p.size) - 1


def one_page(channel: wiring.PureInterface) -> Value:
    """Return that a burst's last byte comes before the end of its first one's page."""
    end = (channel.p.addr // PAGE + 1) * PAGE
    return ~channel.valid | (_last_byte(channel) < end)


def in_window(window: data.View, channel: wiring.PureInterface) -> Value:
    """Return that no byte of a burst is outside the window, by addresses, as a bus sees them."""
    begin, end = window.base * PAGE, (window.limit + 1) * PAGE
    return ~channel.valid | ((channel.p.addr >= begin) & (_last_byte(channel) < end))


def assume_runs(m: Module, runs: wiring.PureInterface) -> None:
    """Assume runs of some bytes that end within the address space."""
    end = runs.p.address + runs.p.size
    m.d.comb += Assume((runs.p.size != 0) & (end <= 1 << SYSTEM.address_bits))
