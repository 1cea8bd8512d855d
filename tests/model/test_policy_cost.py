"""What a policy costs on a machine: counted by hand, and what is refused."""

import pytest

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.configuration.core import PRESETS
from dtqatten.files.errors import UsageError
from dtqatten.model.closed_form import fast_head_cycles
from dtqatten.model.energy import Coefficients
from dtqatten.model.policy_cost import Cost, kv_ratio, policy_cost
from dtqatten.model.shapes import Shape
from dtqatten.model.workload import Workload

BASE = PRESETS["base"]
SHAPE = Shape(layers=3, heads=12, d_head=64)
LAYERS = (
    LayerPolicy(share_0=0, share_4=0, share_8=1),
    LayerPolicy(share_0=0.25, share_4=0.5, share_8=0.25, heads=0.5),
    LayerPolicy(share_0=0.5, share_4=0.5, share_8=0, values=0.5),
)


def test_cycles_of_layers_heads_and_lengths_add_up() -> None:
    """A pruned head stays pruned, though the last layer would have all."""

    def head(tokens: int, shares: tuple[float, float, float], value_share: int = 256) -> int:
        work = Workload(tokens=tokens, shares=shares, value_share=value_share)
        return fast_head_cycles(BASE, work)

    cost = policy_cost(Cost.CYCLES, BASE, SHAPE, {128: 3, 384: 1})
    own = dense = 0
    for tokens, count in ((128, 3), (384, 1)):
        eight = head(tokens, (0, 0, 1))
        own += count * 12 * eight
        own += count * 6 * head(tokens, (0.25, 0.5, 0.25))
        own += count * 6 * head(tokens, (0.5, 0.5, 0), 128)
        dense += count * 12 * 3 * eight
    assert cost(Policy(layers=LAYERS)) == pytest.approx(own / dense)
    assert cost(Policy.flat(3)) == 1


def test_bytes_of_keys_and_values_are_those_of_the_heads_left() -> None:
    assert kv_ratio(Policy(layers=LAYERS), SHAPE) == pytest.approx((1 + 0.5 * 0.5 + 0.5 * 0.25) / 3)
    local = LayerPolicy(share_0=0, share_4=1, share_8=0, values=0.25)
    for chosen, ratio in ((False, 0.5), (True, 0.5 * (1 + 0.25) / 2)):
        assert kv_ratio(Policy(layers=(local,)), SHAPE, chosen=chosen) == pytest.approx(ratio)
    progressive = LayerPolicy(share_0=0, share_4=1, share_8=0, threshold=0.1)
    with pytest.raises(UsageError, match="layer 0 is progressive"):
        kv_ratio(Policy(layers=(progressive,)), SHAPE)


def test_bytes_of_biases_count_a_key_and_query_head() -> None:
    """Of 100 keys, 4 query heads on 2 of K and V of 64 channels; the second layer has 75 left."""
    shape = Shape(layers=2, heads=4, kv_heads=2, d_head=64)
    layers = (
        LayerPolicy(share_0=0, share_4=0.75, share_8=0.25, values=0.5),
        LayerPolicy(share_0=0.25, share_4=0.5, share_8=0.25, values=0.5),
    )
    policy = Policy(layers=layers, center_queries=True, prune_queries=False)
    all_bytes = 2 * 100 * 2 * (64 + 64)
    k = 2 * (75 * 32 + 25 * 64) + 2 * (50 * 32 + 25 * 64)
    biases = 4 * 2 * (100 + 75)
    assert kv_ratio(policy, shape) == pytest.approx((2 * k + biases) / all_bytes)
    assert kv_ratio(policy, shape, chosen=True) == pytest.approx((1.5 * k + biases) / all_bytes)


def test_weights_of_three_nibbles_cost_steps_of_p_x_v() -> None:
    """384 tokens in 8 bits: 48 row blocks of 36 groups, 2 channel passes, 6 steps in place of 4."""
    cost = policy_cost(Cost.CYCLES, BASE, Shape(layers=1, heads=1, d_head=64), {384: 1})
    assert cost(Policy.flat(1, p_planes=3)) == pytest.approx(48 * 36 * 2 * 6 / 18432)


def test_energy_is_that_of_busy_units_and_of_dram() -> None:
    power = Coefficients({"logic": 2.0}, {"array": 3.0})
    shape = Shape(layers=1, heads=4, kv_heads=2, d_head=64)
    cost = policy_cost(Cost.ENERGY, BASE, shape, {256: 1}, power)
    # In pJ. Score array: 32 row blocks of 8 tiles of 8 or 32 cycles; normalizer and P x V: less or
    # as long. DRAM: Q, half of K and V, outputs of 8 bits; 20 pJ a bit.
    four = 2 * 3072 + 3 * 2048 + 64 * 256 * (0.5 * (1 + 2 * 0.5) + 1) * 8 * 20
    eight = 2 * 8192 + 3 * 8192 + 64 * 256 * (1 + 2 * 0.5 + 1) * 8 * 20
    flat = Policy(layers=(LayerPolicy(share_0=0, share_4=1, share_8=0),))
    assert cost(flat) == pytest.approx(four / eight)
    for name, option in (
        ("unsigned_weights", "unsigned_weights"),
        ("block_exponents", "block_exponents"),
        ("center_queries", "bias_heads"),
    ):
        told = f"{name} is True: power is known of machines without {option} only"
        with pytest.raises(UsageError, match=told):
            cost(flat.replace(**{name: True}))
    signed = flat.replace(granularity="token", gains="signed")
    told = "signed_gains is True: power is known of machines without signed_gains only"
    with pytest.raises(UsageError, match=told):
        cost(signed)


def test_what_a_machine_cannot_tell_is_refused() -> None:
    progressive = LayerPolicy(share_0=0, share_4=1, share_8=0, threshold=0.1)
    cost = policy_cost(Cost.CYCLES, BASE, Shape(layers=1, heads=2, d_head=64), {16: 1})
    with pytest.raises(UsageError, match="layer 0 is progressive"):
        cost(Policy(layers=(progressive,)))
    with pytest.raises(UsageError, match="queries of pruned tokens go on"):
        cost(Policy.flat(1, prune_queries=False))
    with pytest.raises(UsageError, match="power of this machine is not known"):
        policy_cost(Cost.ENERGY, BASE, SHAPE, {16: 1})
    with pytest.raises(UsageError, match="bytes of a policy come from its evaluation"):
        policy_cost(Cost.BYTES, BASE, SHAPE, {16: 1})
