"""The comparison's rows and speedups."""

import re
from pathlib import Path

import pytest

from dtqatten.algorithm.packaged import packaged_policy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.configuration.core import Config
from dtqatten.files.errors import UsageError
from dtqatten.model.compare import (
    SCALED,
    SCALED_LOCAL,
    SCALED_PAIRS,
    SEARCHED,
    core_area,
    entries,
    scaled_speedup,
    searched_speedup,
    speedups,
    weight_precisions,
)
from dtqatten.model.core import run_core
from dtqatten.model.peers import EYERISS, PEERS
from dtqatten.model.workload import Workload, policy_workloads

SMALL = Config(rows=4, cols=4, depth=4, d_head=32, n_max=24)
WORKLOAD = Workload(tokens=24, d_head=32)


def test_rows() -> None:
    own, *peers = entries({"small": SMALL}, WORKLOAD, {"small": 0.5})
    assert own.measured
    assert own.gops_per_mm2 == pytest.approx(own.gops / 0.5)
    assert [row.name for row in peers] == [peer.name for peer in PEERS]
    assert not any(row.measured for row in peers)
    (published,) = [row for row in peers if row.name == "DTQAtten as published"]
    assert published.gops_per_mm2 == pytest.approx(678.4, rel=0.005)


def test_speedups() -> None:
    one = speedups(SMALL, [WORKLOAD])
    assert one.measured == EYERISS.cycles(WORKLOAD) / run_core(SMALL, WORKLOAD).head_cycles
    assert one.measured < one.bound
    assert speedups(SMALL, [WORKLOAD, WORKLOAD]) == one
    flat = searched_speedup(SMALL, Policy.flat(2, (0.0, 1.0, 0.0)), WORKLOAD)
    assert flat.measured == pytest.approx(
        speedups(SMALL, [Workload(tokens=24, d_head=32, shares=(0.0, 1.0, 0.0))]).measured
    )


def test_the_policy_compared_is_fast_and_holds_the_accuracy() -> None:
    """Its rows in docs/accuracy.md lose at most 1 %, and no other searched policy prunes more."""
    document = (Path(__file__).parents[2] / "docs" / "accuracy.md").read_text("utf-8")
    policy = packaged_policy(SEARCHED)
    begin = f"\n## {policy.model}, {policy.task}: "
    sections = [text.split("\n## ")[0] for text in document.split(begin)[1:]]
    method = "searched for speed" if SEARCHED.endswith("-fast") else "searched"
    row = re.compile(rf"^\|{method}\|[^|]*\|[^|]+\|(\S+) %\|", re.MULTILINE)
    losses = [float(loss) for section in sections for loss in row.findall(section)]
    assert losses
    assert max(losses) <= 1

    def least(name: str) -> float:
        layers = policy_workloads(packaged_policy(name), Workload())
        return sum(sum(layer.products) for layer in layers) / len(layers)

    others = ("minilm-stsb", "minilm-sst2", "minilm-bbc")
    assert least(SEARCHED) < min(map(least, others))


def test_policies_come_with_the_package() -> None:
    assert packaged_policy(SEARCHED).p_follows_token
    with pytest.raises(PolicyError, match="nowhere"):
        packaged_policy("nowhere")


def test_the_scaled_machine_has_no_more_multipliers_than_the_published_one() -> None:
    assert SCALED.multipliers <= 3168
    assert SCALED_PAIRS.multipliers <= 3168
    assert SCALED_LOCAL.multipliers <= 3168


def test_local_values_have_a_machine_of_their_own() -> None:
    """Half of V takes half the depth of the value array; more of it, or all, the other machine."""
    machines = {
        name: scaled_speedup(packaged_policy(f"minilm-bbc-{name}"), Workload())
        for name in ("fast", "p8", "local")
    }
    assert {name: config for name, (config, _) in machines.items()} == {
        "fast": SCALED,
        "p8": SCALED,
        "local": SCALED_LOCAL,
    }
    layers = policy_workloads(packaged_policy("minilm-bbc-local"), Workload())
    assert machines["local"][1].measured > 23 > speedups(SCALED, layers).measured


def test_each_precision_of_weights_has_its_machine() -> None:
    (_, one, eight), (_, two, tokens), (_, three, pairs) = weight_precisions(Workload())
    assert one == two == SCALED
    assert three == SCALED_PAIRS
    assert eight.products[1] > tokens.products[1] > pairs.products[1]
    # P x V for no more than Q x K^T, as the published figure takes it.
    assert pairs.products[1] < pairs.products[0]


def test_precision_by_pair_reaches_twelve_times_eyeriss() -> None:
    """On the paper's shares, and on the other machine it does not: that has its P x V too wide."""
    pairs = [Workload(follows=True, follows_query=True)]
    assert speedups(SCALED_PAIRS, pairs).measured >= 12 > speedups(SCALED, pairs).measured


def test_areas(tmp_path: Path) -> None:
    file = tmp_path / "asic-small-core.json"
    assert core_area(file) is None
    file.write_text('{"area_um2": 2.5e6}')
    assert core_area(file) == 2.5
    for damaged in ('{"area', "[]", "{}"):
        file.write_text(damaged)
        with pytest.raises(UsageError, match=r"asic-small-core.json is no result of .*: remove it"):
            core_area(file)
