"""Ids become the next layer's tokens: rows and positions."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.memory.token_table import TokenTable
from dtqatten.sim.engines.native import offer, run
from dtqatten.sim.lockstep.row_table import id_beats

CONFIG = Config(rows=2, cols=2, depth=2, d_head=8, n_max=24, topk_lanes=4)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_chain_of_layers(stall: float) -> None:
    rng = np.random.default_rng(1)
    dut = TokenTable(CONFIG, 2)
    count, layers = 24, []
    for _ in range(6):
        kept = int(rng.integers(1, count + 1))
        four_bit = int(rng.integers(0, kept + 1))
        chosen = rng.permutation(count)[:kept]
        ids = [*sorted(chosen[:four_bit].tolist()), *sorted(chosen[four_bit:].tolist())]
        layers.append((ids, four_bit))
        count = kept

    async def read_rows(ctx, ids) -> None:
        """Both readers ask at once: each slot is granted in turn, its row a cycle later."""
        for slot, id_ in enumerate(ids):
            for reader in range(2):
                ctx.set(dut.index[reader], slot)
            ctx.set(dut.asked, 0b11)
            granted = ctx.get(dut.granted)
            assert granted in (0b01, 0b10)
            await ctx.tick()
            assert ctx.get(dut.entry) == id_
            ctx.set(dut.asked, 0b11 & ~granted)
            assert ctx.get(dut.granted) == 0b11 & ~granted
            await ctx.tick()
            assert ctx.get(dut.entry) == id_
            ctx.set(dut.asked, 0)

    async def read(ctx, positions, ids) -> None:
        for slot, (id_, position) in enumerate(zip(ids, positions, strict=True)):
            for port in range(2):
                ctx.set(dut.slots[port], slot)
            await ctx.tick()
            for port in range(2):
                assert ctx.get(dut.tokens[port].id) == id_
                assert ctx.get(dut.tokens[port].position) == position

    async def host(ctx) -> None:
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        positions = list(range(24))
        await read(ctx, positions, positions)
        for ids, four_bit in layers:
            assert not ctx.get(dut.complete)
            await offer(dut.ids, id_beats(ids, four_bit, 4), rng, stall)(ctx)
            assert not ctx.get(dut.complete)
            await ctx.tick().repeat(1)
            assert ctx.get(dut.complete)
            ctx.set(dut.begin, 1)
            ctx.set(dut.chained, 1)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            positions = [positions[i] for i in ids]
            await read(ctx, positions, ids)
            await read_rows(ctx, ids)

    run(dut, host, deadline=20_000)
