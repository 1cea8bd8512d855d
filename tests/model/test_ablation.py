"""What each feature of a policy saves: alone, left out, all together."""

import dataclasses

import pytest

from dtqatten import Config
from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.spatten import spatten
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.errors import UsageError
from dtqatten.model.ablation import Feature, ablation, decode_ablation, with_features
from dtqatten.model.core import run_core
from dtqatten.model.energy import Coefficients
from dtqatten.model.shapes import Shape
from dtqatten.model.workload import Workload

CONFIG = Config(rows=4, cols=8, depth=4, d_head=16, n_max=64)
SHAPE = Shape(layers=3, heads=4, d_head=16)
EVERY = frozenset(Feature)
POLICY = spatten(
    3, tokens=0.5, heads=0.5, values=0.5, threshold=None, p_follows_token=True, eight=1
)


def test_features_are_taken_away_one_by_one():
    assert with_features(POLICY, EVERY) == POLICY
    plain = with_features(POLICY, frozenset())
    assert plain.layers == Policy.flat(3).layers
    assert not plain.p_follows_token
    tokens = with_features(POLICY, frozenset({Feature.TOKENS}))
    assert [layer.shares for layer in tokens.layers] == [(0, 0, 1), (0.25, 0, 0.75), (0.5, 0, 0.5)]
    bits = with_features(POLICY, frozenset({Feature.PRECISION}))
    assert [layer.shares for layer in bits.layers] == [(0, 0, 1), (0, 1, 0), (0, 1, 0)]
    assert bits.p_follows_token
    heads = with_features(POLICY, frozenset({Feature.HEADS}))
    assert [layer.heads for layer in heads.layers] == [1, 0.75, 0.5]
    values = with_features(POLICY, frozenset({Feature.VALUES}))
    assert [layer.values for layer in values.layers] == [1, 0.5, 0.5]


def test_rows_are_each_alone_each_left_out_and_all():
    rows = {row.name: row for row in ablation(POLICY, CONFIG, SHAPE, 64)}
    names = ["fewer bits", "cascade token pruning", "cascade head pruning", "local V pruning"]
    alone, without = [f"{x} alone" for x in names], [f"all but {x}" for x in names]
    assert list(rows) == [*alone, *without, "all"]
    assert all(row.energy is None for row in rows.values())
    # Of heads 4, 3 and 2 are left in three layers.
    assert rows["cascade head pruning alone"].cycles == pytest.approx(9 / 12)
    assert rows["cascade head pruning alone"].bytes == pytest.approx(9 / 12)
    # V is fetched as a whole.
    assert rows["local V pruning alone"].bytes == 1
    cycles = [
        run_core(CONFIG, Workload(tokens=64, d_head=16, shares=(zero, 0.0, 1 - zero))).head_cycles
        for zero in (0.0, 0.25, 0.5)
    ]
    assert rows["cascade token pruning alone"].cycles == pytest.approx(sum(cycles) / 3 / cycles[0])
    for name in names:
        assert rows["all"].cycles < rows[f"{name} alone"].cycles
    assert rows["all"].cycles < rows["all but fewer bits"].cycles


def test_query_heads_that_share_k_and_v_fetch_them_once():
    rows = ablation(POLICY, CONFIG, dataclasses.replace(SHAPE, kv_heads=2), 64)
    fewer = next(row for row in rows if row.name == "fewer bits alone")
    # Of a byte a channel of Q and output, and one of K and V together, in 8 bits; one layer of 3.
    assert fewer.bytes == pytest.approx((1 + 2 * (0.5 + 0.5 + 1) / 3) / 3)


def test_energy_is_that_of_core_and_memory():
    power = Coefficients({"logic": 10.0}, {})
    fewer = dataclasses.replace(POLICY, p_follows_token=False)
    rows = ablation(fewer, CONFIG, SHAPE, 64, power)
    assert all(0 < (row.energy or 0) <= 1 for row in rows)
    # 160 pJ a byte, and 10 a cycle, of a head.
    zero = run_core(CONFIG, Workload(tokens=64, d_head=16, shares=(0.0, 0.0, 1.0)))
    dense = 10 * zero.head_cycles + 160 * 4 * 64 * 16
    one = next(row for row in rows if row.name == "cascade head pruning alone")
    assert one.energy == pytest.approx(0.75)
    two = next(row for row in rows if row.name == "fewer bits alone")
    four = run_core(CONFIG, Workload(tokens=64, d_head=16, shares=(0.0, 1.0, 0.0)))
    less = 10 * four.head_cycles + 160 * 2.5 * 64 * 16
    assert two.energy == pytest.approx((dense + 2 * less) / 3 / dense)


def test_a_policy_without_features_and_one_of_unknown_cost_are_refused():
    with pytest.raises(UsageError, match="saves nothing"):
        ablation(Policy.flat(3), CONFIG, SHAPE, 64)
    with pytest.raises(UsageError, match="progressive"):
        ablation(spatten(3), CONFIG, SHAPE, 64)


def test_a_decode_step_saves_by_bits_values_and_progressive_keys():
    """256 keys on two heads of K and V of two query heads; a quarter of the heads is flat."""
    layer = LayerPolicy(share_0=0, share_4=1, share_8=0, values=0.5, threshold=0.05)
    policy = Policy(
        layers=(layer,) * 3,
        prune_queries=False,
        record={"stage": "decode", "train_flat": 0.25},
    )
    shape, system = dataclasses.replace(SHAPE, kv_heads=2), SystemConfig(core=CONFIG)
    rows = {row.name: row for row in decode_ablation(policy, system, shape, 256)}
    queries, plane = 2 * 16, 256 * 8
    dense = queries + 4 * plane

    def ratio(k, v):
        return pytest.approx((queries + (k + v) * plane) / dense)

    assert rows["fewer bits alone"].bytes == ratio(1, 1)
    assert rows["local V pruning alone"].bytes == ratio(2, 1)
    assert rows["progressive keys alone"].bytes == ratio(1.25, 2)
    assert rows["all but fewer bits"].bytes == ratio(1.25, 1)
    assert rows["all but progressive keys"].bytes == ratio(1, 0.5)
    assert rows["all"].bytes == ratio(1.25, 0.5)
    assert len(rows) == 7
    assert all(row.energy is None and 0 < row.cycles < 2 for row in rows.values())
    power = Coefficients({"logic": 10.0}, {})
    assert all(row.energy for row in decode_ablation(policy, system, shape, 256, power))
    centered = policy.replace(center_queries=True)
    assert not any(row.energy for row in decode_ablation(centered, system, shape, 256, power))
    # Biases of keys in 4 bits, 2 bytes each for two query heads.
    biased = {row.name: row for row in decode_ablation(centered, system, shape, 256)}
    assert biased["local V pruning alone"].bytes == ratio(2, 1)
    assert biased["fewer bits alone"].bytes == ratio(1 + 4 / 8, 1)
    with pytest.raises(UsageError, match="prune_queries is True"):
        decode_ablation(POLICY, system, shape, 256)
