"""Registers over AXI4-Lite: kinds of access, locks, strobes, what is no register."""

from dtqatten.hw.bus.axi import Response
from dtqatten.hw.bus.register_file import RegisterFile
from dtqatten.interface.registers import ADDRESS_BITS, REGISTERS, Access, offset_of
from dtqatten.sim.engines.native import run


async def write(ctx, dut: RegisterFile, address: int, value: int, strobes: int = 15) -> Response:
    """Write a word, its data a cycle after its address."""
    lite = dut.lite
    ctx.set(lite.b.ready, 1)
    ctx.set(lite.aw.valid, 1)
    ctx.set(lite.aw.p, address)
    await ctx.tick()
    assert not ctx.get(lite.aw.ready)
    ctx.set(lite.w.valid, 1)
    ctx.set(lite.w.p, {"data": value, "strb": strobes})
    await ctx.tick().until(lite.w.ready)
    ctx.set(lite.aw.valid, 0)
    ctx.set(lite.w.valid, 0)
    assert ctx.get(lite.b.valid)
    return ctx.get(lite.b.p)


async def read(ctx, dut: RegisterFile, address: int) -> tuple[int, Response]:
    """Read a word."""
    lite = dut.lite
    ctx.set(lite.r.ready, 1)
    ctx.set(lite.ar.valid, 1)
    ctx.set(lite.ar.p, address)
    await ctx.tick().until(lite.ar.ready)
    ctx.set(lite.ar.valid, 0)
    assert ctx.get(lite.r.valid)
    return ctx.get(lite.r.p.data), ctx.get(lite.r.p.resp)


def test_every_register_is_served() -> None:
    dut = RegisterFile()

    async def host(ctx) -> None:
        for i, register in enumerate(REGISTERS):
            for half in range(register.bits // 32):
                address, value = register.offset + 4 * half, 0x8000_0001 + (i << 8) + half
                at = 32 * half
                port = getattr(dut, register.name)
                if register.access is Access.READ:
                    ctx.set(port, value << at)
                    assert await read(ctx, dut, address) == (value, Response.OKAY)
                    assert await write(ctx, dut, address, 0) is Response.SLVERR
                    continue
                if register.flags:
                    value = int(~register.flags(0))
                assert await write(ctx, dut, address, value) is Response.OKAY
                shown, answer = await read(ctx, dut, address)
                assert answer is Response.OKAY
                assert shown == (value if register.access is Access.WRITE else 0)
        words = {r.offset + 4 * i for r in REGISTERS for i in range(r.bits // 32)}
        for address in range(0, 1 << ADDRESS_BITS, 4):
            if address not in words:
                assert await read(ctx, dut, address) == (0, Response.SLVERR)
                assert await write(ctx, dut, address, 1) is Response.SLVERR

    run(dut, host)


def test_after_reset_no_window_is_open() -> None:
    dut = RegisterFile()

    async def host(ctx) -> None:
        for kind in ("read", "write"):
            for end, value in (("base", 0x1000), ("limit", 0xFFF)):
                for half, word in enumerate((value, 0)):
                    address = offset_of(f"{kind}_{end}") + 4 * half
                    assert await read(ctx, dut, address) == (word, Response.OKAY)

    run(dut, host)


def test_a_bit_without_a_name_is_refused() -> None:
    dut = RegisterFile()

    async def host(ctx) -> None:
        ctx.set(dut.interrupt_set, 0b111)
        await ctx.tick()
        ctx.set(dut.interrupt_set, 0)
        await write(ctx, dut, offset_of("interrupt_enable"), 0b010)
        for name, names, before in (
            ("control", 4, 0),
            ("interrupt_enable", 3, 0b010),
            ("interrupt", 3, 0b111),
        ):
            for bit in range(names, 32):
                bad = 1 << bit | 0b101
                assert await write(ctx, dut, offset_of(name), bad) is Response.SLVERR
                assert ctx.get(getattr(dut, name)) == before
            # A byte that is not written says nothing.
            strobes = 0b0001
            assert (
                await write(ctx, dut, offset_of(name), 0xFFFF00 | 0b100, strobes) is Response.OKAY
            )
            assert ctx.get(getattr(dut, name)) == {"interrupt": 0b011}.get(name, 0b100)

    run(dut, host)


def test_strobes_choose_bytes() -> None:
    dut = RegisterFile()

    async def host(ctx) -> None:
        await write(ctx, dut, offset_of("descriptor"), 0x11223344)
        await write(ctx, dut, offset_of("descriptor"), 0xAABBCCDD, strobes=0b0101)
        assert ctx.get(dut.descriptor) == 0x11BB33DD

    run(dut, host)


def test_locked_registers_wait_for_the_machine() -> None:
    dut = RegisterFile()

    async def host(ctx) -> None:
        ctx.set(dut.busy, 1)
        for register in REGISTERS:
            if register.access is Access.WRITE:
                assert await write(ctx, dut, register.offset, 5) is Response.OKAY
                assert ctx.get(getattr(dut, register.name)) == (
                    register.init if register.locked else 5
                )

    run(dut, host)


def test_pulses_last_a_cycle_and_events_win_over_clearing() -> None:
    dut = RegisterFile()

    async def host(ctx) -> None:
        await write(ctx, dut, offset_of("control"), 5)
        assert ctx.get(dut.control) == 5
        await ctx.tick()
        assert ctx.get(dut.control) == 0
        ctx.set(dut.interrupt_set, 0b110)
        await ctx.tick()
        ctx.set(dut.interrupt_set, 0b010)
        await write(ctx, dut, offset_of("interrupt"), 0b110)
        assert ctx.get(dut.interrupt) == 0b010
        ctx.set(dut.interrupt_set, 0)
        await write(ctx, dut, offset_of("interrupt"), 0b010)
        assert ctx.get(dut.interrupt) == 0

    run(dut, host)
