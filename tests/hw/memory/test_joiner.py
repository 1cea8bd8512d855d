"""Planes joined token by token, and heads given again."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.numerics.order import alternate
from dtqatten.hw.memory.joiner import Joiner, Replayer
from dtqatten.sim.engines.native import collect, offer, run

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=5)
NIBBLES = 4


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("in_turns", [False, True])
@pytest.mark.parametrize("four_bit", [0, 2, 5])
def test_low_planes_follow_high_ones(four_bit: int, in_turns: bool, stall: float) -> None:
    system = SystemConfig(core=CORE)
    rng = np.random.default_rng(four_bit)
    heads, tokens, words = 3, 5, CORE.d_head // NIBBLES
    high = rng.integers(0, 16, (heads, tokens, words, NIBBLES)).tolist()
    low = rng.integers(0, 16, (heads, tokens - four_bit, words, NIBBLES)).tolist()
    wanted = []
    order = alternate(four_bit, tokens, CORE.rows) if in_turns else range(tokens)
    for head in range(heads):
        for number, slot in enumerate(order):
            wide = slot >= four_bit
            planes = high[head][number] + (low[head][slot - four_bit] if wide else [])
            for at, nibbles in enumerate(planes):
                last = number == tokens - 1 and at == len(planes) - 1
                wanted.append((nibbles, int(wide), int(last)))
    dut = Joiner(system, NIBBLES, in_turns)
    taken, sink = collect(
        dut.o,
        len(wanted),
        rng,
        stall,
        lambda beat: (list(beat.nibbles), beat.precision.value, beat.last),
    )

    async def start(ctx) -> None:
        ctx.set(dut.plan, {"heads": heads, "tokens": tokens, "four_bit": four_bit})
        assert ctx.get(dut.idle)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        assert not ctx.get(dut.idle)
        await ctx.tick().until(dut.idle)

    def beats(planes: list) -> list:
        return [word for head in planes for token in head for word in token]

    sources = [offer(dut.high, beats(high), rng, stall), offer(dut.low, beats(low), rng, stall)]
    run(dut, start, *sources, sink)
    assert taken == wanted


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_heads_come_again(repeats: int, stall: float) -> None:
    rng = np.random.default_rng(repeats)
    heads = [rng.integers(0, 16, (int(rng.integers(1, 12)), NIBBLES)).tolist() for _ in range(6)]

    def beats(head: list) -> list:
        return [
            {"nibbles": nibbles, "precision": 0, "last": int(at == len(head) - 1)}
            for at, nibbles in enumerate(head)
        ]

    dut = Replayer(CORE, NIBBLES)
    wanted = [nibbles for head in heads for _ in range(repeats) for nibbles in head]
    taken, sink = collect(dut.o, len(wanted), rng, stall, lambda beat: list(beat.nibbles))

    async def constant(ctx) -> None:
        ctx.set(dut.repeats, repeats)

    given = [beat for head in heads for beat in beats(head)]
    run(dut, constant, offer(dut.i, given, rng, stall), sink)
    assert taken == wanted
