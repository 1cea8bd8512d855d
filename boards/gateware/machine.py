"""All that is on a board behind its pins: host link, machine and memory on one clock."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect

from dtqatten.boards.gateware.address_map import AddressMap
from dtqatten.boards.gateware.block_memory import BlockMemory
from dtqatten.boards.gateware.link import PacketEngine
from dtqatten.boards.gateware.sdram_memory import SdramMemory, SdramPart, pad_members
from dtqatten.boards.gateware.uart import Receiver, Transmitter
from dtqatten.configuration.fields import ConfigError
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.base.skid import buffered
from dtqatten.hw.bus.axi import LITE_PREFIX, MASTER_PREFIX
from dtqatten.hw.system import System
from dtqatten.interface.host_link import MEMORY_BASE

__all__ = ["BoardConfig", "BoardMachine"]

#: Bytes from the host that wait while a word is answered: two packets' heads and more.
WAITING_BYTES = 64

#: Cycles for which a light shows what was there for one, as a power of two.
SEEN_BITS = 21


@dataclass(frozen=True, kw_only=True)
class BoardConfig:
    """A machine, its memory and its link.

    Parameters
    ----------
    system : SystemConfig
    memory_bytes : int
        Memory that machine and host share, a power of two.
    clock_hz : int
        What the host is told of the clock.
    divisor : int
        Cycles of a bit on the serial line.
    silence : int
        Cycles without a byte that end half a packet.
    sdram : SdramPart, optional
        What the memory is, all of it; without one it is block RAM.
    pads : bool
        The SDRAM is at pads; else it is simulated.

    Raises
    ------
    ConfigError
        If the machine cannot address the memory.
    """

    system: SystemConfig
    memory_bytes: int
    clock_hz: int
    divisor: int
    silence: int
    sdram: SdramPart | None = None
    pads: bool = False

    def __post_init__(self) -> None:
        last = MEMORY_BASE + self.memory_bytes - 1
        if last >> self.system.address_bits:
            raise ConfigError(
                f"address_bits is {self.system.address_bits}, but the memory ends at {last:#x}: "
                "choose 32"
            )
        if self.sdram is not None and self.memory_bytes != self.sdram.size:
            raise ConfigError(
                f"memory_bytes is {self.memory_bytes}, but {self.sdram.name} has "
                f"{self.sdram.size}: give that"
            )


class BoardMachine(wiring.Component):
    """The machine with its memory, and a serial line to the host.

    The host reaches the memory at :data:`~dtqatten.interface.host_link.MEMORY_BASE`, where the
    machine has it, too, and the registers of machine and link. The machine's interrupt is not on
    the line: the host polls.

    Parameters
    ----------
    config : BoardConfig

    Members
    -------
    rx : In(1)
    tx : Out(1)
    leds : Out(5)
        From bit 0 on: the clock runs (about a blink a second); the host talks; the machine uses
        its memory; an interrupt is pending; an access of the host was refused since the reset.
    a, ba, cs_n, ras_n, cas_n, we_n, cke, dm, dq_o, dq_oe, dq_i
        Of an SDRAM at pads: see :func:`~dtqatten.boards.gateware.sdram_memory.pad_members`.
    """

    def __init__(self, config: BoardConfig) -> None:
        self.config, self.system = config, config.system
        super().__init__(
            {"rx": In(1, init=1), "tx": Out(1, init=1), "leds": Out(5)} | self._pad_members()
        )

    def _pad_members(self) -> dict[str, wiring.Member]:
        """Members of an SDRAM's pads, if it has them."""
        config = self.config
        return pad_members(config.sdram) if config.sdram and config.pads else {}

    def _memory(self) -> BlockMemory | SdramMemory:
        """Return the memory."""
        config = self.config
        if config.sdram is None:
            return BlockMemory(config.system, MEMORY_BASE, config.memory_bytes)
        return SdramMemory(config.system, config.sdram, pads=config.pads)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        system = place(m, platform, "system", System, config.system)
        m.submodules.memory = memory = self._memory()
        m.submodules.map = address_map = AddressMap(config.memory_bytes, config.clock_hz)
        m.submodules.engine = engine = PacketEngine(config.silence)
        m.submodules.receiver = receiver = Receiver(config.divisor)
        m.submodules.transmitter = transmitter = Transmitter(config.divisor)
        m.submodules.waiting = waiting = SyncFIFOBuffered(width=9, depth=WAITING_BYTES)

        # Serial line. What finds no room is lost, which the checksum of what came shows.
        m.d.comb += [
            receiver.rx.eq(self.rx),
            waiting.w_data.eq(receiver.o),
            waiting.w_en.eq(receiver.valid),
            engine.i.valid.eq(waiting.r_rdy),
            engine.i.p.eq(waiting.r_data),
            waiting.r_en.eq(engine.i.ready),
            self.tx.eq(transmitter.tx),
            address_map.received.eq(engine.received),
            address_map.sent.eq(engine.sent),
        ]
        for source, sink in (
            (engine.o, transmitter.i),
            (engine.request, address_map.request),
            (address_map.answer, engine.answer),
            (memory.answer, address_map.memory_answer),
        ):
            connect(m, source, sink)
        # The machine's words do not wait for what the host asks for.
        buffered(m, address_map.memory, memory.request, "word")
        for channel in ("aw", "w", "ar", "b", "r"):
            asks = channel not in ("b", "r")
            registers = getattr(address_map.lite, channel)
            _join(m, registers, system, LITE_PREFIX + channel, to_machine=asks)
            words = getattr(memory.bus, channel)
            _join(m, words, system, MASTER_PREFIX + channel, to_machine=not asks)
        for name, member in self._pad_members().items():
            inner, outer = getattr(memory, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)

        # Lights.
        blink = Signal(range(config.clock_hz))
        m.d.sync += blink.eq(Mux(blink == config.clock_hz - 1, 0, blink + 1))
        used = memory.bus.r.valid | memory.bus.w.valid
        m.d.comb += self.leds.eq(
            Cat(
                blink < config.clock_hz // 2,
                _seen(m, "link", ~engine.idle),
                _seen(m, "memory", used),
                system.irq,
                address_map.refused,
            )
        )
        return m


def _join(m: Module, channel: Any, machine: Any, prefix: str, *, to_machine: bool) -> None:
    """Connect a channel's stream with flat ports of the machine.

    Parameters
    ----------
    m : Module
    channel : stream interface
    machine : interface of System
    prefix : str
        Of the ports' names.
    to_machine : bool
        Whether the stream is what the machine receives.
    """
    if isinstance(channel.p, data.View):
        fields = {name: getattr(channel.p, name) for name, _ in channel.p.shape()}
    else:
        fields = {"resp" if prefix.endswith("b") else "addr": channel.p}
    fields["valid"] = channel.valid
    for name, value in fields.items():
        port, value = getattr(machine, prefix + name), Value.cast(value)
        m.d.comb += port.eq(value) if to_machine else value.eq(port)
    ready = getattr(machine, prefix + "ready")
    m.d.comb += channel.ready.eq(ready) if to_machine else ready.eq(channel.ready)


def _seen(m: Module, name: str, event: Value) -> Value:
    """Return whether something has been there within the last ``2**SEEN_BITS`` cycles.

    Parameters
    ----------
    m : Module
    name : str
        Of the counter.
    event : Value
    """
    left = Signal(SEEN_BITS + 1, name=f"{name}_seen")
    with m.If(event):
        m.d.sync += left.eq(1 << SEEN_BITS)
    with m.Elif(left != 0):
        m.d.sync += left.eq(left - 1)
    return left != 0
