"""Bytes and work of a decode step, counted by hand."""

import dataclasses

import pytest

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.errors import UsageError
from dtqatten.model.decode_cost import decode_cost, flat_share, policy_steps
from dtqatten.model.decode_step import DecodeStep, step_bytes, step_cycles, step_units
from dtqatten.model.energy import Coefficients
from dtqatten.model.policy_cost import Cost
from dtqatten.model.shapes import Shape

#: Four query heads on two of K and V.
SHAPE = Shape(layers=2, heads=4, kv_heads=2, d_head=64)
CORE = Config(rows=4, cols=16, depth=8, value_depth=8, d_head=64, n_max=512)
SYSTEM = SystemConfig(core=CORE, bus_bits=128)
STEP = DecodeStep(shape=SHAPE, four_bit=192, eight_bit=64)
FOUR = LayerPolicy(share_0=0, share_4=1, share_8=0, values=0.5)


def test_bytes_are_those_of_queries_keys_and_chosen_values():
    codes = 192 * 32 + 64 * 64
    assert step_bytes(STEP) == 2 * (2 * 64 + 2 * codes)
    half = dataclasses.replace(STEP, value_share=128)
    assert step_bytes(half) == 2 * (2 * 64 + 1.5 * codes)
    gains = dataclasses.replace(STEP, gains=True, biased=True)
    # A byte of K, of V and of each query; two of each key's bias for two query heads.
    assert step_bytes(gains) - step_bytes(STEP) == 2 * (2 * 256 + 2 + 2 * 2 * 256)
    tried = dataclasses.replace(STEP, flat=0.25)
    assert step_bytes(tried) == 2 * (2 * 64 + 256 * 32 * 1.25 + codes)


def test_units_work_for_what_is_computed():
    """16 tiles of which 4 are wide, 8 steps of depth; 32 groups of which 8 are wide."""
    units = step_units(SYSTEM, STEP)
    assert units["score_array"] == 2 * (16 + 4) * 8
    assert units["value_array"] == 2 * (32 + 8) * 4
    assert units["softmax"] == 2 * 16
    tried = step_units(SYSTEM, dataclasses.replace(STEP, flat=0.25))
    assert tried["score_array"] == 2 * 16 * 2.25 * 8
    half = step_units(SYSTEM, dataclasses.replace(STEP, value_share=128))
    assert half["value_array"] == units["value_array"] / 2


def test_a_step_takes_at_least_its_bytes_and_less_where_fewer_are_read():
    words = step_bytes(STEP) / 16
    assert words < step_cycles(SYSTEM, STEP) < 1.6 * words
    wide = dataclasses.replace(SYSTEM, bus_bits=256)
    assert words / 2 < step_cycles(wide, STEP) < step_cycles(SYSTEM, STEP)
    long = dataclasses.replace(STEP, four_bit=4096)
    less = dataclasses.replace(long, value_share=90)
    assert step_cycles(SYSTEM, less) < 0.75 * step_cycles(SYSTEM, long)


def test_costs_of_a_policy_are_the_mean_of_its_layers():
    whole = LayerPolicy(share_0=0, share_4=0, share_8=1)
    policy = Policy(layers=(whole, FOUR), prune_queries=False)
    cost = decode_cost(Cost.BYTES, SYSTEM, SHAPE, 256)
    dense = 2 * (128 + 2 * 256 * 64)
    assert cost(policy) == pytest.approx((dense + 2 * (128 + 1.5 * 256 * 32)) / (2 * dense))
    assert decode_cost(Cost.CYCLES, SYSTEM, SHAPE, 256)(Policy.flat(2)) == 1
    steps = policy_steps(policy.replace(center_queries=True), SHAPE, 256)
    assert [(s.four_bit, s.eight_bit, s.value_share) for s in steps] == [
        (0, 256, 256),
        (256, 0, 128),
    ]
    assert all(step.biased and not step.gains for step in steps)


def test_energy_is_that_of_core_and_memory():
    power = Coefficients({"logic": 10.0}, {"array": 3.0})
    cost = decode_cost(Cost.ENERGY, SYSTEM, SHAPE, 256, power)

    def picojoules(step: DecodeStep) -> float:
        core = 10 * step_cycles(SYSTEM, step) + 3 * 2 * step_units(SYSTEM, step)["score_array"]
        return core + 160 * (step_bytes(step) + 4 * 64)

    policy = Policy(layers=(FOUR, FOUR))
    (step, _), (dense, _) = (
        policy_steps(policy, SHAPE, 256),
        policy_steps(Policy.flat(2), SHAPE, 256),
    )
    assert cost(policy) == pytest.approx(picojoules(step) / picojoules(dense))
    with pytest.raises(UsageError, match="center_queries is True: power is known of machines"):
        cost(policy.replace(center_queries=True))
    with pytest.raises(UsageError, match="power of this machine is not known"):
        decode_cost(Cost.ENERGY, SYSTEM, SHAPE)
    with pytest.raises(UsageError, match="bops of a policy come from its evaluation"):
        decode_cost(Cost.BOPS, SYSTEM, SHAPE)


def test_what_progressive_layers_read_is_measured_or_in_the_record():
    tried = dataclasses.replace(FOUR, threshold=0.05)
    policy = Policy(layers=(tried, FOUR))
    cost = decode_cost(Cost.BYTES, SYSTEM, SHAPE, 256)
    assert cost(policy, 0.5) > cost(policy, 0.0) == cost(Policy(layers=(FOUR, FOUR)))
    for record in ({}, {"train_flat": 0.5}, {"stage": "decode"}):
        with pytest.raises(UsageError, match=r"does not say which share of low planes"):
            cost(policy.replace(record=record))
    searched = policy.replace(record={"stage": "decode", "train_flat": 0.5})
    assert flat_share(searched) == 0.5
    assert cost(searched) == cost(policy, 0.5)
    assert flat_share(Policy.flat(2)) is None


def test_pruned_heads_have_no_decode_step():
    policy = Policy(layers=(FOUR, dataclasses.replace(FOUR, heads=0.5)))
    with pytest.raises(UsageError, match="layer 1 prunes heads, which the machine refuses"):
        policy_steps(policy, SHAPE)
