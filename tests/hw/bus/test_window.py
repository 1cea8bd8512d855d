"""A window holds its first page, its last page and those between."""

import numpy as np
import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.window import PAGE_BITS, contains, misplaced, pages, window_layout
from dtqatten.sim.engines.native import run

CORE = Config(rows=1, cols=1, depth=1, d_head=8, n_max=4)


class Window(wiring.Component):
    """The comparison alone."""

    def __init__(self, system: SystemConfig) -> None:
        page = system.address_bits - PAGE_BITS
        super().__init__({"window": In(window_layout(system)), "page": In(page), "inside": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.inside.eq(contains(self.window, self.page))
        return m


class Ends(wiring.Component):
    """The pages of a window given in bytes."""

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(
            {
                "base": In(64),
                "limit": In(64),
                "bad_base": Out(1),
                "bad_limit": Out(1),
                "window": Out(window_layout(system)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ends = self.system, self.base, self.limit
        m.d.comb += [
            self.window.eq(pages(*ends)),
            Cat(self.bad_base, self.bad_limit).eq(Cat(*misplaced(*ends))),
        ]
        return m


@pytest.mark.parametrize("bits", [16, 40, 64])
def test_ends_are_compared_in_full(bits: int) -> None:
    dut = Ends(SystemConfig(core=CORE, address_bits=bits))
    space = 1 << bits

    async def testbench(ctx) -> None:
        for place in {0, 0x1000, 0x2000, space - 0x1000, space, space + 0x1000, 1 << 40, 1 << 63}:
            for off in (*(1 << bit for bit in range(12)), 0, 0xFFF, 0xFFE, 0x7FF):
                base, limit = (place + off) % (1 << 64), (place + (off ^ 0xFFF)) % (1 << 64)
                ctx.set(dut.base, base)
                ctx.set(dut.limit, limit)
                assert ctx.get(dut.bad_base) == (off != 0 or base >= space)
                assert ctx.get(dut.bad_limit) == (off != 0 or limit >= space)
                if not ctx.get(dut.bad_base):
                    page = base >> 12
                    assert (ctx.get(dut.window.base), ctx.get(dut.window.limit)) == (page, page)

    run(dut, testbench)


def check(system: SystemConfig, cases: list[tuple[int, int, int]]) -> None:
    dut = Window(system)

    async def testbench(ctx) -> None:
        for base, limit, page in cases:
            ctx.set(dut.window, {"base": base, "limit": limit})
            ctx.set(dut.page, page)
            assert ctx.get(dut.inside) == (base <= page <= limit), (base, limit, page)

    run(dut, testbench)


def test_every_window_of_few_pages() -> None:
    check(SystemConfig(core=CORE, address_bits=16), list(np.ndindex(16, 16, 16)))


@pytest.mark.parametrize("bits", [40, 64])
def test_edges_in_wide_addresses(bits: int) -> None:
    top = (1 << bits - PAGE_BITS) - 1
    ends = [0, 1, top >> 1, (top >> 1) + 1, top - 1, top]
    cases = [(a, b, page) for a in ends for b in ends for page in ends]
    check(SystemConfig(core=CORE, address_bits=bits), cases)
