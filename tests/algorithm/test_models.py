"""Dynamic token quantization inside transformers models: encoders and decoders."""

import pytest
import torch

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.runtime import attached, calibrate
from tiny_models import BOUND, hidden, layer, ramp, rms, spattens


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


def test_modes_agree_with_spattens_options_on_a_decoder(make_llama, batch):
    llama = make_llama(seed=1)  # no two heads of nearly the same output: see BOUND
    exact, one = hidden(llama, spattens(), "integer", batch)
    fast, two = hidden(llama, spattens(), "fake-quant", batch)
    assert rms(fast, exact, batch["attention_mask"].bool()) < 2 * BOUND
    assert one.tally.bit_operations == pytest.approx(two.tally.bit_operations, rel=0.02)
    assert one.tally.bytes == pytest.approx(two.tally.bytes, rel=0.02)
    assert 0 < two.tally.rows_again < two.tally.rows


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
