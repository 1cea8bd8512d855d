"""Cycles of the core: against RTL, and what holds for every machine."""

from collections.abc import Iterator

import pytest

from dtqatten.configuration.core import Config, ConfigError
from dtqatten.golden.cycles import score_array, value_array
from dtqatten.model.core import fit, run_core
from dtqatten.model.workload import Workload, core_layer
from dtqatten.sim.lockstep.core import CoreLockstep, build_core

SMALL = Config(rows=4, cols=4, depth=4, d_head=32, n_max=24)


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("query", [False, True])
def test_a_later_head_takes_as_long_in_rtl(follows: bool, query: bool) -> None:
    """Three heads through the RTL, every port compared: the second and third take what is said."""
    workload = Workload(tokens=24, d_head=32, follows=follows, follows_query=query)
    bench = CoreLockstep(SMALL, [core_layer(SMALL, workload, heads=3)])
    build_core(SMALL).run(bench)
    ends = [cycle for cycle, _ in bench.taken["outputs"]]
    each = len(ends) // 3
    spans = [ends[2 * each - 1] - ends[each - 1], ends[-1] - ends[2 * each - 1]]
    ran = run_core(SMALL, workload)
    assert spans == [ran.head_cycles] * 2
    assert ran.first_head_cycles == ends[each - 1] + 1


@pytest.mark.parametrize("tokens", [1, 5, 24])
@pytest.mark.parametrize("shares", [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.28, 0.414, 0.306)])
def test_no_machine_beats_the_limit(tokens: int, shares: tuple[float, float, float]) -> None:
    ran = run_core(SMALL, Workload(tokens=tokens, d_head=32, shares=shares))
    assert 0 < ran.limit_share <= 1
    assert all(0 <= share <= 1 for share in ran.busy.values())


def test_machines_grow_to_fit() -> None:
    assert fit(SMALL, Workload(tokens=100, d_head=64)) == SMALL.replace(d_head=64, n_max=100)
    assert fit(SMALL, Workload(tokens=3, d_head=32)) == SMALL
    with pytest.raises(ConfigError, match="n_max is 2000"):
        fit(SMALL, Workload(tokens=2000, d_head=32))


def test_what_nobody_looks_at_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cycles need no operand of a PE: half the time of an estimate went there."""

    def steps(*_: object, **__: object) -> Iterator[object]:
        raise AssertionError("a step is made")
        yield

    monkeypatch.setattr(score_array, "tile_steps", steps)
    monkeypatch.setattr(value_array, "value_steps", steps)
    assert run_core(SMALL, Workload(tokens=16, d_head=32)).head_cycles > 0
