"""Decoding with the cache of codes."""

import dataclasses
import math

import pytest
import torch

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.runtime import attached, calibrate
from tiny_models import BOUND, decoded, hidden, ramp, rms, spattens


@pytest.mark.parametrize("mode", ["integer", "fake-quant"])
@pytest.mark.parametrize("granularity", ["head", "token"])
def test_decoding_gives_what_one_pass_gives(llama, mode, granularity):
    torch.manual_seed(7)
    ids = torch.randint(3, 50, (2, 14))
    policy = Policy.flat(3, granularity=granularity, p_planes=3)
    once, _ = hidden(llama, policy, mode, {"input_ids": ids})
    steps, cache, _ = decoded(llama, policy, mode, ids, 6)
    # Scales of a cache are fixed by its first tokens: equal up to the quantization.
    assert rms(steps, once) < 0.1
    assert cache.get_seq_length() == 14
    assert cache.layer(0).k.codes.dtype == torch.int8
    with torch.no_grad():
        assert rms(steps, llama(ids).logits) < 0.1


def test_modes_agree_while_decoding(llama):
    torch.manual_seed(8)
    ids = torch.randint(3, 50, (2, 14))
    policy = ramp(
        prune_queries=False, count_normalize=True, protect=("first",), recent=2, p_planes=3
    )
    exact, one, _ = decoded(llama, policy, "integer", ids, 8)
    fast, two, _ = decoded(llama, policy, "fake-quant", ids, 8)
    same = [torch.equal(a, b) for a, b in zip(one.precisions(), two.precisions(), strict=True)]
    assert all(same)
    assert rms(fast, exact) < BOUND


def test_modes_agree_while_decoding_with_spattens_options(llama):
    torch.manual_seed(3)  # no row whose largest probability is nearly the threshold
    ids = torch.randint(3, 50, (2, 14))
    exact, one, _ = decoded(llama, spattens(recent=2), "integer", ids, 8)
    fast, two, session = decoded(llama, spattens(recent=2), "fake-quant", ids, 8)
    for a, b in zip(one.precisions(), two.precisions(), strict=True):
        assert torch.equal(a, b)
    assert rms(fast, exact) < 2 * BOUND
    assert session.tally.bytes < session.tally.bytes_all


def test_means_of_queries_are_biases_of_cached_keys(llama):
    """Of each step's new keys; a cache gives what one pass gives, in both modes."""
    torch.manual_seed(5)
    ids = torch.randint(3, 50, (2, 14))
    policy = Policy.flat(3, granularity="token", p_planes=3, center=True, center_queries=True)
    measured = calibrate(llama, [{"input_ids": ids}])
    once, _ = hidden(llama, policy, "integer", {"input_ids": ids}, calibration=measured)
    exact, cache, _ = decoded(llama, policy, "integer", ids, 6, calibration=measured)
    fast, _, _ = decoded(llama, policy, "fake-quant", ids, 6, calibration=measured)
    assert rms(exact, once) < 0.1
    assert rms(fast, exact) < BOUND
    heads = llama.config.num_attention_heads
    assert cache.layer(1).key_bias.shape == (2, heads, 14)
    assert cache.layer(1).key_bias.dtype == torch.int16
    assert cache.layer(1).key_bias.any()
    cache.batch_select_indices(torch.tensor([1]))
    assert cache.layer(1).key_bias.shape == (1, heads, 14)
    cache.reset()
    assert cache.layer(1).key_bias is None


def test_cached_tokens_have_eight_four_or_no_bits(llama):
    torch.manual_seed(9)
    ids = torch.randint(3, 50, (1, 20))
    policy = ramp(prune_queries=False, count_normalize=True, protect=("first",), recent=2)
    _, early, _ = decoded(llama, policy, "fake-quant", ids[:, :12], 12)
    _, late, session = decoded(llama, policy, "fake-quant", ids, 12)
    for index, (before, after) in enumerate(
        zip(early.precisions(), late.precisions(), strict=True)
    ):
        assert set(after.unique().tolist()) <= {0, 4, 8}
        # Evicted once, evicted for good, in this layer and in all later ones.
        assert (after[:, :12][before == 0] == 0).all()
        dead = after[0] == 0
        assert (dead.sum() > 0) == (index > 0)
        assert (late.layer(index).k.codes[0, :, dead] == 0).all()
        assert (late.layer(index).v.codes[0, :, dead] == 0).all()
        assert (after[0, -2:] > 0).all()
        assert after[0, 0] > 0
        if index:
            assert (after[late.precisions()[index - 1] == 0] == 0).all()
    assert session.tally.bytes < session.tally.bytes_all
    assert (late.precisions()[2] > 0).sum() == math.ceil(20 * 0.5)


def test_generate_runs_on_the_cache(llama):
    torch.manual_seed(10)
    ids = torch.randint(3, 50, (1, 8))
    mask = torch.ones_like(ids)
    plain = llama.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False)
    with attached(llama, Policy.flat(3, granularity="token", p_planes=3)) as session:
        got = llama.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=5,
            do_sample=False,
            past_key_values=session.cache(),
        )
    assert got.shape == plain.shape
    assert (got == plain).float().mean() > 0.8


def test_a_cache_of_floats_is_refused(llama):
    ids = torch.randint(3, 50, (1, 6))
    with torch.no_grad(), attached(llama, Policy.flat(3)):
        past = llama(ids, use_cache=True).past_key_values
        with pytest.raises(ValueError, match=r"session\.cache\(\)"):
            llama(ids[:, :1], past_key_values=past)


@pytest.mark.parametrize("mode", ["integer", "fake-quant"])
@pytest.mark.parametrize(("field", "value"), [("values", 0.5), ("threshold", 0.5)])
def test_rules_of_whole_rows_refuse_rows_in_segments(llama, mode, field, value):
    whole = Policy.flat(3, granularity="token", prune_queries=False)
    layers = tuple(dataclasses.replace(layer, **{field: value}) for layer in whole.layers)
    ids = torch.arange(1025)[None] % 50
    says = rf"layer 0 has {field}, and 1025 keys, more than 1024 .*: set {field} to"
    with (
        attached(llama, whole.replace(layers=layers), mode),
        pytest.raises(PolicyError, match=says),
    ):
        llama(ids)
