"""Memory in a board's SDRAM: LiteDRAM's controller behind the ports that block RAM has."""

from dataclasses import dataclass

from amaranth.hdl import ClockSignal, Instance, Module, Mux, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.boards.gateware.link import request_layout
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import PREFIX
from dtqatten.hw.bus.axi import BURST_INCREMENTING, master_members

__all__ = ["CONTROLLER", "START_SECONDS", "SdramMemory", "SdramPart", "pad_members"]

#: Module of the controller, whose Verilog :mod:`dtqatten.boards.sdram` writes.
CONTROLLER = f"{PREFIX}sdram"

#: Time that an SDRAM needs between its supply and the first command.
START_SECONDS = 200e-6


@dataclass(frozen=True, kw_only=True)
class SdramPart:
    """A single-data-rate SDRAM of 16 bits.

    Parameters
    ----------
    name : str
        What LiteDRAM calls it.
    row_bits, column_bits, bank_bits : int
    """

    name: str
    row_bits: int
    column_bits: int
    bank_bits: int = 2

    @property
    def size(self) -> int:
        """Bytes."""
        return 2 << (self.row_bits + self.column_bits + self.bank_bits)


def pad_members(part: SdramPart) -> dict[str, wiring.Member]:
    """Members of what is registered at an SDRAM's pads: a cycle later, and of ``dq_i`` earlier."""
    return {
        "a": Out(part.row_bits),
        "ba": Out(part.bank_bits),
        **{name: Out(1) for name in ("cs_n", "ras_n", "cas_n", "we_n", "cke")},
        "dm": Out(2),
        "dq_o": Out(16),
        "dq_oe": Out(1),
        "dq_i": In(16),
    }


class SdramMemory(wiring.Component):
    """Serve INCR bursts and the host from an SDRAM, by a controller that is LiteDRAM's.

    The SDRAM is brought up after the reset; until then nothing is accepted. What a write that was
    answered has written, every later read sees. Words that are read come in the order of their
    addresses. Addresses beyond the SDRAM are those of its begin: the machine's windows keep it
    inside. The host's word takes its turn with the machine's.

    Latency and throughput are the controller's: 16 bits a cycle at most.

    Parameters
    ----------
    system : SystemConfig
        Widths of the bus.
    part : SdramPart
    pads : bool
        There are pads; else LiteDRAM's model of the SDRAM is in the controller, for simulation.

    Members
    -------
    bus, request, answer
        As of :class:`~dtqatten.boards.gateware.block_memory.BlockMemory`.
    a, ba, cs_n, ras_n, cas_n, we_n, cke, dm, dq_o, dq_oe, dq_i
        With ``pads``: see :func:`pad_members`.
    """

    def __init__(self, system: SystemConfig, part: SdramPart, *, pads: bool) -> None:
        self.system, self.part, self.pads = system, part, pads
        super().__init__(
            {
                "bus": In(wiring.Signature(master_members(system))),
                "request": In(stream.Signature(request_layout())),
                "answer": Out(stream.Signature(32)),
            }
            | (pad_members(part) if pads else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus, done = self.bus, Signal()
        ports = {"i_clk": ClockSignal(), "i_rst": ResetSignal(), "o_done": done}
        for channel in ("ar", "aw"):
            address = getattr(bus, channel)
            accepts = Signal(name=f"{channel}_accepts")
            m.d.comb += address.ready.eq(accepts & done)
            ports |= {f"i_{channel}{field}": address.p[field] for field in ("addr", "len", "size")}
            ports |= {
                f"i_{channel}id": address.p.id,
                f"i_{channel}burst": BURST_INCREMENTING,
                f"i_{channel}valid": address.valid & done,
                f"o_{channel}ready": accepts,
            }
        ports |= {
            "i_wvalid": bus.w.valid,
            "o_wready": bus.w.ready,
            "i_wdata": bus.w.p.data,
            "i_wstrb": bus.w.p.strb,
            "i_wlast": bus.w.p.last,
        }
        for channel, fields in (("b", ("id", "resp")), ("r", ("id", "data", "resp", "last"))):
            answer = getattr(bus, channel)
            ports |= {f"o_{channel}valid": answer.valid, f"i_{channel}ready": answer.ready}
            values = Signal(answer.p.shape(), name=f"{channel}_values")
            m.d.comb += answer.p.eq(values)
            ports |= {f"o_{channel}{field}": values[field] for field in fields}
        ports |= self._serve_host(m, done)
        if self.pads:
            for name, member in pad_members(self.part).items():
                way = "i" if member.flow is In else "o"
                ports[f"{way}_{name}"] = getattr(self, name)
        m.submodules.controller = Instance(CONTROLLER, **ports)
        return m

    def _serve_host(self, m: Module, done: Signal) -> dict[str, object]:
        """Give the host's words to the controller's port of words; return its ports.

        Data of a write are offered with its command: the controller takes them once it has begun.
        """
        request, answer = self.request, self.answer
        accepts, takes, gives, word = Signal(), Signal(), Signal(), Signal(32)
        asked, commanded, given, ended = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            asked.eq(request.valid & ~answer.valid & done),
            ended.eq((commanded | accepts) & Mux(request.p.write, given | takes, gives)),
            request.ready.eq(asked & ended),
        ]
        with m.If(answer.valid & answer.ready):
            m.d.sync += answer.valid.eq(0)
        with m.If(asked):
            m.d.sync += [
                commanded.eq(~ended & (commanded | accepts)),
                given.eq(~ended & (given | takes)),
                answer.valid.eq(ended),
                answer.p.eq(word),
            ]
        bits = (self.part.size // 4 - 1).bit_length()
        return {
            "i_cmd_valid": asked & ~commanded,
            "o_cmd_ready": accepts,
            "i_cmd_we": request.p.write,
            "i_cmd_addr": request.p.word[:bits],
            "i_wdata_valid": asked & request.p.write & ~given,
            "o_wdata_ready": takes,
            "i_wdata_we": 0b1111,
            "i_wdata_data": request.p.data,
            "o_rdata_valid": gives,
            "i_rdata_ready": 1,
            "o_rdata_data": word,
        }
