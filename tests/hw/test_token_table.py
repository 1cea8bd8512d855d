"""Ids become the next layer's tokens, positions and runs."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden.memory import runs
from dtqatten.hw.token_table import TokenTable
from dtqatten.sim.native import offer, run
from dtqatten.sim.run_table import id_beats

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

    async def read(ctx, wanted_runs, positions, ids) -> None:
        for reader in range(2):
            for number, (first, tokens) in enumerate(wanted_runs):
                ctx.set(dut.index[reader], number)
                ctx.set(dut.asked, 1 << reader)
                await ctx.tick().until(dut.granted[reader])
                ctx.set(dut.asked, 0)
                assert ctx.get(dut.entry.first) == first
                assert ctx.get(dut.entry.tokens) == tokens
                assert ctx.get(dut.entry.last) == (number == len(wanted_runs) - 1)
        for slot, (id_, position) in enumerate(zip(ids, positions, strict=True)):
            for port in range(2):
                ctx.set(dut.slots[port], slot)
            await ctx.tick()
            for port in range(2):
                assert ctx.get(dut.tokens[port].id) == id_
                assert ctx.get(dut.tokens[port].position) == position

    async def host(ctx) -> None:
        ctx.set(dut.count, 24)
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        positions = list(range(24))
        await read(ctx, [(0, 24)], positions, positions)
        for ids, four_bit in layers:
            assert not ctx.get(dut.complete)
            await offer(dut.ids, id_beats(ids, four_bit, 4), rng, stall)(ctx)
            await ctx.tick().until(dut.complete)
            ctx.set(dut.begin, 1)
            ctx.set(dut.chained, 1)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            positions = [positions[i] for i in ids]
            await read(ctx, runs(ids, four_bit), positions, ids)

    run(dut, host, deadline=20_000)
