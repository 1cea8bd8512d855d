"""A window holds its first page, its last page and those between."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten import Config
from dtqatten.hw.window import PAGE_BITS, contains, window_layout
from dtqatten.sim.native import run
from dtqatten.system_config import SystemConfig

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
