"""Tokens of values: where each beat is written, which groups end, when banks are free."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.core import BANKS
from dtqatten.hw.arrays.value_loader import ValueLoader
from dtqatten.hw.payloads.arrays import Precision
from dtqatten.sim.engines.native import run

CONFIGS = [
    Config(rows=2, cols=4, depth=4, d_head=16, n_max=12),
    Config(rows=2, cols=5, depth=2, d_head=8, n_max=12),
    Config(rows=2, cols=3, depth=4, value_depth=2, d_head=16, n_max=12).of_values,
]


def beats_of(config: Config, wide: np.ndarray) -> list[dict]:
    """Return a head's beats, and what each of them writes and ends."""
    beats = []
    per_plane = config.d_head // config.value_nibbles
    for token, is_wide in enumerate(wide):
        column = token % config.cols
        tile, part, place = token // config.cols, column // config.depth, column % config.depth
        last = token == len(wide) - 1
        ends = place == config.depth - 1 or column == config.cols - 1 or last
        group = [t for t in range(len(wide)) if t // config.cols == tile]
        group = [t for t in group if t % config.cols // config.depth == part]
        planes = 1 + int(is_wide)
        for plane in range(planes):
            for word in range(per_plane):
                final = plane == planes - 1 and word == per_plane - 1
                beats.append(
                    {
                        "wide": bool(is_wide),
                        "last": last,
                        "write": (tile * config.parts + part, 1 << place, plane, word),
                        "ends": final and ends,
                        "head": final and last,
                        "group": (tile, part),
                        "places": sum(int(wide[t]) << i for i, t in enumerate(group)),
                    }
                )
    return beats


@pytest.mark.parametrize("config", CONFIGS, ids=["whole groups", "cut groups", "odd columns"])
def test_beats_are_written_and_groups_end_where_stated(config: Config) -> None:
    dut = ValueLoader(config)
    rng = np.random.default_rng(config.cols)
    full = 0

    async def testbench(ctx) -> None:
        nonlocal full
        held = 0
        for number in range(12):
            wide = rng.random(int(rng.integers(1, config.n_max + 1))) < rng.choice([0.0, 0.5, 1.0])
            for beat in beats_of(config, wide):
                precision = Precision.BIT8 if beat["wide"] else Precision.BIT4
                nibbles = rng.integers(-8, 8, config.value_nibbles).tolist()
                ctx.set(dut.i.p.precision, precision)
                ctx.set(dut.i.p.last, int(beat["last"]))
                ctx.set(dut.i.p.nibbles, nibbles)
                while True:
                    ready = held < BANKS
                    assert ctx.get(dut.i.ready) == ready
                    full += not ready
                    given = rng.random() < 0.8
                    release = held > 0 and rng.random() < (0.02 if ready else 0.5)
                    ctx.set(dut.i.valid, int(given))
                    ctx.set(dut.released, int(release))
                    held -= release
                    await ctx.tick()
                    write, ended = ctx.get(dut.write), ctx.get(dut.ended)
                    if given and ready:
                        break
                    assert not write.places
                    assert not ended.valid
                    assert not ended.head
                bank = number % BANKS
                assert write.bank == bank
                shown = write.group, write.places, write.plane.value, write.word
                assert shown == beat["write"]
                assert [write.nibbles[i] for i in range(len(nibbles))] == nibbles
                assert ended.valid == beat["ends"]
                assert ended.head == beat["head"]
                if beat["ends"]:
                    assert (ended.group.tile, ended.group.part) == beat["group"]
                    assert (ended.bank, ended.wide) == (bank, beat["places"])
            held += 1

    run(dut, testbench, deadline=20_000)
    assert full > 3
