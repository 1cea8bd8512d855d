"""Models of several stacks: an encoder and a decoder that attends to its tokens, or two towers."""

import dataclasses
import itertools

import pytest
import torch

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.models import ModelError
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.runtime import attached, calibrate
from dtqatten.algorithm.session.cache import CacheError
from families import CROSSING, inputs, layers, made, mixed, ran, relative

WHOLE = LayerPolicy(share_0=0, share_4=0, share_8=1)


def pruning(model, share, **options):
    """Prune that share of the tokens from the second layer of each stack on; all else in 8 bits."""
    rest = LayerPolicy(share_0=share, share_4=0, share_8=1 - share)
    rules = [WHOLE if i in (0, 2) else rest for i in range(layers(model))]
    return Policy(layers=tuple(rules), **options)


def records_of(session):
    return {(each.layer, each.cross): each for each in session.records}


@pytest.mark.parametrize("name", CROSSING)
def test_what_the_encoder_pruned_is_no_key_of_the_decoder(name):
    """Encoder tokens go on to be ranked by what cross-attention draws, and are pruned for good."""
    model = made(name)
    batch, _ = inputs(name)
    _, session = ran(model, batch, pruning(model, 0.5), "fake-quant", record=True)
    found = records_of(session)
    assert sorted(found) == [
        *((0, False), (1, False)),
        *((2, False), (2, True), (3, False), (3, True), (4, False), (4, True)),
    ]
    n = found[1, False].bits.shape[1]
    kept = {place: record.bits > 0 for place, record in found.items()}
    valid = kept[0, False]
    assert (kept[1, False].sum(1) < valid.sum(1)).all()
    # All that the encoder left, also in the decoder's first layer, whose policy prunes nothing.
    assert torch.equal(kept[2, True], kept[1, False])
    for layer in (3, 4):
        assert not (kept[layer, True] & ~kept[layer - 1, True]).any()
        assert kept[layer, False].shape == (2, 7)
        assert kept[layer, True].shape == (2, n)
    # The decoder's own layers prune its own tokens.
    assert (kept[3, False].sum(1) == 3).all()


def test_encoder_tokens_are_ranked_by_all_that_they_drew():
    """Half of the keys in 8 bits: those of the largest sums over encoder and cross-attention."""
    model = made("BART")
    batch, _ = inputs("BART", rows=1)
    rest = LayerPolicy(share_0=0, share_4=0.5, share_8=0.5)
    rules = tuple(WHOLE if i in (0, 2) else rest for i in range(5))
    for importance in ("cumulative", "block"):
        policy = Policy(layers=rules, importance=importance)
        _, session = ran(model, batch, policy, "float", record=True)
        found = records_of(session)
        drawn = [found[place].importance for place in ((0, False), (1, False), (2, True))]
        total = sum(drawn) if importance == "cumulative" else drawn[-1]
        eight = set(total[0].topk(6).indices.tolist())
        assert set((found[3, True].bits[0] == 8).nonzero()[:, 0].tolist()) == eight


def test_pruned_keys_are_as_if_the_encoder_had_not_had_them():
    """In floating point: the decoder on the rest of the encoder's states gives the same."""
    model = made("BART")
    batch, _ = inputs("BART", rows=1)
    rules = [WHOLE, LayerPolicy(share_0=0.5, share_4=0, share_8=0.5), WHOLE, WHOLE, WHOLE]
    got, session = ran(model, batch, Policy(layers=tuple(rules)), "float", record=True)
    kept = records_of(session)[1, False].bits[0] > 0
    assert 0 < int(kept.sum()) < 12
    with torch.no_grad(), attached(model, Policy(layers=tuple(rules)), "float"):
        states = model.get_encoder()(batch["input_ids"], batch["attention_mask"])[0]
    with torch.no_grad():
        expected = model(
            encoder_outputs=(states[:, kept],), decoder_input_ids=batch["decoder_input_ids"]
        )[0]
        whole = model(**batch)[0]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert relative(got, whole) > 0.01


@pytest.mark.parametrize("prune_queries", [False, True])
@pytest.mark.parametrize("pruned", ["freeze", "ffn"])
@pytest.mark.parametrize("name", CROSSING)
def test_modes_agree_with_every_option(name, pruned, prune_queries):
    model = made(name)
    batch, _ = inputs(name)
    policy = mixed(
        model,
        granularity="token",
        rotate=True,
        pruned=pruned,
        prune_queries=prune_queries,
        count_normalize=True,
        p_follows_query=True,
    )
    rules = [
        x if i in (0, 2) else dataclasses.replace(x, heads=0.75)
        for i, x in enumerate(policy.layers)
    ]
    policy = policy.replace(layers=tuple(rules))
    exact, one = ran(model, batch, policy, "integer")
    fast, two = ran(model, batch, policy, "fake-quant")
    assert relative(fast, exact) < 0.1
    assert one.tally == two.tally
    assert 0 < one.tally.bops_ratio < 1
    assert one.tally.sequences == 2


def test_pruned_queries_do_not_cross_attend_either():
    """Tokens that the decoder pruned keep their states through a whole layer."""
    model = made("T5")
    batch, _ = inputs("T5", rows=1)
    states = []
    for layer in model.decoder.block:
        layer.register_forward_pre_hook(lambda m, a: states.append(a[0]))
    _, session = ran(model, batch, pruning(model, 0.5), "fake-quant", record=True)
    gone = records_of(session)[3, False].bits[0] == 0
    assert gone.any()
    _, before, after = states
    assert torch.equal(before[0, gone], after[0, gone])
    assert not torch.equal(before[0, ~gone], after[0, ~gone])


def test_pruned_queries_draw_nothing_from_the_encoder():
    """With `ffn` both attentions give them 0, and they go on through the feed-forward."""
    model = made("T5")
    batch, _ = inputs("T5", rows=1)
    given = []
    for layer in model.decoder.block:
        for part in layer.layer[:2]:
            attention = getattr(part, "SelfAttention", None) or part.EncDecAttention
            attention.register_forward_hook(lambda m, a, o: given.append(o[0]))
    policy = pruning(model, 0.5, pruned="ffn")
    _, session = ran(model, batch, policy, "fake-quant", record=True)
    gone = records_of(session)[3, False].bits[0] == 0
    assert 0 < int(gone.sum()) < 7
    for output in given[2:4]:
        assert (output[0, gone] == 0).all()
        assert (output[0, ~gone] != 0).any(1).all()


def test_cross_attention_costs_what_its_queries_and_keys_have():
    """Queries have the precisions of self-attention in that layer, keys those of the encoder's."""
    model = made("BART")
    batch, _ = inputs("BART", rows=1)
    policy = mixed(model)
    _, session = ran(model, batch, policy, "fake-quant", record=True)
    expected = 0.0
    for (layer, cross), record in records_of(session).items():
        own = records_of(session)[layer, False].bits[0]
        pairs = own[:, None] * record.bits[0] + 8 * record.bits[0] * (own > 0)[:, None]
        causal = layer > 1 and not cross
        expected += 4 * float((pairs.tril() if causal else pairs).sum())
    assert session.tally.bit_operations == expected


def test_heads_of_each_attention_are_pruned_by_their_own_outputs():
    model = made("BART")
    batch, _ = inputs("BART", rows=1)
    rules = (*[WHOLE] * 3, dataclasses.replace(WHOLE, heads=0.5), WHOLE)
    outputs = {}
    for index, layer in enumerate(model.model.decoder.layers):
        for name in ("self_attn", "encoder_attn"):
            getattr(layer, name).out_proj.register_forward_pre_hook(
                lambda m, a, key=(index, name): outputs.update({key: a[0]})
            )
    ran(model, batch, Policy(layers=rules), "fake-quant")
    for name in ("self_attn", "encoder_attn"):
        size = [outputs[i, name].view(7, 4, 8).abs().sum((0, 2)) for i in range(3)]
        assert (size[0] > 0).all()
        assert torch.equal(size[1] > 0, size[0] >= size[0].sort().values[2])
        assert torch.equal(size[2] > 0, size[1] > 0)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", CROSSING)
def test_generation(name, beams):
    """With weights of 12 bits and all tokens in 8 it says what the model itself says, mostly."""
    # Transformers' own caches have as many layers as the encoder has.
    same = "num_decoder_layers" if name in ("T5", "UMT5") else "decoder_layers"
    model = made(name, **{same: 2})
    batch, _ = inputs(name)
    batch.pop("decoder_input_ids")
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "num_beams": beams}
    plain = model.generate(**batch, **options)
    policy = Policy.flat(layers(model), granularity="token", p_planes=3)
    with attached(model, policy) as session:
        got = model.generate(**batch, **options, past_key_values=session.cache())
        # Without a cache all is computed again in each step, with the same result or nearly so.
        again = model.generate(**batch, **options, use_cache=False)
    assert got.shape == plain.shape == again.shape
    assert (got == plain).float().mean() > 0.7
    assert (again == plain).float().mean() > 0.7


def test_keys_evicted_in_a_step_do_not_come_back():
    model = made("BART")
    batch, _ = inputs("BART")
    answer = batch.pop("decoder_input_ids")
    # By what the last block drew alone, each step would choose others of all 12.
    policy = pruning(model, 0.5, prune_queries=False, count_normalize=True, importance="block")
    policy = policy.replace(layers=(WHOLE, *policy.layers[:1], *policy.layers[2:]))
    with torch.no_grad(), attached(model, policy, record=True) as session:
        encoded = model.get_encoder()(**batch)
        cache = session.cache()
        found = []
        for part in answer.split(1, 1):
            model(
                encoder_outputs=encoded,
                attention_mask=batch["attention_mask"],
                decoder_input_ids=part,
                past_key_values=cache,
            )
            found.append(records_of(session))
        with pytest.raises(CacheError, match="cannot be cropped"):
            cache.crop(1)
        cache.batch_repeat_interleave(2)
        assert cache.cross_attention_cache.layers[0].keys.shape[0] == 4
        assert cache.self_attention_cache.crossed.alive.shape == (4, 12)
    for before, after in itertools.pairwise(found):
        for layer in (2, 3, 4):
            kept = after[layer, True].bits > 0
            assert kept.sum(1).tolist() == ([12, 8] if layer == 2 else [6, 4])
            assert not (kept & (before[layer, True].bits == 0)).any()


def test_the_decoder_must_attend_to_what_the_encoder_gave():
    model = made("BART")
    batch, _ = inputs("BART")
    states, answer = torch.randn(2, 12, 32), batch["decoder_input_ids"]
    with torch.no_grad(), attached(model, Policy.flat(5)):
        with pytest.raises(CacheError, match="not what the encoder gave in its last pass"):
            model(encoder_outputs=(states,), decoder_input_ids=answer)
        model(**batch)
        with pytest.raises(CacheError, match="not what the encoder gave in its last pass"):
            model(encoder_outputs=(states,), decoder_input_ids=answer)
        # A decoder alone may attend to its own tokens, as it may without a policy.
        model.get_decoder()(input_ids=answer)


def test_policies_that_are_not_defined_for_cross_attention_are_refused():
    model = made("T5")
    for options in ({"smooth": 0.5}, {"center": True}, {"center_queries": True}):
        with (
            pytest.raises(PolicyError, match=r"T5.* has cross-attention, whose Q, K and V"),
            attached(model, Policy.flat(5, **options), calibration=[None] * 5),
        ):
            pass
    first = LayerPolicy(share_0=0.25, share_4=0, share_8=0.75)
    for layer in (first, LayerPolicy(share_0=0, share_4=0, share_8=1, heads=0.5)):
        rules = (WHOLE, WHOLE, layer, WHOLE, WHOLE)
        with (
            pytest.raises(PolicyError, match="layer 2 is the first of another stack of T5"),
            attached(model, Policy(layers=rules)),
        ):
            pass
    again = dataclasses.replace(WHOLE, share_4=1, share_8=0, threshold=0.5)
    bart = made("BART")
    with (
        pytest.raises(PolicyError, match=r"layer 3 of Bart.* is progressive, .*cross-attention"),
        attached(bart, Policy(layers=(WHOLE, again, WHOLE, again, WHOLE))),
    ):
        pass
    # In the encoder it is.
    batch, _ = inputs("BART")
    policy = Policy(layers=(WHOLE, again, WHOLE, WHOLE, WHOLE))
    exact, _ = ran(bart, batch, policy, "integer")
    fast, session = ran(bart, batch, policy, "fake-quant")
    assert relative(fast, exact) < 0.1
    assert session.tally.rows == 4 * 20
    with (
        pytest.raises(PolicyError, match=r"has 4 layers, T5ForCond.* has 5"),
        attached(model, Policy.flat(4)),
    ):
        pass


def test_a_part_of_an_encoder_decoder_model_is_refused():
    with pytest.raises(ModelError, match="BartDecoder is a part of an encoder-decoder"):
        ran(made("BART").get_decoder(), {})


def test_an_encoder_with_layers_left_out_is_found():
    """Each stack that runs must attend in every layer."""
    model = made("BART")
    batch, _ = inputs("BART")
    model.model.decoder.layers[1].encoder_attn.forward = lambda hidden_states, **_: (
        hidden_states,
        None,
    )
    with pytest.raises(ModelError, match=r"layer 3 of BartForCond.* has not attended"):
        ran(model, batch)


def test_two_towers_have_tokens_of_their_own():
    """CLIP's text comes first in a policy, then its vision; either may run alone."""
    model = made("CLIP")
    batch, _ = inputs("CLIP")
    rest = LayerPolicy(share_0=0.5, share_4=0, share_8=0.5)
    policy = Policy(layers=(WHOLE, rest, WHOLE, rest, rest))
    with torch.no_grad(), attached(model, policy, record=True) as session:
        model(**batch)
        kept = {each.layer: (each.bits > 0).sum(1).tolist() for each in session.records}
        assert kept == {0: [12, 8], 1: [6, 4], 2: [5, 5], 3: [3, 3], 4: [3, 3]}
        image = model.get_image_features(pixel_values=batch["pixel_values"])
        assert [each.layer for each in session.records] == [2, 3, 4]
        session.compute = lambda layer, op: None
        with pytest.raises(ModelError, match="CLIPModel has 2 stacks of layers, and the machine"):
            model(**batch)
    assert image is not None
    found = calibrate(model, [batch])
    assert len(found) == 5
    # Rotation and factors are conditioned at run time: nothing is lost in floating point.
    with torch.no_grad():
        expected = model(**batch)[0]
    flat = Policy.flat(5, rotate=True, smooth=0.5, center=True)
    got, _ = ran(model, batch, flat, calibration=found)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
