"""Heads summed and ranked: equal to cycle models in every cycle, and to the golden importance."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden.cycles.head_ranking import RankedHeads
from dtqatten.golden.numerics.heads import drawn, ranked_heads
from dtqatten.golden.numerics.softmax import Multiplier
from dtqatten.hw.ranking.head_magnitudes import HeadMagnitudes
from dtqatten.hw.ranking.head_pruning import HeadPruning
from dtqatten.hw.ranking.head_ranking import HeadRanking
from dtqatten.hw.softmax.normalizer import output_beat_layout
from dtqatten.sim.engines.native import run, run_lockstep
from dtqatten.sim.engines.ports import pack_payload
from dtqatten.sim.lockstep.head_ranking import (
    HeadRankingLockstep,
    LayerOfHeads,
    MagnitudesLockstep,
    OutputHead,
    beats_of,
    random_head_layers,
    random_output_heads,
)

CONFIG = Config(
    rows=3, cols=4, depth=4, d_head=8, n_max=7, heads=11, normalizer_lanes=3, head_pruning=True
)
STALLS = [(0.0, False), (0.5, False), (0.5, True), (0.9, True)]


def weight(*pair: int) -> Multiplier:
    return Multiplier(np.array([pair[0]]), np.array([pair[1]]))


@pytest.mark.parametrize(("stall", "lazy"), STALLS)
@pytest.mark.parametrize("lanes", [1, 3, 4])
def test_sums_equal_cycle_model_and_golden(lanes: int, stall: float, lazy: bool, compared) -> None:
    config = CONFIG.replace(normalizer_lanes=lanes)
    heads = random_output_heads(config, np.random.default_rng(lanes), 12)
    bench = MagnitudesLockstep(config, heads, stall=stall, lazy=lazy)
    run_lockstep(HeadMagnitudes(config), bench)
    found = [total for _, total in bench.taken["sums"]]
    assert found == [int(drawn(h.output[None], weight(*h.weight))[0]) for h in heads]
    compared["amaranth"] += bench.compared


def test_the_largest_sum_fits_exactly() -> None:
    """Every output at its end; below 32 bits after its weight, and beyond."""
    config = Config(
        rows=1, cols=4, depth=4, d_head=8, n_max=64, heads=2, normalizer_lanes=4, head_pruning=True
    )
    output = np.full((64, 8), -(1 << 15))
    heads = [OutputHead(output, pair) for pair in ((65535, 8), (65535, 7), (1, 0))]
    bench = MagnitudesLockstep(config, heads)
    run_lockstep(HeadMagnitudes(config), bench)
    assert [x for _, x in bench.taken["sums"]] == [(2**24 * 65535) >> 8, 2**32 - 1, 2**24]


def test_outputs_pass_without_a_stall() -> None:
    """A beat a cycle; a sum comes 8 cycles and two levels of adders after its head's last beat."""
    heads = random_output_heads(CONFIG, np.random.default_rng(3), 6)
    heads = [OutputHead(head.output[:1].repeat(5, 0), head.weight) for head in heads]
    bench = MagnitudesLockstep(CONFIG, heads)
    run_lockstep(HeadMagnitudes(CONFIG), bench)
    beats = bench.accepted["i"]
    # 5 queries of two channel passes of four channels, three a beat.
    assert beats == list(range(6 * 20))
    assert [cycle for cycle, _ in bench.taken["sums"]] == [20 * n + 19 + 10 for n in range(6)]


@pytest.mark.parametrize(("stall", "lazy"), STALLS)
@pytest.mark.parametrize("heads", [1, 2, 8, 11])
def test_ranking_equals_cycle_model(heads: int, stall: float, lazy: bool, compared) -> None:
    config = CONFIG.replace(heads=heads)
    layers = random_head_layers(config, np.random.default_rng(heads), 30)
    bench = HeadRankingLockstep(config, layers, stall=stall, lazy=lazy, seed=heads)
    run_lockstep(HeadRanking(config), bench)
    compared["amaranth"] += bench.compared


def test_ranking_equals_golden() -> None:
    """Three chained layers: heads are kept by what all layers so far add."""
    outputs = np.random.default_rng(0).integers(-(1 << 15), 1 << 15, (3, 5, 7, 8))
    unit = Multiplier(np.full(5, 40000), np.full(5, 24))
    alive, total, layers = np.ones(5, bool), np.zeros(5, np.uint32), []
    wanted = []
    for number, keep in enumerate((4, 4, 2)):
        some = outputs[number][alive]
        own = Multiplier(unit.m[alive], unit.shift[alive])
        command = RankedHeads(5, keep, number > 0, True)
        layers.append(LayerOfHeads(command, drawn(some, own).tolist()))
        total, alive = ranked_heads(some, own, alive, total, keep)
        wanted.append((total.tolist(), np.flatnonzero(alive).tolist()))
    bench = HeadRankingLockstep(CONFIG, layers)
    run_lockstep(HeadRanking(CONFIG), bench)
    report = [each for _, each in bench.taken["report"]]
    for number, (importance, kept) in enumerate(wanted):
        part = report[5 * number : 5 * number + 5]
        assert [each.importance for each in part] == importance
        assert [i for i, each in enumerate(part) if each.rank < layers[number].command.keep] == kept


def test_cycles_are_as_stated() -> None:
    """Of 11 heads that wait for nothing: 3, 5 to 14, one and a cycle a head to give them."""
    layers = [
        LayerOfHeads(RankedHeads(11, 3, False, True), list(range(11))),
        LayerOfHeads(RankedHeads(11, 1, True, False), [1, 2, 3]),
    ]
    bench = HeadRankingLockstep(CONFIG, layers)
    run_lockstep(HeadRanking(CONFIG), bench)
    # The layer is taken in cycle 0; head 8 has h + 4 cycles.
    assert bench.accepted["sums"][:11] == [1, 4, 9, 15, 22, 30, 39, 49, 60, 72, 85]
    assert [cycle for cycle, _ in bench.taken["report"]] == list(range(100, 111))
    # Eight pruned heads take a cycle each, then 8, 9 and 10 are ranked.
    assert bench.accepted["layer"] == [0, 111]
    assert bench.accepted["sums"][11:] == [120, 132, 145]
    assert bench.compared == 145 + 14 + 1 + 11


def test_heads_are_ranked_soon_after_the_last_output() -> None:
    """Of four heads: 8 cycles and two levels of adders, then 4 + 3, and a cycle, and 4; idle."""
    heads = random_output_heads(CONFIG, np.random.default_rng(6), 4)
    heads = [OutputHead(head.output[:1].repeat(5, 0), head.weight) for head in heads]
    layout, dut = output_beat_layout(CONFIG), HeadPruning(CONFIG)
    beats = [layout.from_bits(pack_payload(layout, b)) for h in heads for b in beats_of(CONFIG, h)]
    times = {}

    async def weigh(ctx) -> None:
        ctx.set(dut.layer.p, {"heads": 4, "keep": 2, "chained": 0, "report": 0})
        ctx.set(dut.layer.valid, 1)
        ctx.set(dut.weights.valid, 1)
        for number, head in enumerate(heads):
            ctx.set(dut.weights.p, dict(zip(("multiplier", "shift"), head.weight, strict=True)))
            await ctx.tick()
            ctx.set(dut.layer.valid, int(number < 0))
        ctx.set(dut.weights.valid, 0)

    async def pass_on(ctx) -> None:
        await ctx.tick().repeat(8)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.i.valid, 1)
        for number, beat in enumerate(beats):
            ctx.set(dut.i.p, beat)
            assert ctx.get(dut.i.ready)
            assert ctx.get(dut.o.p.as_value()) == beat.as_bits()
            times["last"] = number
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        while not ctx.get(dut.idle):
            times["last"] += 1
            await ctx.tick()

    run(dut, weigh, pass_on)
    assert len(beats) == 80
    # In cycle 0 after the last beat the sum is not begun yet.
    assert times["last"] + 1 - 79 == 2 * 4 + 12 + 2
