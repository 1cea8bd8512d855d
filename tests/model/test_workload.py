"""Workloads: what they hold, and what the core gets."""

from dataclasses import replace

import pytest

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.configuration.core import PRESETS
from dtqatten.model.core import fit, run_core
from dtqatten.model.workload import Workload, core_layer, policy_workloads


def test_counts_products() -> None:
    """By hand: 10 tokens of which 2 are pruned and 3 have 8 bits, 8 channels."""
    workload = Workload(tokens=10, d_head=8, shares=(0.2, 0.5, 0.3))
    assert workload.macs == 2 * 10 * 10 * 8
    assert workload.kept == (5, 3)
    assert workload.products == (11 * 11 * 8, 8 * 2 * 11 * 8)
    follows = Workload(tokens=10, d_head=8, shares=(0.2, 0.5, 0.3), follows=True)
    assert follows.products == (11 * 11 * 8, 8 * (5 + 4 * 3) * 8)
    pairs = replace(follows, follows_query=True)
    assert pairs.products == (11 * 11 * 8, (5 * 5 + 5 * 3 * 2 + 3 * 5 * 1 + 3 * 3 * 4) * 8)
    queries = replace(workload, follows_query=True)
    assert queries.products == (11 * 11 * 8, (5 * 5 + 5 * 3 * 2 + 3 * 5 * 2 + 3 * 3 * 4) * 8)


def test_all_tokens_in_eight_bits_cost_four_products_a_mac() -> None:
    workload = Workload(tokens=7, d_head=16, shares=(0.0, 0.0, 1.0))
    assert sum(workload.products) == 4 * workload.macs


def test_the_core_gets_full_tiles() -> None:
    config = PRESETS["base"]
    layer = core_layer(config, Workload(), heads=2)
    assert layer.q.codes.shape == (2, 276, 64)
    layer = core_layer(config, Workload(full_tiles=True), heads=2)
    assert layer.q.codes.shape == (2, 288, 64)
    boundaries = [int((bits == 4).sum()) for bits in (layer.q_bits, layer.k_bits, layer.v_bits)]
    assert boundaries == [168, 160, 165]
    assert not layer.options.p_follows_token
    assert not layer.options.p_follows_query
    assert core_layer(config, Workload(follows=True), heads=1).options.p_follows_token
    assert core_layer(config, Workload(follows_query=True), heads=1).options.p_follows_query


def test_policies() -> None:
    policy = Policy.flat(3, (0.2, 0.5, 0.3), p_follows_token=True)
    first, second, third = policy_workloads(policy, Workload(tokens=10))
    assert first.kept == (6, 4)
    assert second == third == Workload(tokens=10, shares=(0.2, 0.5, 0.3), follows=True)
    pairs = policy.replace(p_follows_query=True)
    assert policy_workloads(pairs, Workload(tokens=10))[2] == replace(third, follows_query=True)


@pytest.mark.parametrize("pruned", [{"heads": 0.5}, {"threshold": 0.1}])
def test_policies_that_the_core_cannot_run_are_refused(pruned: dict[str, float]) -> None:
    layer = LayerPolicy(share_0=0.0, share_4=1.0, share_8=0.0, **pruned)
    plain = LayerPolicy(share_0=0.0, share_4=1.0, share_8=0.0)
    with pytest.raises(
        ValueError, match=r"layer 1 .* choose a policy that prunes tokens and values only"
    ):
        policy_workloads(Policy(layers=(plain, layer)), Workload())


def test_values_of_a_part_of_the_groups_take_a_core_that_chooses() -> None:
    some = Workload(tokens=40, d_head=32, shares=(0.0, 1.0, 0.0), value_share=64)
    assert some.products[1] * 4 == replace(some, value_share=256).products[1]
    config = fit(PRESETS["tiny"], some)
    assert config.local_values
    assert core_layer(config, some, heads=1).options.value_share == 64
    all_of_them = replace(some, value_share=256)
    assert run_core(config, some).head_cycles < run_core(config, all_of_them).head_cycles


def test_filled_tiles_are_shares() -> None:
    workload = Workload(full_tiles=True)
    assert workload.filled(32).kept == (170, 118)
    assert Workload().filled(32) == Workload()


def test_queries_alternate_unless_told_otherwise() -> None:
    config = PRESETS["tiny"]
    for alternate in (True, False):
        layer = core_layer(config, Workload(tokens=60, d_head=32, alternate=alternate), heads=1)
        assert (layer.q_ids[:8] < 24).all() != alternate
        assert layer.k_ids.tolist() == sorted(layer.k_ids)
        assert sorted(layer.q_ids) == layer.k_ids.tolist()
