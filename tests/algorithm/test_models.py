"""Dynamic token quantization inside transformers models: encoders, decoders, caches."""

import math

import pytest
import torch

from dtqatten.algorithm.conditioning import hadamard
from dtqatten.algorithm.policy import LayerPolicy, Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.runtime import attached, calibrate

# Outputs of the two modes, relative rms, on tiny models of three layers, most tokens in 4 bits.
# See BOUND in test_arithmetic for one block. From the second layer on the inputs differ by that
# much, and a value near the middle of two 4-bit codes falls to the other side, which costs 1/7 of
# the token's range. Median over 40 seeds: 0.019; where importances nearly tie, the modes may even
# choose different tokens, which these seeds do not.
BOUND = 0.1


def layer(s0=0.0, s4=0.5, s8=0.5, **more):
    return LayerPolicy(share_0=s0, share_4=s4, share_8=s8, **more)


def ramp(s8=0.25, **options):
    layers = [layer(s, 1 - s - s8, s8) for s in (0.0, 0.25, 0.5)]
    return Policy(layers=tuple(layers), **options)


def hidden(model, policy, mode, batch, **options):
    with torch.no_grad(), attached(model, policy, mode, **options) as session:
        out = model(**batch)
    return (out.last_hidden_state if "last_hidden_state" in out else out.logits), session


def rms(a, b, where=None):
    a, b = a.double(), b.double()
    if where is not None:
        a, b = a[where], b[where]
    return float(((a - b).square().mean() / b.square().mean()).sqrt())


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_float_mode_without_pruning_is_the_model_itself(family, batch, request):
    model = request.getfixturevalue(family)
    with torch.no_grad():
        expected = model(**batch)
    expected = expected[0]
    got, _ = hidden(model, Policy.flat(model.config.num_hidden_layers), "float", batch)
    where = batch["attention_mask"].bool()
    torch.testing.assert_close(got[where], expected[where], atol=2e-5, rtol=1e-4)
    # And it is itself again afterwards.
    with torch.no_grad():
        assert torch.equal(model(**batch)[0], expected)


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("granularity", ["head", "token"])
@pytest.mark.parametrize("pruned", ["drop", "freeze", "ffn"])
def test_the_two_modes_agree(family, granularity, pruned, batch, request):
    model = request.getfixturevalue(family)
    causal = family == "llama"
    policy = ramp(
        granularity=granularity,
        pruned=pruned,
        count_normalize=causal,
        protect=("first", "last"),
        p_planes=3,
    )
    exact, one = hidden(model, policy, "integer", batch)
    fast, two = hidden(model, policy, "fake-quant", batch)
    assert torch.equal(one.kept, two.kept)
    assert rms(fast, exact, batch["attention_mask"].bool()) < BOUND
    assert one.tally == two.tally


def test_modes_agree_with_spattens_options(bert, batch):
    policy = Policy(
        layers=(
            layer(0, 1, 0, threshold=0.3),
            layer(0.25, 0.75, 0, heads=0.5, values=0.8, threshold=0.3),
            layer(0.25, 0, 0.75, heads=0.5, values=0.5),
        )
    )
    exact, one = hidden(bert, policy, "integer", batch)
    fast, two = hidden(bert, policy, "fake-quant", batch)
    assert rms(fast, exact, batch["attention_mask"].bool()) < 2 * BOUND
    assert one.tally.bit_operations == pytest.approx(two.tally.bit_operations, rel=0.02)
    assert 0 < two.tally.rows_again < two.tally.rows


def spattens(**options):
    """All that SpAtten's method does, with the options a decoder needs."""
    return Policy(
        layers=(
            layer(0, 0, 1),
            layer(0.25, 0.75, 0, heads=0.5, values=0.8, threshold=0.3),
            layer(0.5, 0.5, 0, heads=0.5, values=0.5, threshold=0.3),
        ),
        granularity="token",
        prune_queries=False,
        count_normalize=True,
        protect=("first",),
        p_planes=3,
        **options,
    )


def test_modes_agree_with_spattens_options_on_a_decoder(make_llama, batch):
    llama = make_llama(seed=1)  # no two heads of nearly the same output: see BOUND
    exact, one = hidden(llama, spattens(), "integer", batch)
    fast, two = hidden(llama, spattens(), "fake-quant", batch)
    assert rms(fast, exact, batch["attention_mask"].bool()) < 2 * BOUND
    assert one.tally.bit_operations == pytest.approx(two.tally.bit_operations, rel=0.02)
    assert one.tally.bytes == pytest.approx(two.tally.bytes, rel=0.02)
    assert 0 < two.tally.rows_again < two.tally.rows


def test_a_cascade_on_a_decoder_prunes_by_its_own_cumulative_measures(llama):
    """Tokens by mean probability per query that sees them, summed over blocks; heads by output."""
    torch.manual_seed(11)
    ids = torch.randint(3, 50, (1, 16))
    outputs = []
    hooks = [
        x.self_attn.o_proj.register_forward_pre_hook(lambda m, a: outputs.append(a[0]))
        for x in llama.model.layers
    ]
    policy = spattens()
    _, session = hidden(llama, policy, "fake-quant", {"input_ids": ids}, record=True)
    for hook in hooks:
        hook.remove()
    size = [o.view(16, 4, 8).abs().sum((0, 2)) for o in outputs]
    gone = size[1] == 0
    assert gone.sum() == 2
    assert torch.equal(size[2] == 0, gone)
    assert size[0][gone].max() < size[0][~gone].min()
    seen = torch.arange(16, 0, -1)
    total, alive = torch.zeros(16), torch.ones(16, dtype=torch.bool)
    for index, record in enumerate(session.records):
        bits = record.bits[0]
        expected = policy.precision(
            index, total.numpy(), alive=alive.numpy(), protected=(torch.arange(16) == 0).numpy()
        )
        assert (bits > 0).tolist() == (expected > 0).tolist()
        alive = bits > 0
        total = total + record.importance[0] / seen


@pytest.mark.parametrize(
    ("heads", "values"), [(1.0, 1.0), (0.5, 1.0), (0.25, 1.0), (1.0, 0.25), (0.5, 0.25)]
)
def test_shared_keys_and_values_are_fetched_once_for_their_query_heads(llama, heads, values):
    """Four query heads on two of K and V: bytes follow what any living head of a pair needs."""
    torch.manual_seed(12)
    n, d = 16, 8
    rest = layer(0, 1, 0, heads=heads, values=values)
    policy = Policy(layers=(layer(0, 1, 0), rest, rest), prune_queries=False)
    _, session = hidden(llama, policy, "fake-quant", {"input_ids": torch.randint(3, 50, (1, n))})
    kept = session._heads.kept
    kept = torch.ones(1, 4, dtype=torch.bool) if kept is None else kept
    pairs = int(kept.view(2, 2).any(-1).sum())
    living = int(kept.sum())
    assert living == 4 * heads
    fixed = (4 * n + 2 * 2 * n) * d / 2 + 2 * (living * n + pairs * n) * d / 2
    fetched = (session.tally.bytes - fixed) / (2 * d / 2)  # V tokens, mean of the two layers
    if values == 1:
        assert fetched == pairs * n
    else:
        # Each head takes a quarter; two heads that share V agree on some of them at most.
        assert pairs * n / 4 <= fetched <= living * n / 4
        assert fetched < pairs * n


@pytest.mark.parametrize("mode", ["integer", "fake-quant", "float"])
def test_padding_changes_nothing(bert, batch, mode):
    """The padded sequence gives what it gives alone, statistics included."""
    policy = ramp(granularity="head", protect=("first",), p_follows_token=True)
    both, _ = hidden(bert, policy, mode, batch)
    alone = {k: v[1:, :8] for k, v in batch.items()}
    got, one = hidden(bert, policy, mode, alone)
    torch.testing.assert_close(both[1:, :8], got, atol=1e-4, rtol=1e-4)
    left = {k: v[:1] for k, v in batch.items()}
    _, two = hidden(bert, policy, mode, left)
    _, three = hidden(bert, policy, mode, batch)
    assert three.tally.bit_operations == one.tally.bit_operations + two.tally.bit_operations
    assert three.tally.bytes_all == one.tally.bytes_all + two.tally.bytes_all
    assert three.tally.tokens == [
        a + b for a, b in zip(one.tally.tokens, two.tally.tokens, strict=True)
    ]


def test_left_padding_changes_nothing_for_decoders(llama):
    torch.manual_seed(2)
    ids = torch.randint(3, 50, (1, 9))
    policy = ramp(count_normalize=True, protect=("first", "last"), prune_queries=False)
    mask = torch.ones_like(ids)
    alone, one = hidden(llama, policy, "fake-quant", {"input_ids": ids, "attention_mask": mask})
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), ids], 1)
    mask = torch.cat([torch.zeros(1, 3, dtype=torch.long), mask], 1)
    places = (mask.cumsum(1) - 1).clamp_min(0)
    batch = {"input_ids": padded, "attention_mask": mask, "position_ids": places}
    got, two = hidden(llama, policy, "fake-quant", batch)
    torch.testing.assert_close(got[:, 3:], alone, atol=1e-4, rtol=1e-3)
    assert one.tally == two.tally


def test_precisions_are_those_of_the_policy(bert, batch):
    """The session assigns what :meth:`Policy.precision` tells a driver to program."""
    policy = ramp(protect=("first",))
    _, session = hidden(bert, policy, "fake-quant", batch, record=True)
    for row, n in ((0, 12), (1, 8)):
        importance = torch.zeros(n)
        alive = torch.ones(n, dtype=torch.bool)
        first = torch.arange(n) == 0
        for index, record in enumerate(session.records):
            expected = policy.precision(
                index, importance.numpy(), alive=alive.numpy(), protected=first.numpy()
            )
            bits = record.bits[row, :n]
            assert bits.tolist() == expected.tolist()
            assert (record.bits[row, n:] == 0).all()
            alive = bits > 0
            importance = importance + record.importance[row, :n]
        assert alive.sum() == n - round(n * 0.5)


@pytest.mark.parametrize("pruned", ["drop", "freeze", "ffn"])
def test_what_becomes_of_pruned_tokens(bert, batch, pruned):
    seen = []
    hooks = [
        x.register_forward_hook(lambda m, a, o: seen.append((a[0], o))) for x in bert.encoder.layer
    ]
    _, session = hidden(bert, ramp(pruned=pruned), "fake-quant", batch, record=True)
    for hook in hooks:
        hook.remove()
    dead = (session.records[1].bits == 0) & batch["attention_mask"].bool()
    assert dead.any()
    # Hooks run in order: these saw the layer's own output, before the session's replaced it.
    before = seen[1][0][dead]
    after = seen[2][0][dead]
    assert torch.equal(before, after) == (pruned != "ffn")
    mask = batch["attention_mask"]
    pooled = session.pooled(mask)
    assert torch.equal(pooled, session.kept if pruned == "drop" else mask.bool())
    if pruned == "ffn":
        part = bert.encoder.layer[1]
        x = before[None]
        with torch.no_grad():
            y = part.attention.output(torch.zeros_like(x), x)
            expected = part.output(part.intermediate(y), y)
        torch.testing.assert_close(after[None], expected, atol=1e-5, rtol=1e-4)


def test_pruned_keys_are_as_if_absent(bert):
    """Dropping the pruned tokens by hand gives the kept tokens' states of the next layer."""
    torch.manual_seed(3)
    ids = torch.randint(3, 50, (1, 10))
    policy = Policy(layers=(layer(0, 1, 0), layer(0.4, 0.6, 0), layer(0.4, 0.6, 0)))
    out, session = hidden(bert, policy, "fake-quant", {"input_ids": ids}, record=True)
    kept = session.records[2].bits[0] > 0
    states = []
    hook = bert.encoder.layer[1].register_forward_hook(lambda m, a, o: states.append(a[0]))
    hidden(bert, policy, "fake-quant", {"input_ids": ids})
    hook.remove()
    rest = states[0][:, kept]
    two = Policy(layers=(layer(0, 1, 0),) * 3)
    with torch.no_grad(), attached(bert, two, "fake-quant") as again:
        again.begin({"input_ids": ids[:, kept]})
        for index in (1, 2):
            rest = bert.encoder.layer[index](rest)
    torch.testing.assert_close(rest[0], out[0, kept], atol=1e-4, rtol=1e-3)


def test_heads_of_least_output_are_pruned_for_good(bert, batch):
    policy = Policy(layers=(layer(0, 0, 1), layer(0, 0, 1, heads=0.5), layer(0, 0, 1)))
    outputs = []
    hooks = [
        x.attention.self.register_forward_hook(lambda m, a, o: outputs.append(o[0]))
        for x in bert.encoder.layer
    ]
    hidden(bert, policy, "fake-quant", batch)
    for hook in hooks:
        hook.remove()
    size = [o.view(2, 12, 4, 8).abs().sum((1, 3)) for o in outputs]
    assert (size[0] > 0).all()
    for row in range(2):
        assert (size[1][row] > 0).sum() == 2
        assert torch.equal(size[1][row] > 0, size[2][row] > 0)
    # The first sequence has no padding: its own sums decide.
    gone = size[1][0] == 0
    assert size[0][0][gone].max() < size[0][0][~gone].min()


def test_random_ranking_is_another_order_and_repeatable(bert, batch):
    kept = [
        hidden(bert, ramp(ranking=r, seed=s), "fake-quant", batch)[1].kept
        for r, s in (("importance", 0), ("random", 0), ("random", 0), ("random", 1))
    ]
    assert torch.equal(kept[1], kept[2])
    assert not torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[1], kept[3])
    assert torch.equal(kept[0].sum(1), kept[1].sum(1))


@pytest.mark.parametrize("family", ["bert", "llama"])
@pytest.mark.parametrize("mode", ["integer", "fake-quant"])
def test_importance_of_one_block_or_of_all(family, mode, request):
    """Also causal with shared heads, where it is the mean over the queries that see a token."""
    model, causal = request.getfixturevalue(family), family == "llama"
    torch.manual_seed(13)
    batch = {"input_ids": torch.randint(3, 50, (1, 40))}
    chosen = {}
    for kind in ("cumulative", "block"):
        policy = ramp(importance=kind, count_normalize=causal, prune_queries=not causal)
        found = hidden(model, policy, mode, batch, record=True)[1].records
        first, second = (record.importance[0] for record in found[:2])
        total = first + second if kind == "cumulative" else second
        if causal:
            total = total / torch.arange(40, 0, -1)
        total = total.masked_fill(found[1].bits[0] == 0, -1)
        chosen[kind] = found[2].bits[0] == 8
        assert chosen[kind][total.argsort(descending=True)[:10]].all()
    assert not torch.equal(chosen["cumulative"], chosen["block"])


def test_count_normalized_importance(llama):
    """Early tokens are seen by more queries: their mean, not their sum, must decide."""
    torch.manual_seed(4)
    ids = torch.randint(3, 50, (1, 40))
    policy = Policy(layers=(layer(0, 1, 0), layer(0, 0.75, 0.25), layer(0, 1, 0)))
    found = {}
    for normalize in (False, True):
        p = policy.replace(count_normalize=normalize)
        _, session = hidden(llama, p, "float", {"input_ids": ids}, record=True)
        drawn = session.records[0].importance[0]
        seen = torch.arange(40, 0, -1) if normalize else torch.ones(40)
        best = (drawn / seen).argsort(descending=True)[:10]
        found[normalize] = session.records[1].bits[0] == 8
        assert found[normalize][best].all()
    assert not torch.equal(found[False], found[True])


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("query", [False, True])
def test_all_queries_of_a_decoder_can_stay(llama, follows, query):
    torch.manual_seed(5)
    ids = torch.randint(3, 50, (1, 16))
    policy = ramp(
        prune_queries=False,
        recent=3,
        count_normalize=True,
        protect=("first",),
        p_follows_token=follows,
        p_follows_query=query,
    )
    _, session = hidden(llama, policy, "fake-quant", {"input_ids": ids}, record=True)
    assert (session.kept[0, -3:]).all()
    assert session.kept.sum() == 8
    # Layer 2: bits of queries 8 or 4, keys seen if kept or among the last 3.
    bits = session.records[2].bits[0]
    qb, kb = bits.clamp_min(4), bits.clamp_min(4)
    places = torch.arange(16)
    near = (places[:, None] - places < 3) | (bits > 0)
    seen = near & (places[:, None] >= places)
    scores = float((qb[:, None] * kb * seen).sum())

    def weights(b):
        narrow = (follows & (b == 4)) | (query & (b[:, None] == 4))
        return torch.where(narrow, 4, 8)

    weighted = float((weights(kb) * kb * seen).sum())
    pairs = 16 * 17 / 2
    single = Policy(layers=(layer(0, 0, 1),) * 3)
    _, full = hidden(llama, single, "fake-quant", {"input_ids": ids})
    assert full.tally.bit_operations == full.tally.bit_operations_all == 3 * 4 * pairs * 128
    parts = 0.0
    for record in session.records[:2]:
        b = record.bits[0].clamp_min(4)
        s = ((places[:, None] - places < 3) | (record.bits[0] > 0)) & (places[:, None] >= places)
        parts += float((b[:, None] * b * s).sum() + (weights(b) * b * s).sum())
    assert session.tally.bit_operations == pytest.approx(4 * (parts + scores + weighted))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy.flat(3), 1.0),
        (Policy.flat(3, (0, 1, 0)), (16 + 32) / 128),
        (Policy.flat(3, (0, 1, 0), p_follows_token=True), 32 / 128),
        (Policy.flat(3, (0, 0, 1), p_planes=3), (64 + 96) / 128),
        (Policy.flat(3, (0, 0.5, 0.5)), (36 + 48) / 128),
        (Policy.flat(3, (0, 0.5, 0.5), p_follows_token=True), (36 + 40) / 128),
        (Policy.flat(3, (0, 0.5, 0.5), p_follows_query=True), (36 + 36) / 128),
        (
            Policy.flat(3, (0, 0.5, 0.5), p_follows_token=True, p_follows_query=True),
            (36 + 32) / 128,
        ),
        (
            Policy(layers=(layer(0, 0, 1), layer(0.5, 0, 0.5), layer(0.5, 0.5, 0))),
            (128 + 32 + 4 + 8) / 384,
        ),
        (
            Policy(layers=(layer(0, 0, 1), layer(0, 0, 1, heads=0.5), layer(0, 0, 1))),
            2 / 3,
        ),
        (Policy.flat(3, (0, 1, 0)).replace(layers=(layer(0, 1, 0, threshold=1.0),) * 3), 0.75),
        (Policy(layers=(layer(0, 1, 0, threshold=1.0),) * 3, p_follows_query=True), 0.75),
        (Policy(layers=(layer(0, 1, 0, threshold=0.0),) * 3, p_follows_query=True), 0.25),
        (
            Policy(layers=(layer(0, 1, 0, values=0.5, threshold=0.0),) * 3, p_follows_query=True),
            (16 + 8) / 128,
        ),
        (Policy(layers=(layer(0, 1, 0, values=0.5),) * 3, p_follows_query=True), (16 + 8) / 128),
        (
            Policy(layers=(layer(0, 0, 1), layer(0, 0, 1, values=0.5), layer(0, 0, 1))),
            (128 + 64 + 32 + 128) / 384,
        ),
    ],
)
def test_bit_operations(bert, policy, expected):
    torch.manual_seed(6)
    _, session = hidden(bert, policy, "fake-quant", {"input_ids": torch.randint(3, 50, (2, 12))})
    assert session.tally.bops_ratio == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("values", [1.0, 0.5])
def test_weights_of_rows_computed_again_have_eight_bits(bert, values):
    """Each head has rows of its own that are."""
    torch.manual_seed(6)
    policy = Policy(
        layers=(layer(0, 1, 0, threshold=0.2, values=values),) * 3, p_follows_query=True
    )
    given = {"input_ids": torch.randint(3, 50, (2, 12))}
    _, session = hidden(bert, policy, "fake-quant", given)
    again = session.tally.rows_again / session.tally.rows
    assert 0.1 < again < 0.9
    expected = 16 + 48 * again + values * (16 + 16 * again)
    assert session.tally.bops_ratio == pytest.approx(expected / 128)


@pytest.mark.parametrize(
    ("shares", "expected"), [((0.28, 0.414, 0.306), 0.316), ((0.218, 0.52, 0.262), 0.340)]
)
def test_what_the_papers_average_shares_cost(make_bert, shares, expected):
    bert = make_bert(layers=2, positions=500)
    ids = torch.randint(3, 50, (1, 500))
    policy = Policy(layers=(layer(0, 0, 1), layer(*shares)))
    _, session = hidden(bert, policy, "fake-quant", {"input_ids": ids})
    assert 2 * session.tally.bops_ratio - 1 == pytest.approx(expected, abs=0.0006)


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_conditioning_changes_nothing_in_float(family, fold, batch, request):
    model = request.getfixturevalue(family)
    layers = model.config.num_hidden_layers
    plain, _ = hidden(model, Policy.flat(layers), "float", batch)
    measured = calibrate(model, [batch])
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    policy = Policy.flat(layers, rotate=True, smooth=0.5, center=True)
    got, _ = hidden(model, policy, "float", batch, calibration=measured, fold=fold)
    where = batch["attention_mask"].bool()
    torch.testing.assert_close(got[where], plain[where], atol=1e-4, rtol=1e-3)
    # The weights are put back bit by bit.
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


def test_what_is_folded_where_it_is_exact(bert, llama, batch):
    measured = calibrate(bert, [batch])
    policy = Policy.flat(3, rotate=True, smooth=0.5)
    before = {k: v.clone() for k, v in bert.state_dict().items()}
    with attached(bert, policy, "float", calibration=measured) as session:
        assert all(c.qk_folded and c.v_folded for c in session.conditioners)
        changed = {k for k, v in bert.named_parameters() if not torch.equal(v, before[k])}
    assert {k.split(".")[-2] for k in changed} == {"query", "key", "value", "dense"}
    assert not any("intermediate" in k or k.endswith("output.LayerNorm.weight") for k in changed)
    with attached(llama, Policy.flat(3, rotate=True), "float") as session:
        # The rotary embedding stands between projection and product: only V can be folded.
        assert all(c.v_folded and not c.qk_folded for c in session.conditioners)


def test_rotation_helps_where_a_channel_stands_out(bert, batch):
    with torch.no_grad():
        for part in bert.encoder.layer:
            part.attention.self.key.weight[::8] *= 12
            part.attention.self.value.weight[::8] *= 12
    plain, _ = hidden(bert, Policy.flat(3), "float", batch)
    where = batch["attention_mask"].bool()
    error = {
        rotated: rms(
            hidden(bert, Policy.flat(3, (0, 1, 0), rotate=rotated), "fake-quant", batch)[0],
            plain,
            where,
        )
        for rotated in (False, True)
    }
    assert error[True] < error[False]


@pytest.mark.parametrize("n", [2, 8, 12, 96])
def test_hadamard_is_a_rotation(n):
    matrix = hadamard(n)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(n))
    assert torch.equal(matrix, matrix.T)


def test_odd_heads_cannot_be_rotated():
    with pytest.raises(ValueError, match="must be even"):
        hadamard(7)


# Decoding with the cache of codes.


def decoded(model, policy, mode, ids, prefill):
    with torch.no_grad(), attached(model, policy, mode) as session:
        cache = session.cache()
        parts = [model(input_ids=ids[:, :prefill], past_key_values=cache).logits]
        for i in range(prefill, ids.shape[1]):
            parts.append(model(input_ids=ids[:, i : i + 1], past_key_values=cache).logits)
    return torch.cat(parts, 1), cache, session


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
    torch.manual_seed(8)
    ids = torch.randint(3, 50, (2, 14))
    exact, one, _ = decoded(llama, spattens(recent=2), "integer", ids, 8)
    fast, two, session = decoded(llama, spattens(recent=2), "fake-quant", ids, 8)
    for a, b in zip(one.precisions(), two.precisions(), strict=True):
        assert torch.equal(a, b)
    assert rms(fast, exact) < 2 * BOUND
    assert session.tally.bytes < session.tally.bytes_all


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


# Refusals.


def test_a_policy_must_fit_the_model(bert):
    with (
        pytest.raises(PolicyError, match="2 layers, BertModel has 3"),
        attached(bert, Policy.flat(2)),
    ):
        pass
    with (
        pytest.raises(PolicyError, match="special_ids"),
        attached(bert, Policy.flat(3, protect=("special",))),
    ):
        pass
    with (
        pytest.raises(ValueError, match="need a calibration"),
        attached(bert, Policy.flat(3, smooth=0.5)),
    ):
        pass
    with (
        attached(bert, Policy.flat(3)),
        pytest.raises(ValueError, match="attached already"),
        attached(bert, Policy.flat(3)),
    ):
        pass
    with pytest.raises(ValueError, match="nothing to calibrate"):
        calibrate(bert, [])


def test_special_tokens_are_protected(bert, batch):
    ids = batch["input_ids"].clone()
    ids[0, 5] = ids[1, 2] = 1
    given = {**batch, "input_ids": ids}
    policy = Policy(
        layers=(layer(0, 1, 0), layer(0.75, 0.25, 0), layer(0.75, 0.25, 0)), protect=("special",)
    )
    _, session = hidden(bert, policy, "fake-quant", given, special_ids=[1])
    assert session.kept[0, 5]
    assert session.kept[1, 2]


def test_training_through_the_policy_lowers_the_loss(bert, batch):
    """Straight-through gradients reach the projections."""
    head = torch.nn.Linear(32, 2)
    goal = torch.tensor([0, 1])
    optimizer = torch.optim.Adam([*bert.parameters(), *head.parameters()], 3e-3)
    losses = []
    with attached(bert, Policy.flat(3, (0, 1, 0), pruned="ffn")):
        for _ in range(12):
            optimizer.zero_grad()
            out = head(bert(**batch).last_hidden_state[:, 0])
            loss = torch.nn.functional.cross_entropy(out, goal)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    assert bert.encoder.layer[0].attention.self.query.weight.grad.abs().max() > 0
