"""The line buffer: words in, operands out, zeros for what is not there."""

from itertools import product

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.core import BANKS
from dtqatten.hw.arrays.line_buffer import LineBuffer
from dtqatten.hw.payloads.arrays import Plane
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize(("depth", "d_head", "tiles"), [(4, 32, 2), (1, 8, 1), (5, 80, 3)])
def test_reads_what_was_written_and_tagged(depth: int, d_head: int, tiles: int) -> None:
    config = Config(rows=1, cols=1, depth=depth, d_head=d_head)
    rng = np.random.default_rng(tiles)
    dut = LineBuffer(config, tiles)
    parts = config.load_nibbles // depth
    planes = rng.integers(-8, 8, (BANKS, tiles, 2, config.words, parts, depth))
    tags = [(0, 0), (1, 0), (1, 1)]

    async def testbench(ctx) -> None:
        for number, word in enumerate(planes.reshape(-1, config.load_nibbles)):
            bank, address = divmod(number, dut.depth)
            packed = sum((int(nibble) & 15) << 4 * i for i, nibble in enumerate(word))
            ctx.set(dut.write_data, packed)
            ctx.set(dut.write_bank, bank)
            ctx.set(dut.write_address, address)
            ctx.set(dut.write_valid, 1)
            await ctx.tick()
        ctx.set(dut.write_valid, 0)
        for occupied, wide in tags:
            for bank, tile in product(range(BANKS), range(tiles)):
                ctx.set(dut.tag_valid, 1)
                ctx.set(dut.tag_location, {"bank": bank, "tile": tile})
                ctx.set(dut.tag, {"occupied": occupied, "wide": wide})
                await ctx.tick()
            ctx.set(dut.tag_valid, 0)
            before = None
            words = [tuple(rng.integers(planes.shape[:4]).tolist()) for _ in range(20)]
            # The parts of a word in order, some after a pause.
            reads = [
                (*word, part, pause) for word in words for part in range(parts) for pause in (1, 0)
            ]
            for bank, tile, plane, word, part, pause in reads:
                if pause and rng.integers(2):
                    continue
                read = {
                    "valid": 1 - pause,
                    "location": {"bank": bank, "tile": tile},
                    "plane": Plane(plane),
                    "address": (2 * tile + plane) * config.words + word,
                    "part": part,
                    "release": int(rng.integers(2)),
                }
                ctx.set(dut.read, read)
                if before is not None:
                    # One cycle later, whatever is read now: the operand, and the read on its way.
                    was, expected = before
                    assert ctx.get(dut.read_next.valid) == was["valid"]
                    assert ctx.get(dut.read_next.address) == was["address"]
                    assert ctx.get(dut.read_next.release) == was["release"]
                    active = was["valid"] and occupied and (wide or was["plane"] is Plane.HIGH)
                    assert ctx.get(dut.occupied) == (was["valid"] and occupied)
                    assert ctx.get(dut.active) == active
                    assert list(ctx.get(dut.operand)) == (expected * bool(active)).tolist()
                before = read, planes[bank, tile, plane, word, part]
                await ctx.tick()

    run(dut, testbench)
