"""The order of slots: row blocks of both classes in turns."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden.numerics.order import aligned, alternate
from dtqatten.hw.memory.slots import RowBlocks, Slots
from dtqatten.sim.engines.native import run


def config(rows: int, n_max: int) -> Config:
    return Config(rows=rows, cols=2, depth=2, d_head=8, n_max=n_max)


def orders(rows: int, n_max: int) -> list[tuple[int, int]]:
    """Return tokens and 4-bit tokens of layers: each count of either, or some of many."""
    layers = [(n, n4) for n in range(1, n_max + 1) for n4 in range(n + 1)]
    layers = [(n, n4) for n, n4 in layers if aligned(n4, n, rows) == n4]
    rng = np.random.default_rng(rows)
    keep = rng.permutation(len(layers))[:60]
    return [layers[i] for i in [0, len(layers) - 1, *keep]]


async def start(ctx, dut, tokens: int, four_bit: int) -> None:
    ctx.set(dut.tokens, tokens)
    ctx.set(dut.four_bit, four_bit)
    ctx.set(dut.restart, 1)
    await ctx.tick()
    ctx.set(dut.restart, 0)


@pytest.mark.parametrize(("rows", "n_max"), [(1, 1), (1, 12), (2, 13), (3, 17), (8, 64), (64, 40)])
def test_slots_of_queries_are_the_golden_order(rows: int, n_max: int) -> None:
    dut = Slots(config(rows, n_max), True)
    rng = np.random.default_rng(0)

    async def bench(ctx) -> None:
        for tokens, four_bit in orders(rows, n_max):
            await start(ctx, dut, tokens, four_bit)
            await ctx.tick()
            wanted = alternate(four_bit, tokens, rows).tolist()
            heads = 2
            for head in range(heads):
                for at, slot in enumerate(wanted):
                    while rng.random() < 0.2:
                        assert ctx.get(dut.slot) == slot
                        await ctx.tick()
                    assert ctx.get(dut.slot) == slot
                    assert ctx.get(dut.wide) == (slot >= four_bit)
                    assert ctx.get(dut.last) == (at == tokens - 1)
                    # A restart in mid-head forgets the rest.
                    if head == heads - 1 and at == tokens // 2:
                        break
                    ctx.set(dut.next, 1)
                    await ctx.tick()
                    ctx.set(dut.next, 0)

    run(dut, bench, deadline=60_000)


@pytest.mark.parametrize("n_max", [1, 12, 16])
def test_slots_in_order(n_max: int) -> None:
    """All layers, each begun in the middle of a head of the one before."""
    dut = Slots(config(2, n_max), False)
    rng = np.random.default_rng(0)

    async def bench(ctx) -> None:
        for tokens in range(1, n_max + 1):
            for four_bit in range(tokens + 1):
                await start(ctx, dut, tokens, four_bit)
                for slot in [*range(tokens)] * 2 + [*range(tokens // 2)]:
                    while rng.random() < 0.2:
                        await ctx.tick()
                    assert ctx.get(dut.slot) == slot
                    assert ctx.get(dut.wide) == (slot >= four_bit)
                    assert ctx.get(dut.last) == (slot == tokens - 1)
                    ctx.set(dut.next, 1)
                    await ctx.tick()
                    ctx.set(dut.next, 0)

    run(dut, bench)


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_a_row_block_every_cycle(rows: int) -> None:
    n_max = 19
    dut = RowBlocks(config(rows, n_max))

    async def bench(ctx) -> None:
        for tokens, four_bit in orders(rows, n_max):
            await start(ctx, dut, tokens, four_bit)
            await ctx.tick()
            order = alternate(four_bit, tokens, rows)
            blocks = [order[at : at + rows] for at in range(0, tokens, rows)]
            ctx.set(dut.next, 1)
            for _ in range(2):
                for number, block in enumerate(blocks):
                    assert ctx.get(dut.first) == block[0]
                    assert ctx.get(dut.size) == len(block)
                    assert ctx.get(dut.wide) == (block[0] >= four_bit)
                    assert ctx.get(dut.last) == (number == len(blocks) - 1)
                    await ctx.tick()
            ctx.set(dut.next, 0)

    run(dut, bench)
