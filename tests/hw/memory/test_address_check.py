"""Windows become pages; the first wrong end, or the descriptor's address, is an error."""

import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.memory.address_check import AddressCheck
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.engines.native import run

SYSTEM = SystemConfig(core=Config(rows=2, cols=2, depth=2, d_head=8, n_max=12), address_bits=20)
GOOD = {"read_base": 0x1000, "read_limit": 0x3FFF, "write_base": 0xFF000, "write_limit": 0xFFFFF,
        "address": 0xFFFC0}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({}, ErrorCode.NONE, 0),
        ({"read_base": 0x1001}, ErrorCode.WINDOW, 0x1001),
        ({"read_base": 1 << 20}, ErrorCode.WINDOW, 1 << 20),
        ({"read_limit": 0x3000}, ErrorCode.WINDOW, 0x3000),
        ({"write_base": 0x800}, ErrorCode.WINDOW, 0x800),
        ({"write_limit": 1 << 63}, ErrorCode.WINDOW, 1 << 63),
        ({"address": 0x20}, ErrorCode.ALIGNMENT, 0x20),
        ({"address": 1 << 20}, ErrorCode.READ_WINDOW, 1 << 20),
        # The first counts.
        ({"address": (1 << 63) + 1}, ErrorCode.ALIGNMENT, (1 << 63) + 1),
        ({"address": 1, "write_base": 2, "read_limit": 3}, ErrorCode.WINDOW, 3),
    ],
)
def test_what_is_wrong_first(changes: dict[str, int], code: ErrorCode, where: int) -> None:
    dut = AddressCheck(SYSTEM)

    async def testbench(ctx) -> None:
        for name, value in (GOOD | changes).items():
            ctx.set(getattr(dut, name), value)
        await ctx.tick()
        assert ctx.get(dut.error) == code
        assert ctx.get(dut.error_address) == where

    run(dut, testbench)


def test_pages_of_the_windows() -> None:
    dut = AddressCheck(SYSTEM)

    async def testbench(ctx) -> None:
        for name, value in GOOD.items():
            ctx.set(getattr(dut, name), value)
        pages = [ctx.get(window[end]) for window in (dut.read_window, dut.write_window)
                 for end in ("base", "limit")]  # fmt: skip
        assert pages == [1, 3, 0xFF, 0xFF]

    run(dut, testbench)
