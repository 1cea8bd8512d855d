"""Which tokens, heads and queries a policy keeps, and what becomes of the others."""

import pytest
import torch

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached
from tiny_models import hidden, layer, ramp, spattens


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
        again.enter(bert, (), {"input_ids": ids[:, kept]})
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
