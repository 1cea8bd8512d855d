"""Tokens of an edge: where each beat is written, which tiles end, when banks are free."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.core import BANKS
from dtqatten.hw.arrays.edge_loader import EdgeLoader
from dtqatten.hw.payloads.arrays import Precision
from dtqatten.sim.engines.native import run

CONFIG = Config(rows=3, cols=4, depth=4, d_head=16, n_max=10)


def beats_of(lanes: int, tiles: int, wide: np.ndarray) -> list[dict]:
    """Return a head's beats, and what each of them writes and ends."""
    beats = []
    for token, is_wide in enumerate(wide):
        tile, lane = divmod(token, lanes)
        last = token == len(wide) - 1
        place = tile if tiles > 1 else 0
        in_tile = wide[tile * lanes : token + 1]
        planes = 1 + int(is_wide)
        for plane in range(planes):
            for word in range(CONFIG.words):
                final = plane == planes - 1 and word == CONFIG.words - 1
                tile_end = final and (lane == lanes - 1 or last)
                beats.append(
                    {
                        "wide": bool(is_wide),
                        "last": last,
                        "lanes": 1 << lane,
                        "tile": place,
                        "address": (2 * place + plane) * CONFIG.words + word,
                        "tile_end": tile_end,
                        "bank_end": tile_end and (tiles == 1 or last),
                        "tokens": lane + 1,
                        "places": sum(int(w) << i for i, w in enumerate(in_tile)),
                    }
                )
    return beats


@pytest.mark.parametrize("side", ["q", "k"])
def test_beats_are_written_and_tiles_end_where_stated(side: str) -> None:
    lanes, tiles = {"q": CONFIG.rows, "k": CONFIG.cols}[side], CONFIG.bank_tiles[side]
    dut = EdgeLoader(CONFIG, lanes, tiles)
    rng = np.random.default_rng(lanes)
    full = waited = 0

    async def testbench(ctx) -> None:
        nonlocal full, waited
        # Banks that are not free, of those the ones that some lane still reads; beats so far.
        held = unread = bank = 0
        for _ in range(12):
            wide = rng.random(int(rng.integers(1, CONFIG.n_max + 1))) < rng.choice([0.0, 0.5, 1.0])
            for beat in beats_of(lanes, tiles, wide):
                precision = Precision.BIT8 if beat["wide"] else Precision.BIT4
                nibbles = rng.integers(-8, 8, CONFIG.load_nibbles).tolist()
                ctx.set(dut.i.p.precision, precision)
                ctx.set(dut.i.p.last, int(beat["last"]))
                ctx.set(dut.i.p.nibbles, nibbles)
                while True:
                    ready = held < BANKS
                    assert ctx.get(dut.i.ready) == ready
                    full += not ready
                    given = rng.random() < 0.8
                    release = held > 0 and rng.random() < (0.02 if ready else 0.5)
                    settle = unread > held and rng.random() < 0.1
                    ctx.set(dut.i.valid, int(given))
                    ctx.set(dut.released, int(release))
                    ctx.set(dut.settled, int(settle))
                    taken = given and ready
                    ends = taken and beat["tile_end"] and unread < BANKS
                    held -= release
                    unread -= settle
                    assert ctx.get(dut.loaded) == (ends and beat["bank_end"])
                    await ctx.tick()
                    write = ctx.get(dut.write)
                    if taken:
                        break
                    assert not write.lanes
                    assert not write.tile_end
                assert (write.location.bank, write.location.tile) == (bank, beat["tile"])
                assert (write.lanes, write.address) == (beat["lanes"], beat["address"])
                assert [write.nibbles[i] for i in range(len(nibbles))] == nibbles
                assert write.tile_end == ends
                ctx.set(dut.i.valid, 1)
                while beat["tile_end"] and not ends:
                    # The tile's end waits for the bank's last reads, and beats for it.
                    waited += 1
                    assert not ctx.get(dut.i.ready)
                    ends = unread < BANKS
                    assert ctx.get(dut.loaded) == (ends and beat["bank_end"])
                    settle = not ends and rng.random() < 0.5
                    ctx.set(dut.released, 0)
                    ctx.set(dut.settled, int(settle))
                    unread -= settle
                    await ctx.tick()
                    write = ctx.get(dut.write)
                    assert not write.lanes
                    assert write.tile_end == ends
                    assert (write.location.bank, write.location.tile) == (bank, beat["tile"])
                ctx.set(dut.i.valid, 0)
                if beat["tile_end"]:
                    assert (write.tokens, write.last) == (beat["tokens"], beat["last"])
                    assert write.occupied == (1 << beat["tokens"]) - 1
                    assert write.wide == beat["places"]
                if beat["bank_end"]:
                    held += 1
                    unread += 1
                    bank = 1 - bank

    run(dut, testbench, deadline=20_000)
    assert full > 3
    assert waited > 3
