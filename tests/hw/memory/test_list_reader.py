"""Lists of tokens come whole and in order, or are refused with the place of the wrong id."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts, list_bytes
from dtqatten.hw.memory.list_reader import ListReader
from dtqatten.sim.engines.native import run
from dtqatten.sim.lockstep.port_memory import PortMemory

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=24, capacity=1000)
#: Where the list of queries is, and that of keys, which crosses a page.
BASES = (0x40, 4096 - 20)


def system(bits: int) -> SystemConfig:
    return SystemConfig(core=CORE, bus_bits=bits, burst_beats=4, buffer_bursts=2, address_bits=20)


def lists_of(queries: list[int] | None, keys: list[int] | None, **changes) -> list[dict]:
    return [
        {"present": int(ids is not None), "base": base, "count": len(ids or [0]), "four_bit": 0,
         "limit": 1000} | changes
        for ids, base in zip((queries, keys), BASES, strict=True)
    ]  # fmt: skip


def memory_of(config: SystemConfig, rng, stall: float, *ids: list[int] | None) -> PortMemory:
    data = bytearray(8192)
    for base, each in zip(BASES, ids, strict=True):
        raw = list_bytes(each or [])
        data[base : base + len(raw)] = raw
    return PortMemory(config, bytes(data), rng, stall)


async def read(ctx, dut: ListReader, lists: list[dict]) -> tuple[list, int | None, int]:
    """Return entries written, the address of a fault, and the cycles until ``ready``."""
    for port, each in zip(dut.lists, lists, strict=True):
        ctx.set(port, each)
    ctx.set(dut.ahead, 1)
    written, fault = [], None
    cycles, wrote = -1, 0
    while cycles < 399:
        cycles += 1
        values = (dut.write, dut.slot, dut.id, dut.fault, dut.fault_address, dut.ready, dut.end)
        *_, write, slot, id_, failed, address, ready, end = await ctx.tick().sample(*values)
        assert write in (0, 1, 2)
        # Keys end in the cycle after their last one.
        assert end == (ready and wrote == 2)
        wrote = write
        if write:
            assert fault is None
            written.append((write.bit_length() - 1, slot, id_))
        if failed and fault is None:
            fault = address
        if ready:
            break
    ctx.set(dut.ahead, 0)
    ctx.set(dut.begin, fault is None)
    await ctx.tick()
    ctx.set(dut.begin, 0)
    return written, fault, cycles


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("bits", [64, 128, 512])
@pytest.mark.parametrize(
    ("queries", "keys"), [(None, None), ([999], None), (None, [5]), ([0, 7], [0, 1, 2])]
)
def test_each_list_that_is_there(bits: int, stall: float, queries, keys) -> None:
    config, rng = system(bits), np.random.default_rng(bits)
    memory = memory_of(config, rng, stall, queries, keys)
    dut = ListReader(config)
    found, port = memory.reads(dut.port)

    async def testbench(ctx) -> None:
        for _ in range(2):
            written, fault, cycles = await read(ctx, dut, lists_of(queries, keys))
            assert fault is None
            assert written == [
                (which, slot, id_)
                for which, ids in enumerate((queries, keys))
                for slot, id_ in enumerate(ids or [])
            ]
            if not stall:
                given = [ids for ids in (queries, keys) if ids is not None]
                assert cycles <= 1 + sum(6 + 1 + len(ids) for ids in given)
            assert ctx.get(dut.ready) == (queries is None and keys is None)

    run(dut, testbench, background=[port])
    wanted = [
        burst
        for base, ids in zip(BASES, (queries, keys), strict=True)
        if ids is not None
        for burst in bursts(config, base, 2 * len(ids))
    ]
    assert found == wanted * 2


def test_latency() -> None:
    config, rng = system(64), np.random.default_rng(0)
    memory = memory_of(config, rng, 0.0, list(range(9)), list(range(7)))
    dut = ListReader(config)
    _, port = memory.reads(dut.port)

    async def testbench(ctx) -> None:
        # The memory answers in the cycle after a request.
        for lists, cycles in (
            (lists_of(None, None), 0),
            (lists_of(list(range(9)), None), 1 + (6 + 1 + 9)),
            (lists_of(list(range(9)), list(range(7))), 1 + (6 + 1 + 9) + (6 + 1 + 7)),
        ):
            assert (await read(ctx, dut, lists))[2] == cycles

    run(dut, testbench, background=[port])


@pytest.mark.parametrize(
    ("ids", "four_bit", "limit", "wrong"),
    [
        ([3, 5, 9, 2, 4], 3, 10, None),
        ([3, 5, 9, 2, 4], 3, 9, 2),
        ([3, 5, 9, 2, 4], 0, 10, 3),
        ([3, 5, 9, 2, 4], 2, 10, 3),
        ([3, 5, 9, 2, 4], 5, 10, 3),
        ([3, 3], 0, 10, 1),
        ([3, 3], 1, 10, None),
        ([10], 1, 10, 0),
        ([65535], 0, 1000, 0),
        ([0, 1, 1000], 0, 1000, 2),
        ([0, 1, 999], 0, 1000, None),
        ([4, 5, 1, 0], 2, 1000, 3),
    ],
)
@pytest.mark.parametrize("which", [0, 1])
def test_what_is_no_list_is_refused(which: int, ids, four_bit, limit, wrong) -> None:
    config, rng = system(64), np.random.default_rng(0)
    pair = (ids, [1]) if which == 0 else ([1], ids)
    memory = memory_of(config, rng, 0.0, *pair)
    dut = ListReader(config)
    _, port = memory.reads(dut.port)
    lists = lists_of(*pair)
    lists[which] |= {"four_bit": four_bit, "limit": limit}

    async def testbench(ctx) -> None:
        written, fault, cycles = await read(ctx, dut, lists)
        before = 1 if which == 1 else 0
        if wrong is None:
            assert fault is None
            assert len(written) == len(ids) + 1
        else:
            assert fault == BASES[which] + 2 * wrong
            assert len(written) == before + wrong
            # Nothing follows: the layer does not begin.
            assert cycles == 399
            assert not ctx.get(dut.ready)

    run(dut, testbench, background=[port])
