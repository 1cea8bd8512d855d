"""Masks and arguments that transformers hands to attention: honoured, or refused by name."""

import pytest
import torch

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.masks import HARMLESS, parted, refuse_unknown, visibility
from dtqatten.algorithm.models import ModelError
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.runtime import attached, calibrate
from dtqatten.algorithm.session.tally import Tally

CPU = torch.device("cpu")
LOWEST = torch.finfo(torch.float32).min


def seen(mask, shape=(2, 4, 5, 5), causal=False, window=None):
    mask, bias = parted("Model", mask, None, shape)
    assert bias is None
    return visibility("Model", mask, shape, causal, window, CPU)


def blocks(*sizes):
    """Sequences packed into one row see themselves only, ``[1, 1, n, n]``."""
    which = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return (which[:, None] == which)[None, None]


def run(model, batch, mode="float", policy=None, **options):
    policy = policy or Policy.flat(model.config.num_hidden_layers)
    with torch.no_grad(), attached(model, policy, mode, **options) as session:
        return model(**batch)[0], session


def test_a_mask_takes_its_shortest_form():
    everything = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    assert seen(everything) is None
    assert seen(None) is None
    causal = everything.tril()
    assert torch.equal(seen(causal), causal)
    assert torch.equal(seen(None, causal=True), causal)
    padded = everything.clone()
    padded[1, :, :, 3:] = False
    assert torch.equal(seen(padded), padded[:, :, :1])
    # One query of a decoder sees all that came before.
    assert seen(None, (2, 4, 1, 5), causal=True) is None


@pytest.mark.parametrize("shape", [(5, 5), (1, 5, 5), (1, 1, 5, 5), (2, 1, 5, 5), (2, 4, 5, 5)])
@pytest.mark.parametrize("hidden", [None, -1e4, LOWEST, -torch.inf])
def test_a_mask_of_any_shape_and_kind_means_the_same(shape, hidden):
    mask = blocks(2, 3)[0, 0].expand(shape)
    if hidden is not None:
        mask = torch.zeros(shape).masked_fill(~mask, hidden)
    assert torch.equal(seen(mask), blocks(2, 3).expand(2, 1, 5, 5))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.full((5, 5), torch.nan), "adds nan to scores"),
        (torch.ones(5, 5, dtype=torch.long), "mask of torch.int64"),
        (torch.ones(5, 4, dtype=torch.bool), r"mask \[5, 4\], but Q and K need \[2, 4, 5, 5\]"),
        (torch.ones(3, 1, 5, 5, dtype=torch.bool), r"mask \[3, 1, 5, 5\], but"),
        (torch.rand(2, 4, 5, 5) > 0.5, "differs from head to head"),
    ],
)
def test_a_mask_that_cannot_be_honoured_is_refused(mask, message):
    with pytest.raises(ModelError, match=rf"^Model attends .*{message}"):
        seen(mask)


def test_what_a_mask_adds_is_parted_from_what_it_hides():
    """A bias in the mask, beside it, or in both; of any shape, and of half precision."""
    torch.manual_seed(2)
    added, more = torch.randn(4, 5, 5).half(), torch.randn(1, 4, 5, 5)
    hidden = ~blocks(2, 3)[0]
    shape = (2, 4, 5, 5)
    mask, bias = parted("Model", added.masked_fill(hidden, -torch.inf), None, shape)
    assert torch.equal(mask, ~hidden[None].expand(1, 4, 5, 5))
    assert torch.equal(bias, added[None].float().masked_fill(hidden, 0))
    mask, bias = parted("Model", ~hidden, more, shape)
    assert torch.equal(mask, ~hidden)
    assert torch.equal(bias, more)
    _, bias = parted("Model", added, more, shape)
    assert torch.equal(bias, added[None].float() + more)
    # Anything above -10000 is added, and nothing where nothing is.
    _, bias = parted("Model", torch.tensor([[0.0, -9999.0]]), None, (1, 1, 1, 2))
    assert bias.tolist() == [[[[0, -9999]]]]
    assert parted("Model", None, torch.zeros(1, 4, 5, 5), shape) == (None, None)


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        (torch.full((1, 4, 5, 5), torch.nan), "position_bias that adds nan"),
        (torch.full((1, 4, 5, 5), -torch.inf), "position_bias that adds -inf.*hide keys by a mask"),
        (torch.full((1, 4, 5, 5), LOWEST), "position_bias that adds -3.4.*hide keys by a mask"),
        (torch.zeros(1, 3, 5, 5), r"position_bias \[1, 3, 5, 5\], but Q and K need \[2, 4, 5, 5\]"),
        (torch.zeros(1, 4, 5, 5, dtype=torch.bool), "position_bias of torch.bool"),
    ],
)
def test_a_bias_that_is_no_number_is_refused(bias, message):
    with pytest.raises(ModelError, match=rf"^Model attends with a {message}"):
        parted("Model", None, bias, (2, 4, 5, 5))


def test_what_is_unknown_without_a_mask_is_refused():
    with pytest.raises(ModelError, match="without a mask, 5 queries to 5 keys, causal None"):
        seen(None, causal=None)
    with pytest.raises(ModelError, match="without a mask, 5 queries to 9 keys, causal True"):
        seen(None, (2, 4, 5, 9), causal=True)


def test_a_window_must_be_in_the_mask():
    """A causal model's counts a query's own place; one on both sides reaches so far."""
    places = torch.arange(5)
    inside = (places[:, None] - places).abs() < 3
    assert torch.equal(seen(inside, window=2), inside.expand(2, 1, 5, 5))
    assert torch.equal(seen(inside.tril(), causal=True, window=3), inside.tril().expand(2, 1, 5, 5))
    for mask, causal, window in ((inside, False, 1), (inside.tril(), True, 2), (None, False, 3)):
        with pytest.raises(ModelError, match=f"sliding_window={window}, but its mask"):
            seen(mask, causal=causal, window=window)
    # The last query of a decoder is at the end of its keys.
    assert seen(inside[4:], (2, 4, 1, 5), causal=True, window=3) is not None
    assert seen(None, window=4) is None


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_packed_sequences_give_what_each_gives_alone(family, additive, request):
    """A block-diagonal 4D mask in floating point: the model with the same mask, and without."""
    model = request.getfixturevalue(family)
    torch.manual_seed(3)
    ids = torch.randint(3, 50, (1, 11))
    mask = blocks(4, 7)
    if family == "llama":
        mask = mask.tril()
    if additive:
        mask = torch.zeros(mask.shape).masked_fill(~mask, LOWEST)
    places = torch.cat([torch.arange(4), torch.arange(7)])[None]
    batch = {"input_ids": ids, "attention_mask": mask, "position_ids": places}
    got, session = run(model, batch)
    with torch.no_grad():
        torch.testing.assert_close(got, model(**batch)[0], atol=1e-5, rtol=1e-4)
        for part in (slice(0, 4), slice(4, 11)):
            alone = model(input_ids=ids[:, part])[0]
            torch.testing.assert_close(got[:, part], alone, atol=1e-5, rtol=1e-4)
    pairs = 4 * 4 + 7 * 7 if family == "bert" else 4 * 5 / 2 + 7 * 8 / 2
    assert session.tally.bit_operations == session.tally.bit_operations_all == 3 * 4 * pairs * 128


def test_packed_sequences_by_their_positions(llama):
    """Transformers makes the mask of it."""
    torch.manual_seed(3)
    ids = torch.randint(3, 50, (1, 11))
    places = torch.cat([torch.arange(4), torch.arange(7)])[None]
    batch = {"input_ids": ids, "position_ids": places, "use_cache": False}
    got, session = run(llama, batch)
    with torch.no_grad():
        torch.testing.assert_close(got, llama(**batch)[0], atol=1e-5, rtol=1e-4)
    assert session.tally.bit_operations == 3 * 4 * (4 * 5 / 2 + 7 * 8 / 2) * 128


def test_blocks_are_honoured_in_every_mode(bert):
    """Nothing crosses from one block to the other, and modes agree where tokens are pruned."""
    torch.manual_seed(3)
    ids = torch.randint(3, 50, (1, 11))
    other = ids.clone()
    other[0, 5] = (other[0, 5] + 1) % 50
    rest = LayerPolicy(share_0=0.25, share_4=0, share_8=0.75)
    policy = Policy(layers=(LayerPolicy(share_0=0, share_4=0, share_8=1), rest, rest))
    found = {}
    for mode in ("integer", "fake-quant"):
        batch = {"input_ids": ids, "attention_mask": blocks(4, 7)}
        found[mode], _ = run(bert, batch, mode, policy)
        flat, _ = run(bert, batch, mode)
        with torch.no_grad():
            plain = bert(**batch)[0]
        assert (flat - plain).square().mean().sqrt() < 0.05 * plain.square().mean().sqrt()
        # With a scale for each token but the head's, codes of one block do not move the other's.
        token = Policy.flat(3, granularity="token")
        one, _ = run(bert, batch, mode, token)
        two, _ = run(bert, {**batch, "input_ids": other}, mode, token)
        assert not torch.equal(one[:, 4:], two[:, 4:])
        assert (one[:, :4] - two[:, :4]).abs().max() < 0.1 * (one - two).abs().max()
    exact, fast = found["integer"], found["fake-quant"]
    assert (fast - exact).square().mean().sqrt() < 0.1 * exact.square().mean().sqrt()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sinks", torch.zeros(4)),
        ("s_aux", torch.zeros(3)),
        ("head_mask", torch.ones(4)),
        ("cu_seq_lens_q", torch.tensor([0, 12])),
        ("max_length_q", 12),
        ("seq_idx", torch.zeros(1, 12)),
        ("sliding_window", 3),
        ("is_causal", False),
        ("what_comes_next", 1),
    ],
)
def test_an_argument_that_is_not_honoured_is_refused(llama, batch, name, value):
    with pytest.raises(ModelError, match=rf"^LlamaAttention attends with {name}[ =].*: \w+"):
        run(llama, {**batch, name: value})


def test_harmless_arguments_are_let_through():
    refuse_unknown("Model", dict.fromkeys(HARMLESS, 1) | {"sinks": None, "unheard_of": None})


def test_a_factor_of_the_scores_is_honoured(make_llama, batch):
    llama = make_llama()
    for part in llama.model.layers:
        part.self_attn.scaling *= 1.5
    with torch.no_grad():
        expected = llama(**batch).logits
    got, _ = run(llama, batch)
    where = batch["attention_mask"].bool()
    torch.testing.assert_close(got[where], expected[where], atol=1e-5, rtol=1e-4)
    exact, _ = run(llama, batch, "integer")
    assert (exact - expected)[where].square().mean() < 0.05 * expected[where].square().mean()


@pytest.mark.parametrize("mode", ["float", "integer", "fake-quant"])
def test_a_bias_in_a_models_mask_is_honoured(bert, mode):
    """ALiBi: the farther a key, the less it counts, in each head by another slope."""
    torch.manual_seed(4)
    ids = torch.randint(3, 50, (2, 11))
    places = torch.arange(11)
    slopes = torch.tensor([0.5, 0.25, 0.125, 0.0625])
    mask = -slopes[:, None, None] * (places[:, None] - places).abs()
    batch = {"input_ids": ids, "attention_mask": mask[None].expand(2, -1, -1, -1)}
    with torch.no_grad():
        expected, without = bert(**batch)[0], bert(ids)[0]
    got, _ = run(bert, batch, mode, Policy.flat(3, granularity="token", p_planes=3))
    size = expected.square().mean().sqrt()
    assert (got - expected).square().mean().sqrt() < (1e-5 if mode == "float" else 0.05) * size
    assert (without - expected).square().mean().sqrt() > 0.1 * size


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("softcap", 5.0, "soft-capping"),
        ("s_aux", torch.ones(4), "sinks"),
        ("position_bias", torch.ones(1, 4, 12, 12), "biases of scores"),
    ],
)
def test_rules_of_plain_scores_are_refused_for_others(llama, batch, name, value, named):
    """Progressive quantization of all; means out of K and V, but where only a bias is added."""
    again = LayerPolicy(share_0=0, share_4=1, share_8=0, threshold=0.5)
    with pytest.raises(PolicyError, match=rf"layer 0 is progressive, .*not defined for {named}"):
        run(llama, {**batch, name: value}, "fake-quant", Policy(layers=(again,) * 3))
    centered = Policy.flat(3, center=True)
    options = {"calibration": calibrate(llama, [batch])}
    if name != "position_bias":
        with pytest.raises(PolicyError, match=rf"centers K and V, .*under {named} \(layer 0\)"):
            run(llama, {**batch, name: value}, "float", centered, **options)
        return
    got, _ = run(llama, {**batch, name: value}, "float", centered, **options)
    expected, _ = run(llama, {**batch, name: value})
    where = batch["attention_mask"].bool()
    torch.testing.assert_close(got[where], expected[where], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("softcap", 5.0, "soft-capping"),
        ("s_aux", torch.ones(4), None),
        ("position_bias", torch.ones(1, 4, 12, 12), "biases of scores"),
    ],
)
@pytest.mark.parametrize("mode", ["float", "fake-quant", "integer"])
def test_means_of_queries_are_biases_where_scores_have_no_others(
    llama, batch, mode, name, value, named
):
    """Behind a cap a bias is another one; beside a sink it is as exact as without."""
    policy = Policy.flat(3, granularity="token", p_planes=3, center_queries=True)
    given = {**batch, name: value}
    options = {"calibration": calibrate(llama, [batch])}
    if named is not None:
        with pytest.raises(PolicyError, match=rf"centers Q, .* not defined for {named} \(layer 0"):
            run(llama, given, mode, policy, **options)
        return
    got, _ = run(llama, given, mode, policy, **options)
    expected, _ = run(llama, given)
    where = batch["attention_mask"].bool()
    size = expected[where].square().mean().sqrt()
    error = (got[where] - expected[where]).square().mean().sqrt()
    assert error < (1e-5 if mode == "float" else 0.05) * size


def test_a_causal_model_whose_mask_shows_later_keys_has_no_recent_ones(llama):
    """A 4D mask that lets all be seen: the last keys are then not the ones just before a query."""
    ids = torch.randint(3, 50, (1, 9))
    policy = Policy.flat(3, (0.5, 0.0, 0.5), prune_queries=False, recent=2)
    run(llama, {"input_ids": ids}, "fake-quant", policy)
    mask = torch.ones(1, 1, 9, 9, dtype=torch.bool)
    with pytest.raises(PolicyError, match=r"recent is 2 .*keys on both sides"):
        run(llama, {"input_ids": ids, "attention_mask": mask}, "fake-quant", policy)


def test_dropout_of_attention_is_refused(bert, batch):
    assert bert.config.attention_probs_dropout_prob > 0
    with pytest.raises(ModelError, match=r"dropout=0\.1.*model\.eval"):
        run(bert.train(), batch)


def test_a_ratio_that_cannot_be_is_not_reported():
    with pytest.raises(RuntimeError, match="0 bit operations"):
        _ = Tally().bops_ratio
    with pytest.raises(RuntimeError, match="129 bit operations are counted, outside 0 to 128"):
        _ = Tally(
            bit_operations=129.0, bit_operations_all=128.0, bit_operations_most=128.0
        ).bops_ratio


@pytest.mark.parametrize("planes", [2, 3])
def test_the_most_that_attention_costs(bert, batch, planes):
    _, session = run(bert, batch, "fake-quant", Policy.flat(3, p_planes=planes))
    assert session.tally.bops_ratio == (64 + 32 * planes) / 128
