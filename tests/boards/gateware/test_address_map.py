# amaranth: UnusedElaboratable=no
"""Where the host's words go, and what is refused."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib.wiring import connect

from dtqatten.boards.gateware.address_map import AddressMap
from dtqatten.hw.bus.register_file import RegisterFile
from dtqatten.interface.host_link import (
    LINK_BASE,
    LINK_IDENTIFIER,
    MEMORY_BASE,
    REGISTER_BASE,
    LinkRegister,
)
from dtqatten.interface.registers import REGISTERS, Access, Control, offset_of
from dtqatten.sim.engines.native import run

MEMORY_BYTES = 256


def test_every_word_is_where_it_should_be_and_nothing_anywhere_else() -> None:
    m = Module()
    m.submodules.map = dut = AddressMap(MEMORY_BYTES, 12_345_678)
    m.submodules.file = file = RegisterFile()
    for channel in ("aw", "w", "ar"):
        connect(m, getattr(dut.lite, channel), getattr(file.lite, channel))
    for channel in ("b", "r"):
        connect(m, getattr(file.lite, channel), getattr(dut.lite, channel))
    refused = 0
    held: dict[int, int] = {}

    async def access(context: Any, address: int, data: int | None = None) -> int:
        request = {"word": address // 4, "data": data or 0, "write": int(data is not None)}
        context.set(dut.request.p, request)
        context.set(dut.request.valid, 1)
        await context.tick().until(dut.request.ready)
        context.set(dut.request.valid, 0)
        context.set(dut.answer.ready, 1)
        (value,) = await context.tick().sample(dut.answer.p).until(dut.answer.valid)
        context.set(dut.answer.ready, 0)
        return int(value)

    async def memory(context: Any) -> None:
        asked = False
        while True:
            context.set(dut.memory.ready, int(not asked))
            context.set(dut.memory_answer.valid, int(asked))
            _, _, valid, p, taken = await context.tick().sample(
                dut.memory.valid & dut.memory.ready, dut.memory.p, dut.memory_answer.ready
            )
            asked = asked and not taken
            if valid:
                at, asked = p.word * 4 - MEMORY_BASE, True
                assert 0 <= at < MEMORY_BYTES
                if p.write:
                    held[at] = p.data
                context.set(dut.memory_answer.p, held.get(at, 0))

    async def expect_refused(context: Any, address: int, data: int | None = None) -> None:
        nonlocal refused
        refused += 1
        if data is None:
            assert await access(context, address) == 0
        else:
            await access(context, address, data)
        assert await access(context, LINK_BASE + 4 * LinkRegister.REFUSED) == refused
        assert context.get(dut.refused)

    async def host(context: Any) -> None:
        context.set(dut.received, 0xABCD)
        context.set(dut.sent, 0x1234)
        for register, wanted in (
            (LinkRegister.ID, LINK_IDENTIFIER),
            (LinkRegister.MEMORY_BYTES, MEMORY_BYTES),
            (LinkRegister.CLOCK_HZ, 12_345_678),
            (LinkRegister.RECEIVED, 0xABCD),
            (LinkRegister.SENT, 0x1234),
            (LinkRegister.REFUSED, 0),
        ):
            assert await access(context, LINK_BASE + 4 * register) == wanted
        assert not context.get(dut.refused)
        for at in range(0, MEMORY_BYTES, 4):
            await access(context, MEMORY_BASE + at, at * 3 + 1)
        for at in range(0, MEMORY_BYTES, 4):
            assert await access(context, MEMORY_BASE + at) == at * 3 + 1
        for register in REGISTERS:
            if register.access is Access.WRITE:
                await access(context, REGISTER_BASE + register.offset, 0x5)
                assert await access(context, REGISTER_BASE + register.offset) == 0x5
        await access(context, REGISTER_BASE + offset_of("control"), int(Control.ABORT))
        assert await access(context, LINK_BASE + 4 * LinkRegister.REFUSED) == 0
        for address in (
            *(0, MEMORY_BASE - 4, MEMORY_BASE + MEMORY_BYTES, MEMORY_BASE ^ 1 << 31),
            *(REGISTER_BASE - 4, REGISTER_BASE + 512, LINK_BASE - 4, LINK_BASE + 4 * 7),
            *(
                LINK_BASE + 64,
                REGISTER_BASE + 508,
                REGISTER_BASE ^ 1 << 28,
                MEMORY_BASE + (1 << 32),
            ),
        ):
            await expect_refused(context, address)
            await expect_refused(context, address, 1)
        await expect_refused(context, LINK_BASE, 1)
        await expect_refused(context, REGISTER_BASE + offset_of("status"), 1)
        await expect_refused(context, REGISTER_BASE + offset_of("control"), 1 << 31)

    run(m, host, background=[memory], deadline=20_000)
