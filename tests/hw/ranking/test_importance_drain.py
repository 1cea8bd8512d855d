"""Words of a bank leave as beats of importance, each counter once, in order."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.ranking.importance_drain import ImportanceDrain
from dtqatten.sim.engines.native import run

CONFIGS = [
    Config(rows=3, cols=4, depth=8, d_head=8, n_max=18, topk_lanes=2),
    Config(rows=3, cols=4, depth=8, d_head=8, n_max=18, count_normalize=True),
    Config(rows=3, cols=4, depth=8, d_head=8, n_max=18, product_stages=2),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["two lanes", "counted", "slow"])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_every_counter_leaves_once(config: Config, stall: float) -> None:
    dut = ImportanceDrain(config)
    rng = np.random.default_rng(len(config.__dict__))
    lanes = config.importance_lanes

    async def testbench(ctx) -> None:
        for keys in (1, 4, 5, 18, 9):
            counters = rng.integers(0, 1 << 32, keys).tolist()
            words = -(-keys // config.cols)
            ctx.set(dut.last_word, words - 1)
            ctx.set(dut.tail, keys - (words - 1) * config.cols)
            ctx.set(dut.start, 1)
            got: list[int] = []
            last = False
            memory = behind = {"word": None}
            for now in range(200):
                offered = bool(ctx.get(dut.o.valid))
                ready = rng.random() >= stall
                ctx.set(dut.o.ready, int(ready))
                # Without stalls a beat a cycle, from the stated cycle on.
                if stall == 0.0 and not last:
                    assert offered == (now >= 3 + config.timing.buffered_counters)
                fetch, moves = bool(ctx.get(dut.fetch)), bool(ctx.get(dut.moves))
                address = ctx.get(dut.address)
                if offered and ready:
                    beat = ctx.get(dut.o.p)
                    got += [beat.scores[i] for i in range(beat.tokens)]
                    last = bool(beat.last)
                    assert last or beat.tokens == lanes
                await ctx.tick()
                ctx.set(dut.start, 0)
                if now:
                    assert ctx.get(dut.leaving) == (not last)
                # The bank: its memory, and a register behind it if buffered.
                if moves:
                    behind = memory
                if fetch:
                    memory = {"word": address}
                shown = (behind if config.timing.buffered_counters else memory)["word"]
                if shown is not None:
                    at = shown * config.cols
                    for c, value in enumerate(counters[at : at + config.cols]):
                        ctx.set(dut.word[c].sum, value)
                if last and not ctx.get(dut.o.valid):
                    break
            assert got == counters
            assert last

    run(dut, testbench)
