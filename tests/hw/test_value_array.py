"""The value array, equal to its cycle model in every cycle."""

import itertools

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.golden.codes import at_precision
from dtqatten.golden.tiles import load_beats, tile_rows
from dtqatten.golden.value_array import ValueArrayModel, value_steps
from dtqatten.hw.value_array import ValueArray
from dtqatten.sim.lockstep import Source
from dtqatten.sim.native import run

SHAPES = [
    {"rows": 1, "cols": 1, "depth": 1, "d_head": 8, "n_max": 3},
    {"rows": 3, "cols": 5, "depth": 2, "d_head": 24, "n_max": 16},
    {"rows": 8, "cols": 2, "depth": 8, "d_head": 8, "n_max": 20},
    {"rows": 2, "cols": 12, "depth": 4, "d_head": 32, "n_max": 30},
    {"rows": 2, "cols": 20, "depth": 8, "d_head": 16, "n_max": 50},
]


def heads(config: Config, seed: int) -> list:
    """Draw weights, value codes, 8-bit value tokens and whether weights follow their precision."""
    rng = np.random.default_rng(seed)
    top = {2: 119, 3: 1911}[config.planes]
    result = []
    for share, follows in itertools.product([0.0, 0.4, 1.0], [False, True]):
        queries, keys = rng.integers(1, np.minimum(config.n_max, [6, 17]) + 1)
        weights = rng.integers(0, top + 1, (queries, keys)) * (rng.random((queries, keys)) < 0.8)
        weights[rng.random((queries, keys)) < 0.1] = top
        values = rng.integers(-120, 120, (keys, config.d_head))
        wide = rng.random(keys) < share
        if follows:
            weights = at_precision(weights, np.where(wide, 8, 4), config.planes)
        result.append((weights, values, wide, follows))
    return result


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s.values())))
@pytest.mark.parametrize(("planes", "stall", "lazy"), [(2, 0.0, False), (3, 0.4, True)])
def test_equals_cycle_model(schedule, shape, planes, stall, lazy) -> None:
    config = Config(schedule=schedule, planes=planes, **shape)
    work = heads(config, seed=shape["rows"])
    rng = np.random.default_rng(0)
    rows = [row for weights, *_ in work for row in tile_rows(config, weights)]
    beats = [
        beat
        for _, values, wide, follows in work
        for beat in load_beats(config, values, wide, config.value_nibbles, follows=follows)
    ]
    expected = []
    for weights, values, wide, _ in work:
        sums = weights @ at_precision(values, np.where(wide, 8, 4)[:, None])
        for block in range(0, len(sums), config.rows):
            for at in range(0, config.d_head, config.cols):
                expected += list(sums[block : block + config.rows, at : at + config.cols])
    sources = {"weights": Source(rows, stall, rng), "values": Source(beats, stall, rng)}
    model = ValueArrayModel(config)
    dut = ValueArray(config, observed=True)
    taken = 0

    async def testbench(ctx) -> None:
        nonlocal taken
        while taken < len(expected):
            row, beat = sources["weights"].offered, sources["values"].offered
            ctx.set(dut.weights.valid, int(row is not None))
            ctx.set(dut.values.valid, int(beat is not None))
            if row is not None:
                ctx.set(
                    dut.weights.payload,
                    {
                        "weights": row.values.tolist(),
                        "keys": row.keys,
                        "last_row": int(row.last_row),
                        "last_tile": int(row.last_tile),
                        "last_block": int(row.last_block),
                    },
                )
            if beat is not None:
                ctx.set(
                    dut.values.payload,
                    {
                        "nibbles": beat.nibbles.tolist(),
                        "precision": int(beat.wide),
                        "follows": int(beat.follows),
                        "last": int(beat.last),
                    },
                )
            ready = rng.random() >= stall and (not lazy or model.sums is not None)
            ctx.set(dut.sums.ready, int(ready))
            assert ctx.get(dut.weights.ready) == model.weights_ready
            assert ctx.get(dut.values.ready) == model.values_ready
            assert ctx.get(dut.sums.valid) == (model.sums is not None)
            assert list(ctx.get(dut.acc)) == model.acc.ravel().tolist()
            if model.sums is not None:
                offered = ctx.get(dut.sums.payload)
                assert list(offered.scores) == model.sums.values.tolist()
                for flag in ("keys", "last_row", "last_tile", "last_block"):
                    assert offered[flag] == getattr(model.sums, flag)
                if ready:
                    assert model.sums.values[: model.sums.keys].tolist() == expected[taken].tolist()
                    taken += 1
            weights_ready, values_ready = model.weights_ready, model.values_ready
            await ctx.tick()
            model.clock(row, beat, ready)
            sources["weights"].clock(weights_ready)
            sources["values"].clock(values_ready)

    run(dut, testbench, deadline=80_000)
    assert taken == len(expected)


@pytest.mark.parametrize("planes", [2, 3])
def test_weights_that_follow_their_tokens_skip_planes(planes: int) -> None:
    """A tile takes ``groups + (2 * planes - 1) * wide groups`` steps, else ``planes * (both)``."""
    config = Config(rows=2, cols=4, depth=2, d_head=8, n_max=12, planes=planes)
    zeros = np.zeros((6, 2, 4), dtype=np.int64)
    wide = np.array([False, False, False, True, False, True])
    steps = {
        follows: len(list(value_steps(config, zeros[:, :, :2], zeros, wide, follows=follows)))
        for follows in (False, True)
    }
    assert steps == {False: planes * (6 + 2), True: 6 + (2 * planes - 1) * 2}
