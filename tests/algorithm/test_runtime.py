"""A session follows the model: passes, threads, caches, number formats; or it refuses by name."""

import copy
import threading

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from transformers import StaticCache

from dtqatten.algorithm.policy import LayerPolicy, Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.runtime import attached, calibrate
from dtqatten.algorithm.session.cache import CacheError
from dtqatten.algorithm.session.passes import SessionError
from dtqatten.algorithm.session.session import Session

# A decoder's policy in which importance decides precisions and evictions.
PRUNING = Policy(
    layers=tuple(LayerPolicy(share_0=s, share_4=0.75 - s, share_8=0.25) for s in (0.0, 0.25, 0.25)),
    granularity="token",
    prune_queries=False,
    count_normalize=True,
    protect=("first",),
    recent=2,
)


def tokens(rows=2, n=14, seed=7):
    torch.manual_seed(seed)
    return torch.randint(3, 50, (rows, n))


def error(got, expected):
    return float((got.double() - expected.double()).norm() / expected.double().norm())


def in_parts(model, session, ids, sizes, cache=None):
    cache = session.cache() if cache is None else cache
    parts = [model(input_ids=x, past_key_values=cache).logits for x in ids.split(sizes, 1)]
    return torch.cat(parts, 1), cache


# Passes.


def test_gradient_checkpointing_is_refused_by_name(llama, batch):
    llama.train()
    llama.gradient_checkpointing_enable()
    with attached(llama, Policy.flat(3)) as session:
        with pytest.raises(SessionError, match="gradient_checkpointing_disable"):
            llama(**batch)
        with torch.no_grad():
            llama(**batch)
        llama.gradient_checkpointing_disable()
        llama(**batch).logits.sum().backward()
        assert session.tally.sequences == 2 * 2


@pytest.mark.parametrize(("whole", "reentrant"), [(False, False), (False, True), (True, False)])
def test_a_recomputation_by_other_means_is_refused(llama, batch, whole, reentrant):
    """No flag of the model tells: the block itself sees that a backward pass runs it."""
    owner = llama if whole else llama.model.layers[1]
    forward = owner.forward

    def again(*args, **kwargs):
        # Reentrant checkpoints take no keywords.
        return checkpoint(lambda *x: forward(*x, **kwargs), *args, use_reentrant=reentrant)

    owner.forward = again
    with attached(llama, Policy.flat(3)) as session:
        out = llama(**batch)[0]
        with pytest.raises(SessionError, match="backward pass"):
            out.sum().backward()
        assert session.tally.sequences == 2


def test_a_model_without_its_head_gives_the_same(llama, batch):
    """Also after the whole model ran on another batch, and with its own mask and cache."""
    policy = PRUNING.replace(prune_queries=True, recent=0, protect=("first", "special"))
    other = {"input_ids": tokens(2, 9), "attention_mask": torch.ones(2, 9, dtype=torch.long)}
    with torch.no_grad(), attached(llama, policy, special_ids=[5]) as session:
        expected = llama(**batch).logits
        shares = session.tally.shares
    with torch.no_grad(), attached(llama, policy, special_ids=[5]) as session:
        first = llama.lm_head(llama.model(**batch).last_hidden_state)
        assert session.tally.shares == shares
        llama(**other)
        second = llama.lm_head(llama.model(**batch).last_hidden_state)
    where = batch["attention_mask"].bool()
    assert torch.equal(first[where], expected[where])
    assert torch.equal(second[where], expected[where])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_arguments_count_by_name_wherever_they_stand(family, request):
    """GPT-2 takes its cache second, Llama its mask: each is found in its place."""
    model = request.getfixturevalue(family)
    ids, mask = tokens(2, 9), torch.ones(2, 9, dtype=torch.long)
    mask[1, :4] = 0
    outputs = []
    with torch.no_grad(), attached(model, Policy.flat(model.config.num_hidden_layers)) as session:
        for by_name in (True, False):
            cache, parts = session.cache(), []
            for own, seen in ((slice(0, 6), 6), (slice(6, 9), 9)):
                if by_name:
                    given = {"past_key_values": cache, "attention_mask": mask[:, :seen]}
                    out = model(input_ids=ids[:, own], **given)
                elif family == "gpt2":
                    out = model(ids[:, own], cache, mask[:, :seen])
                else:
                    out = model(ids[:, own], mask[:, :seen], None, cache)
                parts.append(out.logits)
            outputs.append(torch.cat(parts, 1)[mask.bool()])
    assert torch.equal(outputs[1], outputs[0])


def test_a_layer_on_its_own_is_refused(bert):
    with torch.no_grad(), attached(bert, Policy.flat(3)):
        with pytest.raises(SessionError, match="outside a forward pass"):
            bert.encoder.layer[1](torch.randn(1, 4, 32))
        bert(tokens(1, 4))
        with pytest.raises(SessionError, match="outside a forward pass"):
            bert.encoder.layer[1](torch.randn(1, 4, 32))


def test_attention_probabilities_are_refused(bert, llama, batch):
    for model in (bert, llama):
        with (
            torch.no_grad(),
            attached(model, Policy.flat(3)),
            pytest.raises(SessionError, match=r"output_attentions.*record=True"),
        ):
            model(**batch, output_attentions=True)
        model.set_attn_implementation("eager")
        model.config.output_attentions = True
        with torch.no_grad(), attached(model, Policy.flat(3)):
            with pytest.raises(SessionError, match="output_attentions"):
                model(**batch)
            model(**batch, output_attentions=False)


def test_a_pass_that_broke_off_does_not_stay_open(bert, batch):
    with torch.no_grad(), attached(bert, Policy.flat(3)):
        expected = bert(**batch)[0]
        with pytest.raises(IndexError):
            bert(input_ids=torch.full((1, 3), 99))
        assert torch.equal(bert(**batch)[0], expected)


# Threads.


def test_two_threads_on_one_model_are_refused(bert, batch):
    """The second comes while the first waits in a layer."""
    inside, done, seen = threading.Event(), threading.Event(), []

    def wait(*_):
        inside.set()
        assert done.wait(20)

    def second():
        assert inside.wait(20)
        try:
            with torch.no_grad():
                bert(**batch)
        except SessionError as e:
            seen.append(str(e))
        finally:
            done.set()

    with torch.no_grad(), attached(bert, Policy.flat(3)) as session:
        expected = bert(**batch)[0]
        hook = bert.encoder.layer[1].register_forward_pre_hook(wait)
        other = threading.Thread(target=second)
        other.start()
        got = bert(**batch)[0]
        other.join()
        hook.remove()
        assert len(seen) == 1
        assert "another thread" in seen[0]
        assert torch.equal(got, expected)
        assert session.tally.sequences == 4


def test_two_models_in_two_threads(make_bert, batch):
    models = [make_bert(seed=s) for s in (0, 1)]
    policy = PRUNING.replace(prune_queries=True, recent=0)

    def run(model):
        with torch.no_grad(), attached(model, policy) as session:
            return model(**batch)[0], session.tally

    expected = [run(model) for model in models]
    got = [[], []]
    start = threading.Barrier(2)

    def work(index):
        start.wait(20)
        got[index] += [run(models[index]) for _ in range(4)]

    workers = [threading.Thread(target=work, args=(i,)) for i in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for found, (output, tally) in zip(got, expected, strict=True):
        assert len(found) == 4
        assert all(torch.equal(o, output) and t == tally for o, t in found)


# Caches.


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
                patch.setattr(cache.layer(2), "append", broken)
            with pytest.raises(OSError, match="power"):
                llama(tokens(1, 1), past_key_values=cache)
        with pytest.raises(CacheError, match="broke off"):
            llama(tokens(1, 1), past_key_values=cache)
        cache.reset()
        llama(tokens(1, 1), past_key_values=cache)


# Number formats and devices.


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["integer", "fake-quant", "float"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_half_precision_runs(family, mode, kind, batch, request):
    """The half of a model gives what the model does, up to that format's rounding."""
    model = request.getfixturevalue(family)
    measured = calibrate(model, [batch])
    policy = Policy.flat(3, rotate=True, smooth=0.5, center=True, granularity="token", p_planes=3)
    where = batch["attention_mask"].bool()

    def run():
        with torch.no_grad(), attached(model, policy, mode, calibration=measured):
            return model(**batch)[0]

    expected = run()
    model.to(kind)
    got = run()
    assert got.dtype == kind
    assert error(got[where], expected[where]) < 32 * torch.finfo(kind).eps
    model.float()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        run()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_decodes_and_prunes(llama, kind):
    llama.to(kind)
    for mode in ("integer", "fake-quant"):
        with torch.no_grad(), attached(llama, PRUNING, mode) as session:
            got, cache = in_parts(llama, session, tokens(), [8, 1, 1, 4])
        assert got.isfinite().all()
        assert cache.layer(0).k.codes.dtype == torch.int8


@pytest.mark.parametrize("mode", ["integer", "fake-quant", "float"])
def test_no_tensor_is_made_on_a_device_of_its_own_choice(bert, llama, batch, mode):
    """Whatever names no device goes to `meta` here, where nothing can be computed with it."""
    cases = [(bert, PRUNING.replace(prune_queries=True, recent=0)), (llama, PRUNING)]
    spatten = LayerPolicy(share_0=0, share_4=1, share_8=0, heads=0.5, values=0.5, threshold=0.3)
    first = LayerPolicy(share_0=0, share_4=1, share_8=0)
    if mode != "float":
        cases.append((bert, Policy(layers=(first, spatten, spatten), p_follows_query=True)))
    cases.append((bert, Policy.flat(3, (0, 0.5, 0.5), ranking="random", rotate=True)))
    for model, policy in cases:
        with torch.no_grad(), attached(model, policy, mode, record=True) as session:
            expected = model(**batch)[0]
            sequences = session.tally.sequences
            plain = model.forward

            def on_cpu(*args, _plain=plain, **kwargs):
                return _plain(*args, **kwargs)

            inner = Session.attend

            def attend(self, *args, _inner=inner):
                with torch.device("meta"):
                    return _inner(self, *args)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Session, "attend", attend)
                if policy.ranking == "random":
                    session._tokens.source.generator.manual_seed(policy.seed)
                got = model(**batch)[0]
            assert session.tally.sequences == 2 * sequences
        where = batch["attention_mask"].bool()
        torch.testing.assert_close(got[where], expected[where])


def test_tokens_follow_a_model_to_its_next_device(llama, batch):
    """Layers on two devices: the state moves with the hidden states."""
    with torch.no_grad(), attached(llama, PRUNING) as session:
        llama(**batch)
        session._tokens.move(torch.device("meta"))
        assert session._tokens.tokens.importance.device.type == "meta"
        assert session._tokens.alive.device.type == "meta"


@pytest.mark.parametrize("factor", [0.0, 1e-30, 1e-42])
@pytest.mark.parametrize("mode", ["integer", "fake-quant"])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
def test_tiny_projections_give_finite_outputs(llama, mode, kind, factor):
    """Weights and scales near the end of a format's range, with and without a cache."""
    with torch.no_grad():
        for part in llama.model.layers:
            for name in ("q_proj", "k_proj", "v_proj"):
                getattr(part.self_attn, name).weight *= factor
        expected = llama(tokens()).logits
        llama.to(kind)
        for granularity in ("head", "token"):
            with attached(llama, Policy.flat(3, granularity=granularity), mode) as session:
                once = llama(tokens()).logits
                parts, _ = in_parts(llama, session, tokens(), [1, 13])
            for got in (once, parts):
                assert error(got, expected) < 0.01


# Options that would have no effect.


def test_options_without_effect_are_refused(bert, llama, batch):
    with pytest.raises(PolicyError, match="smooth is True"):
        Policy.flat(3, smooth=True)
    few = LayerPolicy(share_0=0, share_4=1, share_8=0, values=0.5)
    with (
        pytest.raises(PolicyError, match=r"values below 1.*mode float"),
        attached(bert, Policy(layers=(few,) * 3), "float"),
    ):
        pass
    with torch.no_grad(), attached(bert, PRUNING), pytest.raises(PolicyError, match="recent is 2"):
        bert(**batch)
    with torch.no_grad(), attached(bert, Policy.flat(3)) as session:
        session.compute = lambda layer, operands: None
        with pytest.raises(ValueError, match="mode integer"):
            bert(**batch)
    measured = calibrate(bert, [batch])
    with (
        pytest.raises(ValueError, match="calibration has 2 layers"),
        attached(bert, Policy.flat(3, smooth=0.5), calibration=measured[:2]),
    ):
        pass
    with (
        torch.no_grad(),
        attached(llama, Policy.flat(3, smooth=0.5), calibration=measured, fold=False),
        pytest.raises(ValueError, match="calibrate this model"),
    ):
        llama(**batch)
