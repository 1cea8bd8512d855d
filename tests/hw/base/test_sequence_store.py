"""The sequence store: items gather into words, any word of the oldest sequence is read."""

import numpy as np
import pytest
from amaranth.hdl import unsigned
from amaranth.lib import data

from dtqatten.hw.base.sequence_store import SequenceStore
from dtqatten.sim.engines.native import run

ITEM = data.StructLayout({"value": unsigned(10)})


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("lanes", "depth"), [(1, 1), (1, 6), (3, 4), (4, 3)])
def test_words_are_read_in_any_order(lanes: int, depth: int, stall: float) -> None:
    rng = np.random.default_rng(lanes)
    dut = SequenceStore(ITEM, lanes, depth)
    # Sequences that fill the ring, and those of one item.
    sizes = [
        int(rng.choice([1, lanes * depth, rng.integers(1, lanes * depth + 1)])) for _ in range(20)
    ]
    sequences = [rng.integers(0, 1024, size).tolist() for size in sizes]

    async def source(ctx) -> None:
        for sequence in sequences:
            for at, value in enumerate(sequence):
                while rng.random() < stall:
                    ctx.set(dut.i.valid, 0)
                    await ctx.tick()
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.i.p, {"item": {"value": value}, "last": int(at == len(sequence) - 1)})
                await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def reader(ctx) -> None:
        for sequence in sequences:
            words = [sequence[at : at + lanes] for at in range(0, len(sequence), lanes)]
            # Not always the last word, nor all of them.
            visits = rng.integers(0, len(words), rng.integers(1, 2 * len(words) + 1)).tolist()
            for number, at in enumerate(visits):
                ctx.set(dut.read, 0)
                while not ctx.get(dut.ready) or rng.random() < stall:
                    await ctx.tick()
                ctx.set(dut.read, 1)
                ctx.set(dut.word, at)
                ctx.set(dut.release, int(number == len(visits) - 1))
                await ctx.tick()
                ctx.set(dut.read, 0)
                read = [ctx.get(dut.data[i].value) for i in range(lanes)]
                # No lane is left as it was before.
                assert read == words[at] + words[at][-1:] * (lanes - len(words[at]))

    run(dut, source, reader)


def test_a_full_ring_takes_nothing_until_its_first_sequence_is_freed() -> None:
    dut = SequenceStore(ITEM, 2, 3)

    async def testbench(ctx) -> None:
        ctx.set(dut.i.valid, 1)
        for at in range(6):
            assert ctx.get(dut.i.ready)
            assert ctx.get(dut.ready) == (at > 3)
            ctx.set(dut.i.p, {"item": {"value": at}, "last": int(at == 3)})
            await ctx.tick()
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.read, 1)
        ctx.set(dut.release, 1)
        await ctx.tick()
        # Two words are free, and no other sequence is complete.
        assert ctx.get(dut.i.ready)
        assert not ctx.get(dut.ready)

    run(dut, testbench)
