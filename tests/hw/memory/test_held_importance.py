"""Which keys are protected, by their ids; importances one by one."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.numerics.select import protected
from dtqatten.hw.memory.beat_splitter import BeatSplitter
from dtqatten.hw.memory.held_importance import Protection
from dtqatten.sim.engines.native import collect, offer, run

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=24, capacity=60, held_importance=True)
SYSTEM = SystemConfig(core=CORE, bus_bits=64)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_first_and_last_positions_are_protected(stall: float) -> None:
    rng = np.random.default_rng(0)
    dut = Protection(SYSTEM)

    async def testbench(ctx) -> None:
        for number in range(30):
            listed = number % 4 != 0
            count = (1, 24, int(rng.integers(1, 25)))[number % 3]
            four_bit = (0, count, int(rng.integers(0, count + 1)))[number // 3 % 3]
            drawn = rng.permutation(60)[:count]
            ids = np.concatenate([np.sort(drawn[:four_bit]), np.sort(drawn[four_bit:])])
            ids = ids if listed else np.arange(count)
            first, last = (int(rng.choice([0, 1, 5, 60, 65535])) for _ in range(2))
            fields = {"listed": listed, "tokens": count, "four_bit": four_bit,
                      "protect_first": first, "protect_last": last}  # fmt: skip
            ctx.set(dut.layer, fields)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            found: list[int] = []
            while not ctx.get(dut.idle):
                asked = bool(ctx.get(dut.asked)) and rng.random() >= stall
                ctx.set(dut.granted, asked)
                index = ctx.get(dut.index)
                taken = bool(ctx.get(dut.valid)) and rng.random() >= stall
                ctx.set(dut.next, taken)
                if taken:
                    found.append(ctx.get(dut.safe))
                await ctx.tick()
                # An entry is there for one cycle.
                ctx.set(dut.entry, int(ids[index]) if asked else int(rng.integers(60)))
            assert found == protected(ids, first=first, last=last).tolist(), fields
            assert listed or not ctx.get(dut.asked)

    run(dut, testbench)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("lanes", [1, 4])
def test_beats_of_importances_are_split(lanes: int, stall: float) -> None:
    rng = np.random.default_rng(lanes)
    beats, expected = [], []
    for count in (1, lanes, 3 * lanes, 3 * lanes + 1):
        values = rng.integers(0, 1 << 32, count).tolist()
        for at in range(0, count, lanes):
            part = values[at : at + lanes]
            scores = part + [0] * (lanes - len(part))
            beats.append({"scores": scores, "tokens": len(part), "last": at + lanes >= count})
        expected += [(value, 1, int(i == count - 1)) for i, value in enumerate(values)]
    dut = BeatSplitter(lanes)

    def read(p) -> tuple:
        return p.scores[0], p.tokens, p.last

    taken, sink = collect(dut.o, len(expected), rng, stall, read)
    run(dut, offer(dut.i, beats, rng, stall), sink)
    assert taken == expected
