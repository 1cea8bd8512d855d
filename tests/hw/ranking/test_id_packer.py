"""Marked lanes become full beats of ids, in order; a class's remainder leaves with its end."""

import numpy as np
import pytest

from dtqatten.hw.payloads.arrays import Precision
from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.id_packer import IdPacker
from dtqatten.sim.engines.native import collect, run, watch


def class_rows_of(classes: list[list[int]], rows: int, lanes: int) -> list[tuple[dict, int]]:
    """Return class row and take of each row of each class, and of the empty row at its end."""
    class_rows = []
    wanted = [number for number in range(2) if classes[number]]
    for number in wanted:
        ids = set(classes[number])
        for row in range(rows + 1):
            here = [i for i in range(lanes) if row * lanes + i in ids]
            class_row = {"valid": 1, "row": row, "first": int(row == 0), "wide": number}
            class_row["final"] = int(number == wanted[-1])
            class_rows.append((class_row, sum(1 << i for i in here)))
    return class_rows


def beats_of(classes: list[list[int]], rows: int, lanes: int) -> list[tuple[tuple, int]]:
    """Return the beats, each with the number of the class row that completes it."""
    beats, number = [], 0
    last_class = max(c for c in range(2) if classes[c])
    for wide, ids in enumerate(classes):
        if not ids:
            continue
        waiting: list[int] = []
        left = len(ids)
        for row in range(rows + 1):
            waiting += [i for i in ids if i // lanes == row]
            if left and len(waiting) >= min(left, lanes):
                beat, waiting = waiting[:lanes], waiting[lanes:]
                left -= len(beat)
                padded = beat + [0] * (lanes - len(beat))
                last = int(not left and wide == last_class)
                beats.append(((padded, len(beat), Precision(wide), last), number))
            number += 1
        assert not left
    return beats


def read(beat) -> tuple:
    return list(beat.ids), beat.count, beat.precision, beat.last


def random_classes(number: int, rows: int, lanes: int, rng) -> list[list[int]]:
    tokens = int(rng.integers((rows - 1) * lanes + 1, rows * lanes + 1))
    if number < 3:  # all in one class; one token in each
        every = list(range(tokens))
        return ([every, []], [[], every], [every[:1], every[-1:] if tokens > 1 else []])[number]
    chosen = rng.permutation(tokens)[: rng.integers(1, tokens + 1)]
    cut = int(rng.integers(0, len(chosen) + 1))
    return [sorted(chosen[:cut].tolist()), sorted(chosen[cut:].tolist())]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("lanes", "n_max"), [(1, 5), (2, 12), (4, 30), (16, 64)])
def test_runs(lanes: int, n_max: int, stall: float) -> None:
    config = TopKConfig(lanes, n_max)
    dut = IdPacker(config)
    rng = np.random.default_rng(lanes)
    runs = []
    for number in range(14):
        rows = config.rows if number < 3 else int(rng.integers(1, config.rows + 1))
        runs.append((random_classes(number, rows, lanes, rng), rows))
    beats = [beats_of(*each, lanes) for each in runs]
    expected = [beat for found in beats for beat, _ in found]
    taken, sink = collect(dut.o, len(expected), rng, stall, read)
    passed, monitor = watch(dut.o, read)
    accepted: list[list[int]] = []

    async def present(ctx) -> None:
        cycle = 0
        done = 0
        for (classes, rows), found in zip(runs, beats, strict=True):
            ctx.set(dut.counts, [len(ids) for ids in classes])
            cycles: list[int] = []
            accepted.append(cycles)
            done += len(found)
            class_rows = iter(class_rows_of(classes, rows, lanes))
            while len(taken) < done:  # counts stay until the run's last beat is taken
                class_row, take = next(class_rows, ({"valid": 0}, 0))
                ctx.set(dut.class_row, class_row)
                ctx.set(dut.take, take)
                moved = False
                while not moved and len(taken) < done:
                    *_, moved = await ctx.tick().sample(dut.advance)
                    cycle += 1
                if moved:
                    cycles.append(cycle - 1)

    run(dut, present, sink, background=[monitor])
    assert taken == expected
    if not stall:
        at = iter(cycle for cycle, _ in passed)
        for cycles, found in zip(accepted, beats, strict=True):
            # One class row a cycle; a beat two cycles after the class row that completes it.
            assert cycles == list(range(cycles[0], cycles[0] + len(cycles)))
            assert [next(at) for _ in found] == [cycles[number] + 2 for _, number in found]


def test_everything_stands_still_while_a_beat_waits() -> None:
    config = TopKConfig(4, 16)
    dut = IdPacker(config)

    async def testbench(ctx) -> None:
        ctx.set(dut.counts, [12, 0])
        for row in range(3):
            class_row = {"valid": 1, "row": row, "first": int(row == 0), "final": 1}
            ctx.set(dut.class_row, class_row)
            ctx.set(dut.take, 0b1111)
            if row == 2:  # the first beat is at o, not taken
                for _ in range(5):
                    assert ctx.get(dut.o.valid)
                    assert list(ctx.get(dut.o.p.ids)) == [0, 1, 2, 3]
                    assert not ctx.get(dut.advance)
                    await ctx.tick()
                ctx.set(dut.o.ready, 1)
            assert ctx.get(dut.advance)
            await ctx.tick()
        assert list(ctx.get(dut.o.p.ids)) == [4, 5, 6, 7]
        await ctx.tick()
        assert list(ctx.get(dut.o.p.ids)) == [8, 9, 10, 11]
        assert ctx.get(dut.o.p.last)

    run(dut, testbench)
