"""Module B, equal to its cycle model in every cycle, and to the golden importance and choice."""

import functools

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden import attention
from dtqatten.golden.select import select
from dtqatten.golden.token_ranking import LayerCommand
from dtqatten.hw.token_ranking import TokenRanking
from dtqatten.sim.native import run_lockstep
from dtqatten.sim.token_ranking import RankedLayer, RankingLockstep, flat_ids
from dtqatten.sim.verilated import VerilatedModel

PLAIN = Config(rows=3, cols=4, depth=8, d_head=8, n_max=18, heads=5, topk_lanes=4)
CONFIGS = {
    "direct": PLAIN,
    "packed": PLAIN.replace(cols=6, topk_lanes=8),
    "cumulative": PLAIN.replace(cumulative=True),
    "counted": PLAIN.replace(count_normalize=True, topk_lanes=1),
    "both": PLAIN.replace(cumulative=True, count_normalize=True, topk_lanes=16),
}


def layers_of(config: Config, count: int, seed: int = 0) -> list[RankedLayer]:
    """Layers of every size; a cumulative one that is not fresh has the keys chosen before it."""
    rng = np.random.default_rng(seed)
    layers: list[RankedLayer] = []
    chosen = 0
    for _ in range(count):
        cumulative = config.cumulative and bool(rng.random() < 0.7)
        fresh = not chosen or bool(rng.random() < 0.3)
        n_k = chosen if cumulative and not fresh else int(rng.integers(1, config.n_max + 1))
        heads, n_q = (int(n) for n in rng.integers(1, (config.heads + 1, config.n_max + 1)))
        probabilities = rng.integers(0, int(rng.choice([1, 300, 65536])), (heads, n_q, n_k))
        if rng.random() < 0.2:
            probabilities[:] = 65535
        k0 = int(rng.integers(1, n_k + 1))
        command = LayerCommand(
            heads,
            k0,
            int(rng.integers(0, k0 + 1)),
            report=bool(rng.integers(2)),
            cumulative=cumulative,
            fresh=cumulative and fresh,
            count=config.count_normalize and bool(rng.integers(2)),
        )
        chosen = k0 if cumulative else 0
        layers.append(RankedLayer(probabilities, rng.random((n_q, n_k)) < 0.6, command))
    return layers


def golden(layers: list[RankedLayer]) -> tuple[list, list]:
    """Ids of each layer, and the importances that are reported."""
    ids, reports, carried = [], [], None
    for layer in layers:
        command = layer.command
        seen = layer.seen.sum(0) if command.count else None
        total = attention.importance(layer.probabilities, seen)
        if command.cumulative and not command.fresh:
            total = np.minimum(total + carried, attention.IMPORTANCE_MAX)
        chosen = select(total.astype(np.uint64), command.k0, command.k1)
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


@pytest.mark.parametrize("name", CONFIGS)
def test_verilog_equals_cycle_model_and_golden(name: str, compared) -> None:
    rtl = build(name)
    for stall, lazy in ((0.0, False), (0.5, True), (0.9, False)):
        layers = layers_of(CONFIGS[name], 25, seed=int(10 * stall))
        bench = RankingLockstep(CONFIGS[name], layers, stall=stall, lazy=lazy)
        rtl.reset()
        while not bench.done:
            bench.check(rtl.step(bench.inputs()))
            bench.clock()
        assert results(bench) == golden(layers)
        compared["verilator, in process"] += bench.compared


def test_equals_cycle_model_in_amaranths_simulator() -> None:
    layers = layers_of(CONFIGS["both"], 3)
    bench = RankingLockstep(CONFIGS["both"], layers, stall=0.3)
    run_lockstep(TokenRanking(CONFIGS["both"]), bench)  # type: ignore[arg-type]
    assert results(bench) == golden(layers)
