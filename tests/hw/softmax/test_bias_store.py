"""Biases of two heads: written query head by query head, read in any order, freed head by head."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.softmax.bias_store import BiasStore
from dtqatten.sim.engines.native import run

CONFIG = Config(rows=2, cols=3, depth=2, d_head=8, n_max=10, heads=6, grouped=True, bias_heads=3)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_heads_are_read_while_others_come(stall: float) -> None:
    """Of all lengths and groups; a head comes while another is read, no earlier than there is room.

    Words follow their tile by 11 cycles, and their query head by 9.
    """
    rng = np.random.default_rng(1)
    heads = [
        rng.integers(-(2**15), 2**15, (rng.integers(1, 4), rng.choice([1, 3, 4, 9, 10])))
        for _ in range(14)
    ]
    dut = BiasStore(CONFIG)
    wait, member_wait = BiasStore.LATENCY, BiasStore.MEMBER
    assert (wait, member_wait) == (11, 2)
    given, released, ended = [], [], []
    read: list[tuple[int, int, int, int]] = []

    async def writer(ctx) -> None:
        for number, head in enumerate(heads):
            for member, row in enumerate(head):
                for at, bias in enumerate(row):
                    while rng.random() < stall:
                        await ctx.tick()
                    last = at == len(row) - 1
                    ctx.set(dut.i.valid, 1)
                    ctx.set(dut.i.p, {"bias": int(bias), "last": last,
                                      "head": member == len(head) - 1})  # fmt: skip
                    await ctx.tick().until(dut.i.ready)
                    ctx.set(dut.i.valid, 0)
            ended.append(number)

    async def reader(ctx) -> None:
        members: list[int] = [0] * member_wait
        pending: list[tuple[int, int, int] | None] = [None] * wait
        cycle, number, tries = 0, 0, 0
        while number < len(heads) or any(pending):
            ctx.set(dut.release, 0)
            ctx.set(dut.tile, int(rng.integers(4)))
            asked = None
            member = int(rng.integers(3))
            if number < len(heads) and ctx.get(dut.ready) and rng.random() >= stall:
                group, keys = heads[number].shape
                member, tile = int(rng.integers(group)), int(rng.integers(-(-keys // 3)))
                ctx.set(dut.tile, tile)
                asked = (number, member, tile)
                tries += 1
                if tries > 12:
                    ctx.set(dut.release, 1)
                    released.append((cycle, number))
                    number, tries = number + 1, 0
            members.append(member)
            ctx.set(dut.member, members.pop(0))
            if (old := pending.pop(0)) is not None:
                which, of, at = old
                wanted = heads[which][of, 3 * at : 3 * at + 3]
                found = [ctx.get(dut.biases[i]) for i in range(len(wanted))]
                assert found == wanted.tolist(), old
                read.append((cycle, *old))
            pending.append(asked)
            given.append(len(ended))
            await ctx.tick()
            cycle += 1

    run(dut, reader, writer, deadline=20_000)
    assert len(read) == 13 * len(heads)
    # A third head ends only when the first one has been released for as long as it is read.
    for (cycle, number), _ in zip(released, heads[2:], strict=False):
        assert given[cycle] <= number + 2
