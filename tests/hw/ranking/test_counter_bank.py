"""Rows are added to counters exactly, however close rows of one tile follow each other."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from dtqatten import Config
from dtqatten.hw.ranking.counter_bank import CounterBank, RowAdder, adding_stages
from dtqatten.sim.engines.native import run

CONFIGS = [
    Config(rows=3, cols=2, depth=8, d_head=8, n_max=8),
    Config(rows=3, cols=2, depth=8, d_head=8, n_max=8, count_normalize=True),
    Config(rows=3, cols=2, depth=8, d_head=8, n_max=8, product_stages=2),
]


class Summing(wiring.Component):
    """An adder and the bank that it works on."""

    def __init__(self, config: Config) -> None:
        self.adder, self.bank = RowAdder(config), CounterBank(config)
        self.fetch, self.summed = Signal(), Signal()
        super().__init__({"unused": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.adder, m.submodules.bank = adder, bank = self.adder, self.bank
        m.d.comb += [
            bank.summed.eq(self.summed),
            bank.accept.eq(adder.accept),
            bank.tile.eq(adder.tile),
            bank.write_tile.eq(adder.write_tile),
            bank.sums.eq(adder.sums),
            bank.fetch.eq(self.fetch),
            bank.moves.eq(1),
            adder.words[0].eq(bank.word),
        ]
        return m


@pytest.mark.parametrize("config", CONFIGS, ids=["plain", "counted", "slow"])
def test_sums_are_exact(config: Config) -> None:
    dut = Summing(config)
    rng = np.random.default_rng(5)
    words = 4

    async def testbench(ctx) -> None:
        for _ in range(5):
            sums = np.zeros((words, 2), dtype=np.int64)
            seen = np.zeros((words, 2), dtype=np.int64)
            fresh = [True] * words
            ctx.set(dut.summed, 1)
            for _ in range(80):
                accept = rng.random() < 0.8
                # Often the same tile as a row or two before.
                tile = int(rng.choice([0, 1, int(rng.integers(words))]))
                row = rng.integers(0, 1 << 16, 2)
                mask = rng.integers(0, 2, 2)
                ctx.set(dut.adder.accept, int(accept))
                ctx.set(dut.adder.tile, tile)
                ctx.set(dut.adder.fresh, int(fresh[tile]))
                ctx.set(dut.adder.counting, 1)
                ctx.set(dut.adder.row.probabilities, row.tolist())
                if config.count_normalize:
                    for c in range(2):
                        ctx.set(dut.adder.row.seen[c], int(mask[c]))
                if accept:
                    sums[tile] = row + (0 if fresh[tile] else sums[tile])
                    seen[tile] = mask + (0 if fresh[tile] else seen[tile])
                    fresh[tile] = False
                await ctx.tick()
            ctx.set(dut.adder.accept, 0)
            await ctx.tick().repeat(adding_stages(config) + 1)
            assert not ctx.get(dut.adder.in_flight)
            ctx.set(dut.summed, 0)
            for tile in range(words):
                ctx.set(dut.fetch, 1)
                ctx.set(dut.bank.address, tile)
                await ctx.tick()
                ctx.set(dut.fetch, 0)
                await ctx.tick()
                if not fresh[tile]:
                    word = ctx.get(dut.bank.word)
                    assert [word[c].sum for c in range(2)] == sums[tile].tolist()
                    if config.count_normalize:
                        assert [word[c].seen for c in range(2)] == (seen[tile] % 16).tolist()

    run(dut, testbench)
