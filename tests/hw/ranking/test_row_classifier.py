"""A lane of the top-k engine: ranges, and the index that a pass counts."""

import numpy as np
import pytest

from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.row_classifier import LaneClassifier
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("mode", ["calibrated", "parted", "lead 0", "lead 1"])
def test_classes_and_indices(mode: str) -> None:
    config = TopKConfig(1, 4, score_width=12, index_bits=4)
    dut = LaneClassifier(config)
    rng = np.random.default_rng(len(mode))
    top = (1 << config.index_bits) - 1
    inside_seen = [0, 0]

    async def testbench(ctx) -> None:
        shift = int(rng.integers(9))
        # Scores agree with ``low`` in the bits above the window.
        masks = [(0xFFF << bits) & 0xFFF for bits in (shift + 4, shift + 2)]
        lows = [0x5A3 & masks[0], 0x5A3 & masks[1]]
        ctx.set(dut.low, lows)
        ctx.set(dut.mask, masks)
        ctx.set(dut.shift, shift)
        ctx.set(dut.calibrated, int(mode == "calibrated"))
        ctx.set(dut.parted, int(mode == "parted"))
        ctx.set(dut.lead, int(mode == "lead 1"))
        accepted: list[int] = []
        expected = None
        for _ in range(600):
            word = int(rng.choice([lows[0], lows[1]])) ^ int(rng.integers(1 << min(12, shift + 6)))
            advance = rng.random() < 0.7
            counting, here = (rng.random() < 0.8 for _ in range(2))
            ctx.set(dut.word, word)
            ctx.set(dut.advance, int(advance))
            ctx.set(dut.counting, int(counting))
            ctx.set(dut.here, int(here))
            if expected is not None:
                valid, index = expected
                assert ctx.get(dut.valid) == valid
                assert not valid or ctx.get(dut.index) == index
            expected = None
            if len(accepted) >= 2:
                score = accepted[-2]
                inside = [not (score ^ low) & mask for low, mask in zip(lows, masks, strict=True)]
                beyond = [score >= low and not i for low, i in zip(lows, inside, strict=True)]
                assert ctx.get(dut.inside) == inside[0] + 2 * inside[1]
                assert ctx.get(dut.beyond) == beyond[0] + 2 * beyond[1]
                for t in range(2):
                    inside_seen[t] += inside[t]
                digit = score >> shift & top
                counts, index = {
                    "calibrated": (True, digit if inside[0] else top),
                    "parted": (any(inside), digit & top >> 1 | inside[1] << 3),
                    "lead 0": (inside[0], digit),
                    "lead 1": (inside[1], digit),
                }[mode]
                expected = counts and counting and here, index
            if advance:
                accepted.append(word)
            await ctx.tick()

    run(dut, testbench)
    assert min(inside_seen) > 20
