"""Heads of a trial come twice: the second time with low planes, if a row is flat."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.memory.widener import Widener
from dtqatten.sim.engines.native import collect, offer, run

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=5, progressive=True)


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("nibbles", [2, 8])
def test_heads_of_trials_and_others(nibbles: int, stall: float) -> None:
    rng = np.random.default_rng(nibbles)
    words = CORE.d_head // nibbles
    given, lows, verdicts, wanted = [], [], [], []

    def planes(tokens: int) -> list:
        return rng.integers(0, 16, (tokens, words, nibbles)).tolist()

    def beats(tokens: list, precision: int) -> list:
        flat = [word for token in tokens for word in token]
        return [(word, precision, int(at == len(flat) - 1)) for at, word in enumerate(flat)]

    # Heads of a trial, flat and not, between others, of which some are in 8 bits.
    kinds = ["plain", "flat", "peaked", "plain", "flat", "flat", "peaked", "plain"]
    for number, kind in enumerate(kinds):
        tokens = planes(1 + number % 4)
        if kind == "plain":
            given.append((0, beats(tokens, number % 2)))
            wanted += given[-1][1]
            continue
        narrow = beats(tokens, 0)
        given.append((1, narrow + narrow))
        verdicts.append({"flat": int(kind == "flat"), "rows": 2})
        wanted += narrow
        if kind == "flat":
            low = planes(len(tokens))
            lows += [word for token in low for word in token]
            wide = [high + more for high, more in zip(tokens, low, strict=True)]
            wanted += beats(wide, 1)
        else:
            wanted += narrow
    dut = Widener(CORE, nibbles)
    taken, sink = collect(
        dut.o, len(wanted), rng, stall, lambda p: (list(p.nibbles), p.precision.value, p.last)
    )

    async def heads(ctx) -> None:
        for trial, of_head in given:
            ctx.set(dut.trial, trial)
            for word, precision, last in of_head:
                while rng.random() < stall:
                    ctx.set(dut.i.valid, 0)
                    await ctx.tick()
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.i.p, {"nibbles": word, "precision": precision, "last": last})
                await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            while not ctx.get(dut.idle):
                await ctx.tick()

    sources = [offer(dut.low, lows, rng, stall), offer(dut.verdicts, verdicts, rng, stall)]
    run(dut, heads, *sources, sink)
    assert taken == wanted


def test_a_head_waits_for_its_verdict_and_no_longer() -> None:
    """Then a beat passes in every cycle."""
    dut = Widener(CORE, 4)
    passes: list[int] = []

    async def testbench(ctx) -> None:
        ctx.set(dut.trial, 1)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.low.valid, 1)
        ctx.set(dut.verdicts.p.flat, 1)
        for cycle in range(20):
            # Three tokens of two words, whose replay begins at the seventh beat.
            count = len(passes)
            ctx.set(dut.verdicts.valid, cycle >= 9)
            replayed = count if count < 6 else (count - 6) // 4 * 2 + min((count - 6) % 4, 2)
            ctx.set(dut.i.p.last, (replayed == 5 if count < 6 else replayed >= 5))
            if ctx.get(dut.o.valid):
                passes.append(cycle)
            await ctx.tick()

    run(dut, testbench, deadline=100)
    assert passes[:6] == [0, 1, 2, 3, 4, 5]
    assert passes[6:17] == list(range(9, 20))
