"""A cache is as good as one pass, belongs to its session, and fits what is asked."""

import copy

import pytest
import torch
from transformers import StaticCache

from decoders import PRUNING, error, in_parts, tokens
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.session.cache import CacheError


@pytest.fixture
def quiet_first(llama):
    """A decoder whose first token has small keys and values, as an attention sink has."""
    ids = tokens()
    ids[:, 0] = 3
    with torch.no_grad():
        llama.model.embed_tokens.weight[3] *= 1e-3
        llama.config.rms_norm_eps = 1e-2
        for module in llama.modules():
            if hasattr(module, "variance_epsilon"):
                module.variance_epsilon = 1e-2
    return llama, ids


SPLITS = {"one and the rest": [1, 13], "halves": [7, 7], "one by one": [1] * 14}


@pytest.mark.parametrize("sizes", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("granularity", ["head", "token"])
@pytest.mark.parametrize("mode", ["integer", "fake-quant"])
def test_a_prefill_in_parts_is_as_good_as_one_call(quiet_first, mode, granularity, sizes):
    """In 8 bits: no further from float than 1.5 times what one call is.

    With one scale a head the first token, small as it is, is lost in one call and not in parts; so
    only with one a token are the two near each other.
    """
    model, ids = quiet_first
    policy = Policy.flat(3, granularity=granularity, p_planes=3)
    with torch.no_grad():
        exact = model(ids).logits
        with attached(model, policy, mode) as session:
            once, _ = in_parts(model, session, ids, [14])
            parts, _ = in_parts(model, session, ids, sizes)
    assert error(parts, exact) < 1.5 * error(once, exact)
    if granularity == "token":
        assert error(parts, once) < 0.05


@pytest.mark.parametrize("sizes", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("shares", [(0, 1, 0), (0, 0.5, 0.5)], ids=["4 bits", "mixed"])
def test_a_prefill_in_parts_of_fewer_bits(quiet_first, shares, sizes):
    model, ids = quiet_first
    policy = Policy.flat(3, shares, granularity="token", rotate=True, ranking="random")
    with torch.no_grad():
        exact = model(ids).logits
        with attached(model, policy) as session:
            once, _ = in_parts(model, session, ids, [14])
            parts, _ = in_parts(model, session, ids, sizes)
    assert error(parts, exact) < 1.5 * error(once, exact)


@pytest.mark.parametrize("sizes", [[1, 39], [20, 20], [1] * 40], ids=SPLITS)
def test_a_prefill_in_parts_keeps_as_many_tokens(llama, sizes):
    """Which ones, importance so far decides: other tokens, as many of them, and as good."""
    ids = tokens(2, 40, 1)
    with torch.no_grad():
        exact = llama(ids).logits
        with attached(llama, PRUNING) as session:
            once, whole = in_parts(llama, session, ids, [40])
            parts, cache = in_parts(llama, session, ids, sizes)
    for one, other in zip(whole.precisions(), cache.precisions(), strict=True):
        assert torch.equal((one > 0).sum(1), (other > 0).sum(1))
        assert torch.equal((one == 8).sum(1), (other == 8).sum(1))
    assert error(parts, exact) < 1.5 * error(once, exact)


@pytest.mark.parametrize("mode", ["integer", "fake-quant"])
def test_padding_first_fixes_no_scale(quiet_first, mode):
    """A row of the batch whose first call is padding alone."""
    model, ids = quiet_first
    policy = Policy.flat(3, granularity="token", p_planes=3)
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    places = (mask.cumsum(1) - 1).clamp_min(0)
    outputs = []
    with torch.no_grad(), attached(model, policy, mode) as session:
        for sizes in ([14], [2, 12]):
            cache, parts, start = session.cache(), [], 0
            for size in sizes:
                own = slice(start, start + size)
                start += size
                out = model(
                    input_ids=ids[:, own],
                    attention_mask=mask[:, :start],
                    position_ids=places[:, own],
                    past_key_values=cache,
                )
                parts.append(out.logits)
            outputs.append(torch.cat(parts, 1)[mask.bool()])
    assert error(outputs[1], outputs[0]) < 0.05


def test_a_reset_cache_is_a_new_one(llama):
    with torch.no_grad(), attached(llama, PRUNING) as session:
        expected, _ = in_parts(llama, session, tokens(2, 12, 3), [8, 1, 1, 1, 1])
        _, cache = in_parts(llama, session, tokens(1, 12, 4), [6, 6])
        cache.reset()
        got, _ = in_parts(llama, session, tokens(2, 12, 3), [8, 1, 1, 1, 1], cache)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("mode", ["integer", "fake-quant"])
def test_each_beam_goes_on_from_its_own_tokens(llama, mode):
    """Reordered, chosen and repeated rows are those of caches that were theirs all along."""
    ids, more = tokens(3, 10), tokens(4, 3, 2)
    origin = torch.tensor([2, 0, 0, 2])
    with torch.no_grad(), attached(llama, PRUNING, mode) as session:
        expected, cache = in_parts(llama, session, torch.cat([ids[origin], more], 1), [10, 1, 1, 1])
        _, one = in_parts(llama, session, ids, [10])
        _, two = in_parts(llama, session, ids[:2], [10])
        one.batch_select_indices(torch.tensor([0, 2]))
        one.batch_repeat_interleave(2)
        one.reorder_cache(torch.tensor([2, 0, 1, 3]))
        got, _ = in_parts(llama, session, more, [1, 1, 1], one)
        torch.testing.assert_close(got, expected[:, 10:], atol=1e-5, rtol=1e-5)
        for a, b in zip(one.precisions(), cache.precisions(), strict=True):
            assert torch.equal(a, b)
        with pytest.raises(CacheError, match="cropped"):
            two.crop(-1)


def test_beam_search_runs_on_the_cache(llama):
    ids = tokens(1, 8)
    options = {"max_new_tokens": 4, "do_sample": False, "num_beams": 3, "attention_mask": ids > 0}
    plain = llama.generate(ids, **options)
    with attached(llama, Policy.flat(3, granularity="token", p_planes=3)) as session:
        got = llama.generate(ids, past_key_values=session.cache(), **options)
    assert got.shape == plain.shape
    assert (got == plain).float().mean() > 0.8


def test_a_cache_belongs_to_its_session(make_llama):
    llama, other = make_llama(), make_llama(seed=3)
    policy = Policy.flat(3)
    with torch.no_grad():
        with attached(llama, policy) as session:
            _, cache = in_parts(llama, session, tokens(2, 6), [6])
            copied = copy.deepcopy(cache)
            in_parts(llama, session, tokens(2, 1), [1], copied)
            assert cache.get_seq_length() == 6
            with attached(other, policy), pytest.raises(CacheError, match="another session"):
                other(tokens(2, 1), past_key_values=cache)
            with pytest.raises(CacheError, match="2 sequences, this pass has 1"):
                llama(tokens(1, 1), past_key_values=cache)
        with pytest.raises(CacheError, match="inside its"):
            llama(tokens(2, 1), past_key_values=cache)
        with (
            attached(llama, policy.replace(granularity="token")),
            pytest.raises(CacheError, match="another session"),
        ):
            llama(tokens(2, 1), past_key_values=cache)


def test_other_caches_are_refused(llama):
    with torch.no_grad(), attached(llama, Policy.flat(3)):
        static = StaticCache(config=llama.config, max_cache_len=16)
        with pytest.raises(CacheError, match=r"session\.cache\(\)"):
            llama(tokens(1, 4), past_key_values=static)


@pytest.mark.parametrize("place", ["before a layer", "in the last block"])
def test_a_cache_of_a_broken_pass_is_refused(llama, place, monkeypatch):
    def broken(*_, **__):
        raise OSError("power")

    with torch.no_grad(), attached(llama, Policy.flat(3)) as session:
        _, cache = in_parts(llama, session, tokens(1, 4), [4])
        with monkeypatch.context() as patch:
            if place == "before a layer":
                patch.setattr(llama.model.layers[1], "forward", broken)
            else:
                patch.setattr(cache.layer(2), "join", broken)
            with pytest.raises(OSError, match="power"):
                llama(tokens(1, 1), past_key_values=cache)
        with pytest.raises(CacheError, match="broke off"):
            llama(tokens(1, 1), past_key_values=cache)
        cache.reset()
        llama(tokens(1, 1), past_key_values=cache)


def test_caches_of_fixed_size_are_refused_in_one_line(llama):
    ids = tokens(1, 6)
    message = r"^past_key_values is a StaticCache, and decoding needs .*session\.cache\(\)$"
    options = {"max_new_tokens": 2, "do_sample": False}
    with torch.no_grad(), attached(llama, Policy.flat(3)):
        with pytest.raises(CacheError, match=message):
            llama(ids, past_key_values=StaticCache(config=llama.config, max_cache_len=16))
        with pytest.raises(CacheError, match=message):
            llama.generate(ids, cache_implementation="static", **options)
