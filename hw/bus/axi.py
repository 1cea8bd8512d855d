"""AXI4 and AXI4-Lite: payloads of their channels as streams, and their flat top-level names."""

from typing import Any

from amaranth.hdl import Module, Value, unsigned
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Member, Out

from dtqatten.configuration.system import SystemConfig
from dtqatten.interface.registers import ADDRESS_BITS

__all__ = [
    "BURST_INCREMENTING",
    "ID_BITS",
    "LITE_DOMAIN",
    "LITE_PREFIX",
    "MASTER_PREFIX",
    "Response",
    "address_layout",
    "connect_lite",
    "connect_master",
    "lite_members",
    "lite_ports",
    "master_members",
    "master_ports",
    "read_data_layout",
    "response_layout",
    "write_data_layout",
]

#: Bits of a transaction's ID.
ID_BITS = 4
MASTER_PREFIX, LITE_PREFIX = "m_axi_", "s_axil_"
#: Clock domain of AXI4-Lite where it has one of its own; its ports are ``<domain>_clk`` and
#: ``<domain>_rst``.
LITE_DOMAIN = LITE_PREFIX.rstrip("_")

#: Attributes that never change: incrementing bursts of normal, bufferable memory, data access.
BURST_INCREMENTING, CACHE_BUFFERABLE, PROTECTION_DATA = 0b01, 0b0011, 0b000


class Response(enum.Enum, shape=2):  # type: ignore[call-arg]
    """Answer of a subordinate."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def is_error(response: Value) -> Value:
    """Return whether an answer is an error."""
    return (response == Response.SLVERR) | (response == Response.DECERR)


def address_layout(system: SystemConfig) -> data.StructLayout:
    """AR or AW: a burst of ``len + 1`` beats of ``2**size`` bytes from ``addr`` on."""
    return data.StructLayout(
        {
            "id": unsigned(ID_BITS),
            "addr": unsigned(system.address_bits),
            "len": unsigned(8),
            "size": unsigned(3),
        }
    )


def read_data_layout(system: SystemConfig) -> data.StructLayout:
    """R."""
    return data.StructLayout(
        {"id": unsigned(ID_BITS), "data": unsigned(system.bus_bits), "resp": Response, "last": 1}
    )


def write_data_layout(system: SystemConfig) -> data.StructLayout:
    """W."""
    return data.StructLayout(
        {"data": unsigned(system.bus_bits), "strb": unsigned(system.bus_bytes), "last": 1}
    )


def response_layout() -> data.StructLayout:
    """B."""
    return data.StructLayout({"id": unsigned(ID_BITS), "resp": Response})


def master_members(system: SystemConfig) -> dict[str, Member]:
    """Return the five channels of a master as streams."""
    return {
        "ar": Out(stream.Signature(address_layout(system))),
        "r": In(stream.Signature(read_data_layout(system))),
        "aw": Out(stream.Signature(address_layout(system))),
        "w": Out(stream.Signature(write_data_layout(system))),
        "b": In(stream.Signature(response_layout())),
    }


def lite_members() -> dict[str, Member]:
    """Return the five channels of an AXI4-Lite subordinate of 32 bits as streams."""
    return {
        "aw": In(stream.Signature(unsigned(ADDRESS_BITS))),
        "w": In(stream.Signature(data.StructLayout({"data": 32, "strb": 4}))),
        "b": Out(stream.Signature(Response)),
        "ar": In(stream.Signature(unsigned(ADDRESS_BITS))),
        "r": Out(stream.Signature(data.StructLayout({"data": 32, "resp": Response}))),
    }


def _handshake(prefix: str, channel: str, flow: Any) -> dict[str, Member]:
    back = In if flow is Out else Out
    return {f"{prefix}{channel}valid": flow(1), f"{prefix}{channel}ready": back(1)}


def master_ports(system: SystemConfig) -> dict[str, Member]:
    """Return the flat ports of an AXI4 master."""
    p = MASTER_PREFIX
    ports: dict[str, Member] = {}
    for channel in ("ar", "aw"):
        ports |= _handshake(p, channel, Out)
        ports |= {
            f"{p}{channel}{name}": Out(bits)
            for name, bits in (
                ("id", ID_BITS),
                ("addr", system.address_bits),
                ("len", 8),
                ("size", 3),
                ("burst", 2),
                ("cache", 4),
                ("prot", 3),
            )
        }
    ports |= _handshake(p, "w", Out)
    ports |= {f"{p}wdata": Out(system.bus_bits), f"{p}wstrb": Out(system.bus_bytes)}
    ports |= {f"{p}wlast": Out(1)}
    ports |= _handshake(p, "r", In)
    ports |= {f"{p}rid": In(ID_BITS), f"{p}rdata": In(system.bus_bits)}
    ports |= {f"{p}rresp": In(2), f"{p}rlast": In(1)}
    ports |= _handshake(p, "b", In)
    ports |= {f"{p}bid": In(ID_BITS), f"{p}bresp": In(2)}
    return ports


def lite_ports() -> dict[str, Member]:
    """Return the flat ports of an AXI4-Lite subordinate."""
    p = LITE_PREFIX
    ports: dict[str, Member] = {}
    for channel in ("aw", "ar"):
        ports |= _handshake(p, channel, In)
        ports |= {f"{p}{channel}addr": In(ADDRESS_BITS), f"{p}{channel}prot": In(3)}
    ports |= _handshake(p, "w", In)
    ports |= {f"{p}wdata": In(32), f"{p}wstrb": In(4)}
    ports |= _handshake(p, "b", Out)
    ports |= {f"{p}bresp": Out(2)}
    ports |= _handshake(p, "r", Out)
    ports |= {f"{p}rdata": Out(32), f"{p}rresp": Out(2)}
    return ports


def connect_master(m: Module, top: Any, channels: Any, system: SystemConfig) -> None:
    """Connect the flat ports of ``top`` with the streams of :func:`master_members`.

    Parameters
    ----------
    m : Module
    top : component with :func:`master_ports`
    channels : interface of :func:`master_members`
    system : SystemConfig
    """
    p = MASTER_PREFIX

    def port(name: str) -> Any:
        return getattr(top, p + name)

    for channel in ("ar", "aw"):
        payload = getattr(channels, channel).p
        m.d.comb += [
            port(f"{channel}valid").eq(getattr(channels, channel).valid),
            getattr(channels, channel).ready.eq(port(f"{channel}ready")),
            port(f"{channel}id").eq(payload.id),
            port(f"{channel}addr").eq(payload.addr),
            port(f"{channel}len").eq(payload.len),
            port(f"{channel}size").eq(payload.size),
            port(f"{channel}burst").eq(BURST_INCREMENTING),
            port(f"{channel}cache").eq(CACHE_BUFFERABLE),
            port(f"{channel}prot").eq(PROTECTION_DATA),
        ]
    m.d.comb += [
        port("wvalid").eq(channels.w.valid),
        channels.w.ready.eq(port("wready")),
        port("wdata").eq(channels.w.p.data),
        port("wstrb").eq(channels.w.p.strb),
        port("wlast").eq(channels.w.p.last),
        channels.r.valid.eq(port("rvalid")),
        port("rready").eq(channels.r.ready),
        channels.r.p.id.eq(port("rid")),
        channels.r.p.data.eq(port("rdata")),
        channels.r.p.resp.eq(port("rresp")),
        channels.r.p.last.eq(port("rlast")),
        channels.b.valid.eq(port("bvalid")),
        port("bready").eq(channels.b.ready),
        channels.b.p.id.eq(port("bid")),
        channels.b.p.resp.eq(port("bresp")),
    ]


def connect_lite(m: Module, top: Any, channels: Any, *, outside: bool = False) -> None:
    """Connect the flat ports of ``top`` with the streams of :func:`lite_members`.

    Parameters
    ----------
    m : Module
    top : component with :func:`lite_ports`
    channels : interface of :func:`lite_members`
    outside : bool
        ``top`` is a submodule of ``m`` and ``channels`` are its host's; else ``m`` is that of
        ``top`` itself.
    """
    aw, w, b, ar, r = (getattr(channels, name) for name in ("aw", "w", "b", "ar", "r"))
    asked = {
        "awvalid": aw.valid,
        "awaddr": aw.p,
        "wvalid": w.valid,
        "wdata": w.p.data,
        "wstrb": w.p.strb,
        "bready": b.ready,
        "arvalid": ar.valid,
        "araddr": ar.p,
        "rready": r.ready,
    }
    answered = {
        "awready": aw.ready,
        "wready": w.ready,
        "bvalid": b.valid,
        "bresp": b.p,
        "arready": ar.ready,
        "rvalid": r.valid,
        "rdata": r.p.data,
        "rresp": r.p.resp,
    }
    for name, wire in (asked | answered).items():
        port = getattr(top, LITE_PREFIX + name)
        m.d.comb += wire.eq(port) if (name in asked) != outside else port.eq(wire)
