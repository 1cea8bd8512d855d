"""The feeder: loads tokens into lanes, describes tiles, feeds them skewed, frees banks."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.core import BANKS
from dtqatten.golden.cycles.tiles import edges, load_beats
from dtqatten.hw.arrays.feeder import Feeder
from dtqatten.hw.payloads.arrays import Plane
from dtqatten.sim.engines.native import run


async def load(ctx, dut: Feeder, beats, pause: float, rng) -> None:
    """Stream beats in, with pauses."""
    for beat in beats:
        while rng.random() < pause:
            ctx.set(dut.i.valid, 0)
            await ctx.tick()
        ctx.set(dut.i.valid, 1)
        ctx.set(
            dut.i.payload,
            {
                "nibbles": beat.nibbles.tolist(),
                "precision": int(beat.wide),
                "last": int(beat.last),
            },
        )
        await ctx.tick().until(dut.i.ready)
    ctx.set(dut.i.valid, 0)


@pytest.mark.parametrize("pause", [0.0, 0.5])
@pytest.mark.parametrize(
    ("side", "rows", "cols", "pod", "tokens"),
    [
        ("q", 3, 1, 1, [2, 3, 4]),
        ("k", 1, 4, 1, [4, 9, 1]),
        ("k", 2, 1, 1, [3]),
        ("q", 5, 2, 2, [11]),
        ("k", 2, 6, 3, [6, 13, 2]),
        ("k", 2, 2, 2, [5]),
    ],
)
def test_feeds_what_was_loaded(side, rows, cols, pod, tokens, pause) -> None:
    config = Config(rows=rows, cols=cols, pod_cols=pod, depth=4, d_head=32, n_max=16)
    rng = np.random.default_rng(len(tokens))
    dut = Feeder(config, side)
    lanes = dut.lanes
    parts = config.load_nibbles // config.depth
    heads = [(rng.integers(-120, 120, (n, 32)), rng.random(n) < 0.5) for n in tokens]
    beats = [beat for codes, wide in heads for beat in load_beats(config, codes, wide)]
    # Banks with their tiles: of queries one, of keys a head's.
    banks = [edges(lanes, codes, wide) for codes, wide in heads]
    if side == "q":
        banks = [[tile] for bank in banks for tile in bank]
    loaded = 0

    async def source(ctx) -> None:
        await load(ctx, dut, beats, pause, rng)

    async def watch(ctx) -> None:
        nonlocal loaded
        while loaded < len(banks):
            *_, pulse = await ctx.tick().sample(dut.loaded)
            loaded += pulse

    async def reader(ctx) -> None:
        tiles = [
            (number, place, tile, tile is bank[-1])
            for number, bank in enumerate(banks)
            for place, tile in enumerate(bank)
        ]
        for number, place, tile, ends in tiles:
            while loaded <= number:
                await ctx.tick()
            # Loaded in the cycle before this one; described two later.
            await ctx.tick()
            location = {"bank": number % BANKS, "tile": place}
            ctx.set(dut.peek, location)
            await ctx.tick()
            assert ctx.get(dut.tile.tokens) == tile.tokens
            assert ctx.get(dut.tile.wide) == tile.wide.any()
            assert ctx.get(dut.tile.mixed) == tile.mixed
            assert ctx.get(dut.tile.last) == tile.last
            reads = [
                (plane, word, part)
                for plane in range(2)
                for word in range(config.words)
                for part in range(parts)
            ]
            for cycle in range(len(reads) + lanes + 1):
                if cycle < len(reads):
                    plane, word, part = reads[cycle]
                    ctx.set(
                        dut.feed,
                        {
                            "valid": 1,
                            "location": location,
                            "plane": Plane(plane),
                            "word": word,
                            "part": part,
                            "release": int(ends and cycle == len(reads) - 1),
                        },
                    )
                else:
                    ctx.set(dut.feed.valid, 0)
                for lane in range(lanes):
                    # Lane l of the rows answers l + 2 cycles after the feed, a pod of columns at
                    # once; before and after it is silent.
                    answered = cycle - (lane if side == "q" else lane // pod) - 2
                    if 0 <= answered < len(reads):
                        plane, word, part = reads[answered]
                        at = word * config.load_nibbles + part * config.depth
                        expected = tile.planes[plane, lane, at : at + config.depth]
                        busy = tile.wide[lane] if plane else tile.occupied[lane]
                    else:
                        expected, busy = np.zeros(config.depth, dtype=int), False
                    assert list(ctx.get(dut.operands[lane])) == expected.tolist()
                    assert ctx.get(dut.active[lane]) == busy
                await ctx.tick()

    run(dut, source, watch, reader)


def test_full_banks_stall_and_a_release_frees_one_before_its_last_lane_is_read() -> None:
    config = Config(rows=4, cols=2, depth=4, d_head=16, n_max=12)
    dut = Feeder(config, "q")
    lanes = dut.lanes
    codes = np.zeros((9, 16), dtype=int)
    beats = load_beats(config, codes, np.zeros(9, dtype=bool))

    async def testbench(ctx) -> None:
        await load(ctx, dut, beats[:8], 0.0, np.random.default_rng(0))
        assert not ctx.get(dut.i.ready)  # two banks of four tokens are full
        ctx.set(dut.feed.valid, 1)
        ctx.set(dut.feed.release, 1)
        await ctx.tick()
        ctx.set(dut.feed.valid, 0)
        assert not ctx.get(dut.i.ready)
        await ctx.tick()
        # The head's last token ends a tile at once; the last lane is still to be read.
        assert ctx.get(dut.i.ready)
        await load(ctx, dut, beats[8:], 0.0, np.random.default_rng(0))
        for cycle in range(3, lanes + 2):
            assert not ctx.get(dut.loaded), cycle
            assert not ctx.get(dut.i.ready)
            await ctx.tick()
        assert ctx.get(dut.loaded)
        await ctx.tick()
        assert not ctx.get(dut.i.ready)  # full again

    run(dut, testbench)
