"""The value array, equal to its cycle model in every cycle."""

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.golden.codes import at_precision
from dtqatten.golden.tiles import load_beats, tile_rows
from dtqatten.golden.value_array import ValueArrayModel
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


def heads(config: Config, planes: int, count: int, seed: int) -> list:
    """Draw weights, value codes and 8-bit value tokens, with a head of each precision mix."""
    rng = np.random.default_rng(seed)
    top = {2: 119, 3: 1911}[planes]
    result = []
    for share in [0.0, 0.4, 1.0, 0.4][:count]:
        queries, keys = rng.integers(1, np.minimum(config.n_max, [6, 17]) + 1)
        weights = rng.integers(0, top + 1, (queries, keys)) * (rng.random((queries, keys)) < 0.8)
        weights[rng.random((queries, keys)) < 0.1] = top
        values = rng.integers(-120, 120, (keys, config.d_head))
        result.append((weights, values, rng.random(keys) < share))
    return result


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s.values())))
@pytest.mark.parametrize(("planes", "stall", "lazy"), [(2, 0.0, False), (3, 0.4, True)])
def test_equals_cycle_model(schedule, shape, planes, stall, lazy) -> None:
    config = Config(schedule=schedule, **shape)
    work = heads(config, planes, 4, seed=shape["rows"])
    rng = np.random.default_rng(0)
    rows = [row for weights, _, _ in work for row in tile_rows(config, weights)]
    beats = [
        beat
        for _, values, wide in work
        for beat in load_beats(config, values, wide, config.value_nibbles)
    ]
    expected = []
    for weights, values, wide in work:
        sums = weights @ at_precision(values, np.where(wide, 8, 4)[:, None])
        for block in range(0, len(sums), config.rows):
            for at in range(0, config.d_head, config.cols):
                expected += list(sums[block : block + config.rows, at : at + config.cols])
    sources = {"weights": Source(rows, stall, rng), "values": Source(beats, stall, rng)}
    model = ValueArrayModel(config, planes)
    dut = ValueArray(config, planes, observed=True)
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

    run(dut, testbench, deadline=40_000)
    assert taken == len(expected)
