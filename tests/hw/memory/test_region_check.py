"""Every region of a descriptor: its first byte, whether it is used, and its window."""

import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.memory.region_check import RegionCheck, regions_of
from dtqatten.interface.descriptor import PAGE_BYTES, Flag, pack
from dtqatten.interface.regions import region_sizes
from dtqatten.sim.engines.native import run

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=100, heads=36, v_gains=True,
              capacity=110)  # fmt: skip
NAMES = ("q", "k", "v", "head_table", "q_gains", "k_gains", "v_gains", "query_list", "key_list",
         "next", "output", "output", "ids", "importance")  # fmt: skip
FIELDS = {"heads": 36, "kv_heads": 18, "queries": 80, "stored": 60, "capacity": 110,
          "tokens": 90, "k0": 50, "next": 0x13F00}  # fmt: skip
PLACES = {name: 0x8000 for name in NAMES if name != "next"}
#: First page and the last, of what may be read and written.
WINDOWS = {"read": (2, 0x13), "write": (0x20, 0x2F)}


@pytest.mark.parametrize("codes", [0, Flag.CODES])
@pytest.mark.parametrize("chained", [0, Flag.QUERY_CHAINED])
def test_regions_end_in_their_window(chained: int, codes: int) -> None:
    flags = codes | chained | Flag.Q_GAINS | Flag.K_GAINS | Flag.V_GAINS | Flag.REPORT | Flag.IDS
    flags |= Flag.QUERY_LIST | Flag.KEY_LIST
    dut = RegionCheck(SystemConfig(core=CORE, address_bits=20))
    sizes = {name: size for name, size, _ in region_sizes({**FIELDS, "flags": flags}, CORE.d_head)}
    sizes["next"] = 256

    async def testbench(ctx) -> None:
        for kind, (first, last) in WINDOWS.items():
            window = getattr(dut, f"{kind}_window")
            ctx.set(window.base, first)
            ctx.set(window.limit, last)
        for index, name in enumerate(NAMES):
            first, last = WINDOWS["write" if index >= 10 else "read"]
            end = (last + 1) * PAGE_BYTES
            for at, inside in (
                (first * PAGE_BYTES, True),
                (first * PAGE_BYTES - 1, False),
                (end - sizes[name], True),
                (end - sizes[name] + 1, False),
                ((1 << 64) - sizes[name], False),
            ):
                fields = FIELDS | PLACES | {name: at, "flags": flags}
                ctx.set(dut.descriptor.as_value(), int.from_bytes(pack(fields), "little"))
                ctx.set(dut.index, index)
                await ctx.tick().repeat(3)
                assert ctx.get(dut.base) == at
                assert ctx.get(dut.misaligned) == (at % 64 != 0)
                assert ctx.get(dut.written) == (index >= 10)
                used = index not in (10, 11) or (index == 11) == bool(codes)
                assert ctx.get(dut.enabled) == used
                if used:
                    assert ctx.get(dut.inside) == inside, (name, at)

    assert len(NAMES) == regions_of(CORE)
    run(dut, testbench)


def test_what_no_flag_asks_for_is_not_used() -> None:
    dut = RegionCheck(SystemConfig(core=CORE, address_bits=20))
    used = []

    async def testbench(ctx) -> None:
        ctx.set(dut.descriptor.as_value(), int.from_bytes(pack({"flags": 0, "next": 0}), "little"))
        for index in range(len(NAMES)):
            ctx.set(dut.index, index)
            await ctx.tick()
            if ctx.get(dut.enabled):
                used.append(NAMES[index])

    run(dut, testbench)
    assert used == ["q", "k", "v", "head_table", "output"]
