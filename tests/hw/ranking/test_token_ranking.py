"""Module B, equal to its cycle model in every cycle, and to the golden importance and choice."""

import functools

import numpy as np
import pytest

from dtqatten import Config, TopKEngine
from dtqatten.golden.numerics.importance import IMPORTANCE_MAX, importance
from dtqatten.golden.numerics.select import select
from dtqatten.golden.numerics.tokens import CacheImportance
from dtqatten.hw.ranking.token_ranking import TokenRanking
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.token_ranking import (
    RankedLayer,
    RankingLockstep,
    flat_ids,
    random_layers,
)

QUICK = TopKEngine.QUICK_SELECT
PLAIN = Config(rows=3, cols=4, depth=8, d_head=8, n_max=18, heads=5, topk_lanes=4)
CONFIGS = {
    "direct": PLAIN,
    "packed": PLAIN.replace(cols=6, topk_lanes=8),
    "cumulative": PLAIN.replace(cumulative=True),
    "counted": PLAIN.replace(count_normalize=True, topk_lanes=1),
    "both": PLAIN.replace(cumulative=True, count_normalize=True, topk_lanes=16),
    "held": PLAIN.replace(held_importance=True, cols=6, topk_lanes=8),
    "held both": PLAIN.replace(held_importance=True, cumulative=True, count_normalize=True),
    "slow": PLAIN.replace(product_stages=2),
    "slow packed": PLAIN.replace(product_stages=2, cols=6, topk_lanes=8),
    "slow both": PLAIN.replace(
        product_stages=2, cumulative=True, count_normalize=True, topk_lanes=16
    ),
    "quick-select": PLAIN.replace(topk_engine=QUICK),
    # Scores of 33 bits.
    "slow held quick-select": PLAIN.replace(
        product_stages=2, held_importance=True, cumulative=True, topk_engine=QUICK
    ),
}

#: Those whose options another configuration has, too.
LONG = ("packed", "cumulative", "counted", "slow")


def golden(layers: list[RankedLayer]) -> tuple[list, list]:
    """Ids of each layer, and the importances that are reported."""
    ids, reports, carried = [], [], None
    for layer in layers:
        command = layer.command
        seen = layer.seen.sum(0) if command.count else None
        total = importance(layer.probabilities, seen)
        first = np.zeros(len(total), bool)
        if command.held:
            earlier = CacheImportance(np.array([h.importance for h in layer.held], np.uint32))
            total = earlier.added(np.arange(len(total)), total).values.astype(np.int64)
            first = np.array([h.protected for h in layer.held])
        elif command.cumulative and not command.fresh:
            total = np.minimum(total + carried, IMPORTANCE_MAX)
        # Of more protected keys than are kept, those that rank first; a descriptor cannot ask so.
        safe = first if first.sum() <= command.k0 else None
        ranks = total + (first.astype(np.int64) << 32) if safe is None else total
        chosen = select(ranks.astype(np.uint64), command.k0, command.k1, protected=safe)
        carried = total[chosen.ids]
        ids.append(list(zip(chosen.ids.tolist(), (chosen.bits == 8).tolist(), strict=True)))
        if command.report:
            reports.append(total.tolist())
    return ids, reports


def results(bench: RankingLockstep) -> tuple[list, list]:
    reports: list[list[int]] = [[]]
    for _, beat in bench.taken["report"]:
        reports[-1] += beat.values[: beat.tokens].tolist()
        if beat.last:
            reports.append([])
    return flat_ids([beat for _, beat in bench.taken["ids"]]), reports[:-1]


@functools.cache
def build(name: str) -> VerilatedModel:
    return VerilatedModel(TokenRanking(CONFIGS[name]), "token_ranking")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in CONFIGS]
)
def test_verilog_equals_cycle_model_and_golden(name: str, compared) -> None:
    rtl = build(name)
    for stall, lazy in ((0.0, False), (0.5, True), (0.9, False)):
        layers = random_layers(CONFIGS[name], np.random.default_rng(int(10 * stall)), 25)
        bench = RankingLockstep(CONFIGS[name], layers, stall=stall, lazy=lazy)
        rtl.run(bench)
        assert results(bench) == golden(layers)
        compared["verilator, in process"] += bench.compared


def test_equals_cycle_model_in_amaranths_simulator() -> None:
    layers = random_layers(CONFIGS["both"], np.random.default_rng(0), 3)
    bench = RankingLockstep(CONFIGS["both"], layers, stall=0.3)
    run_lockstep(TokenRanking(CONFIGS["both"]), bench)
    assert results(bench) == golden(layers)


@pytest.mark.parametrize("name", ["direct", "packed", "both", "slow both"])
def test_a_report_left_standing_is_not_lost(name: str) -> None:
    """The ids are read at once, the report not for long: it must outlive its layer's command."""
    layers = random_layers(CONFIGS[name], np.random.default_rng(3), 12)
    bench = RankingLockstep(CONFIGS[name], layers, held="report")
    rtl = build(name)
    rtl.run(bench)
    assert results(bench) == golden(layers)
