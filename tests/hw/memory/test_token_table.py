"""Ids become the next layer's tokens: rows and positions."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden.memory import runs
from dtqatten.hw.memory.token_table import TokenTable
from dtqatten.sim.engines.native import offer, run
from dtqatten.sim.lockstep.row_table import id_beats

CONFIG = Config(rows=2, cols=2, depth=2, d_head=8, n_max=24, topk_lanes=4, capacity=90)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_chain_of_layers(stall: float) -> None:
    rng = np.random.default_rng(1)
    dut = TokenTable(CONFIG)
    count, layers = 24, []
    for _ in range(6):
        kept = int(rng.integers(1, count + 1))
        four_bit = int(rng.integers(0, kept + 1))
        chosen = rng.permutation(count)[:kept]
        ids = [*sorted(chosen[:four_bit].tolist()), *sorted(chosen[four_bit:].tolist())]
        layers.append((ids, four_bit))
        count = kept

    async def read_rows(ctx, ids) -> None:
        """Both readers ask at once: each slot is granted in turn, its row a cycle later.

        A run is granted a cycle after it is asked for, and there two cycles later.
        """
        for number, (first, tokens) in enumerate(runs(ids)):
            assert ctx.get(dut.run_count) == len(runs(ids))
            ctx.set(dut.run_index[3], number)
            ctx.set(dut.run_asked, 8)
            await ctx.tick()
            assert ctx.get(dut.run_granted) == 8
            await ctx.tick().repeat(2)
            assert (ctx.get(dut.run.first), ctx.get(dut.run.tokens)) == (first, tokens)
            ctx.set(dut.run_asked, 0)
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
            ctx.set(dut.query_slot, slot)
            ctx.set(dut.key_slot, slot)
            await ctx.tick()
            for token in (dut.query, dut.key):
                assert ctx.get(token.id) == id_
                assert ctx.get(token.position) == position

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
            ctx.set(dut.query_chained, 1)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            positions = [positions[i] for i in ids]
            await read(ctx, positions, ids)
            await read_rows(ctx, ids)

    run(dut, host, deadline=20_000)


async def tokens_of(ctx, dut: TokenTable, queries: int, keys: int) -> tuple[list, list]:
    """Return place and position of each query and each key."""
    found: tuple[list, list] = ([], [])
    for slot in range(max(queries, keys)):
        ctx.set(dut.query_slot, slot if slot < queries else 0)
        ctx.set(dut.key_slot, slot if slot < keys else 0)
        await ctx.tick()
        for log, token, count in zip(found, (dut.query, dut.key), (queries, keys), strict=True):
            if slot < count:
                log.append((ctx.get(token.id), ctx.get(token.position)))
    return found


@pytest.mark.parametrize("chained_after", [False, True])
def test_lists_come_from_memory(chained_after: bool) -> None:
    """Queries and keys in every combination; what is kept of a list has its positions."""
    rng = np.random.default_rng(2)
    dut = TokenTable(CONFIG)
    queries, keys = (rng.permutation(90)[:n].tolist() for n in (7, 24))

    async def write(ctx, which: int, ids: list[int]) -> None:
        ctx.set(dut.write, 1 << which)
        for slot, id_ in enumerate(ids):
            ctx.set(dut.write_slot, slot)
            ctx.set(dut.write_id, id_)
            await ctx.tick()
        ctx.set(dut.write, 0)
        ctx.set(dut.write_end, which)
        await ctx.tick()
        ctx.set(dut.write_end, 0)

    async def host(ctx) -> None:
        for query_listed, listed, start in ((0, 0, 66), (1, 0, 0), (0, 1, 3), (1, 1, 0)):
            if query_listed:
                await write(ctx, 0, queries)
            if listed:
                await write(ctx, 1, keys)
            ctx.set(dut.begin, 1)
            ctx.set(dut.chained, 0)
            ctx.set(dut.query_chained, 0)
            ctx.set(dut.listed, listed)
            ctx.set(dut.query_listed, query_listed)
            ctx.set(dut.query_start, start)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            # The next layer's lists come while this one is read.
            await write(ctx, 0, queries[::-1])
            asked, found = await tokens_of(ctx, dut, 7, 24)
            assert asked == [(i, queries[i] if query_listed else start + i) for i in range(7)]
            positions = keys if listed else list(range(24))
            assert found == [(p, p) for p in positions]
            ids = sorted(rng.permutation(24)[:9].tolist())
            await offer(dut.ids, id_beats(ids, 9, 4), rng, 0.3)(ctx)
            await ctx.tick().repeat(2)
            assert ctx.get(dut.complete)
            if not chained_after:
                continue
            if query_listed:
                await write(ctx, 0, queries)
            ctx.set(dut.begin, 1)
            ctx.set(dut.chained, 1)
            ctx.set(dut.listed, 0)
            await ctx.tick()
            ctx.set(dut.begin, 0)
            asked, found = await tokens_of(ctx, dut, 7, 9)
            assert found == [(i, positions[i]) for i in ids]
            assert asked == [(i, queries[i] if query_listed else start + i) for i in range(7)]
            await offer(dut.ids, id_beats([0], 1, 4), rng)(ctx)
            await ctx.tick().repeat(2)

    run(dut, host, deadline=20_000)


def test_ids_that_are_not_used_are_taken_whole_and_leave_nothing() -> None:
    """Some have come when it is known; a list is read in their place, while the others come."""
    dut = TokenTable(CONFIG)
    kept, keys = list(range(0, 20)), [70, 71, 72, 5, 6, 80]
    beats = id_beats(kept, 20, 4)

    async def host(ctx) -> None:
        ctx.set(dut.begin, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        await offer(dut.ids, beats[:2], np.random.default_rng(0))(ctx)
        ctx.set(dut.unused, 1)
        taken = 2
        for slot, id_ in enumerate(keys):
            if taken < len(beats):
                # A beat a cycle, whatever it holds.
                ctx.set(dut.ids.p, beats[taken])
                ctx.set(dut.ids.valid, 1)
                assert ctx.get(dut.ids.ready)
                taken += 1
            # The id of the cycle before the first one may still be on its way.
            if slot == 0:
                await ctx.tick()
                ctx.set(dut.ids.valid, 0)
            ctx.set(dut.write, 2)
            ctx.set(dut.write_slot, slot)
            ctx.set(dut.write_id, id_)
            await ctx.tick()
            ctx.set(dut.write, 0)
            ctx.set(dut.ids.valid, 0)
        assert taken == len(beats)
        ctx.set(dut.write_end, 1)
        await ctx.tick()
        ctx.set(dut.write_end, 0)
        assert ctx.get(dut.complete)
        ctx.set(dut.begin, 1)
        ctx.set(dut.listed, 1)
        await ctx.tick()
        ctx.set(dut.begin, 0)
        assert ctx.get(dut.run_count) == len(runs(keys))
        for number, (first, tokens) in enumerate(runs(keys)):
            ctx.set(dut.run_index[0], number)
            ctx.set(dut.run_asked, 1)
            await ctx.tick().repeat(3)
            assert (ctx.get(dut.run.first), ctx.get(dut.run.tokens)) == (first, tokens)
        _, found = await tokens_of(ctx, dut, 1, len(keys))
        assert found == [(id_, id_) for id_ in keys]

    run(dut, host)
