"""A lane's values: nibbles written one at a time, read ``depth`` at once, masked."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.arrays.value_lane import ValueLane, bank_words
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("stages", [1, 2], ids=["fast", "slow"])
def test_operands_are_the_nibbles_to_keep(stages: int, channels: int) -> None:
    config = Config(
        rows=2,
        cols=4,
        depth=4,
        d_head=32,
        n_max=8,
        product_stages=stages,
        value_load_bits=16 * channels,
    )
    assert config.channels_a_beat == channels
    dut = ValueLane(config)
    rng = np.random.default_rng(stages)
    words = bank_words(config)

    async def testbench(ctx) -> None:
        for bank in (0, 1):
            held = rng.integers(0, 16, (words, channels, config.depth))
            for word in range(words):
                for place in range(config.depth):
                    ctx.set(dut.write, 1 << place)
                    ctx.set(dut.write_bank, bank)
                    ctx.set(dut.write_address, word)
                    ctx.set(dut.write_nibbles, held[word, :, place].tolist())
                    await ctx.tick()
            ctx.set(dut.write, 0)
            await ctx.tick().repeat(1 + config.timing.word_stages)
            expected = []
            for _ in range(60):
                word, channel = int(rng.integers(words)), int(rng.integers(channels))
                valid = int(rng.random() < 0.8)
                # Whoever reads nothing keeps nothing.
                keep = int(rng.integers(1 << config.depth)) if valid else 0
                read = {"valid": valid, "bank": bank, "address": word, "keep": keep}
                ctx.set(dut.read, read | {"channel": channel})
                mask = [keep >> place & 1 for place in range(config.depth)]
                expected.append(held[word, channel] * mask)
                await ctx.tick()
                assert ctx.get(dut.read_next.keep) == keep
                late = 1 + config.timing.word_stages
                if len(expected) >= late:
                    shown = ctx.get(dut.operand)
                    values = shown if isinstance(shown, int) else shown.as_bits()
                    nibbles = [values >> 4 * p & 15 for p in range(config.depth)]
                    assert nibbles == expected[-late].tolist()

    run(dut, testbench)
