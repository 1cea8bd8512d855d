"""Windows from the host's registers, and whether a descriptor can be read at its address."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.window import misplaced, pages, window_layout
from dtqatten.hw.memory.descriptor import ALIGNMENT_BITS
from dtqatten.interface.registers import ErrorCode

__all__ = ["AddressCheck"]


class AddressCheck(wiring.Component):
    """Check the ends of both windows, then a descriptor's address.

    Latency: errors a cycle after what they are about; windows none.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    read_base, read_limit, write_base, write_limit : In(64)
        First and last byte that may be read, and written.
    address : In(64)
        Of a descriptor.
    read_window, write_window : Out(window_layout(system))
        Pages of the windows.
    error : Out(8)
        ``ErrorCode`` of what is wrong first, 0 if nothing is.
    error_address : Out(64)
        The end or address that is.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(
            {
                "read_base": In(64),
                "read_limit": In(64),
                "write_base": In(64),
                "write_limit": In(64),
                "address": In(64),
                "read_window": Out(window_layout(system)),
                "write_window": Out(window_layout(system)),
                "error": Out(8),
                "error_address": Out(64),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, address = self.system, self.address
        checks = []
        for kind in ("read", "write"):
            ends = [getattr(self, f"{kind}_{end}") for end in ("base", "limit")]
            m.d.comb += getattr(self, f"{kind}_window").eq(pages(system, *ends))
            wrong = misplaced(system, *ends)
            checks += [(ErrorCode.WINDOW, *check) for check in zip(wrong, ends, strict=True)]
        checks += [
            (ErrorCode.ALIGNMENT, address[:ALIGNMENT_BITS].any(), address),
            (ErrorCode.READ_WINDOW, address[system.address_bits :].any(), address),
        ]
        m.d.sync += self.error.eq(ErrorCode.NONE)
        # Later statements override: the first failing check counts.
        for code, fails, where in reversed(checks):
            with m.If(fails):
                m.d.sync += [self.error.eq(code), self.error_address.eq(where)]
        return m
