"""Shares of V that follow from their mean, and what a layer's output loses without some."""

from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import torch

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.search.local_space import SHARES, LocalSpace, least_errors
from dtqatten.algorithm.search.sensitivity import PROBED, drifts_of_values, errors_of_values
from dtqatten.golden.numerics.local_values import Arrays
from tiny_models import hidden

STEPS = Arrays(8, 8, 2, 64, grouped=True, stepwise=True)
POLICY = Policy(
    layers=(LayerPolicy(share_0=0, share_4=1, share_8=0),) * 3,
    granularity="token",
    prune_queries=False,
)


def test_layers_that_lose_most_keep_most():
    """Errors that fall alike, ten and a hundred times as much: exhaustive choice is no better."""
    falls = np.array([1 - share / 20 for share in SHARES]) ** 2
    errors = np.array([falls, 10 * falls, 100 * falls])
    for mean in (0.15, 0.4, 0.6, 0.9, 1.0):
        found = least_errors(errors, mean)
        assert np.mean(found) <= mean + 1e-9
        assert list(found) == sorted(found)
        every = [(a, b, c) for a in range(7) for b in range(7) for c in range(7)]
        own = sum(errors[i, SHARES.index(round(20 * x))] for i, x in enumerate(found))
        used = sum(found)
        best = min(
            sum(errors[i, place] for i, place in enumerate(places))
            for places in every
            if sum(SHARES[place] for place in places) / 20 <= used + 1e-9
        )
        assert own == pytest.approx(best)
    assert least_errors(errors, 1.0) == [1.0, 1.0, 1.0]
    assert least_errors(errors, 0.15) == [0.15, 0.15, 0.15]


def test_trials_are_policies_of_a_mean_and_a_threshold():
    errors = np.array([[1 - share / 20 for share in SHARES]] * 3)
    space = LocalSpace(POLICY, errors, min_values=0.5, progressive=True)
    assert space.starts() == [
        {"values": mean, "threshold": threshold} for mean in (20, 15, 10) for threshold in (0, 2)
    ]
    made = space.suggest(optuna.trial.FixedTrial({"values": 10, "threshold": 3}))
    assert {layer.threshold for layer in made.layers} == {0.03}
    assert np.mean([layer.values for layer in made.layers]) <= 0.5
    whole = space.suggest(optuna.trial.FixedTrial({"values": 20, "threshold": 0}))
    assert whole.layers == POLICY.layers
    alone = LocalSpace(POLICY, errors, min_values=0.5)
    assert alone.starts() == [{"values": mean} for mean in (20, 15, 10)]
    assert LocalSpace(POLICY, errors, min_values=0.15).starts()[-1] == {"values": 3}
    for share in (0.149, 1.01):
        with pytest.raises(PolicyError, match=r"is not searched: give 0\.15 to 1"):
            LocalSpace(POLICY, errors, min_values=share)


def test_errors_are_those_of_the_first_layer_alone(llama):
    """The first layer's inputs are the same with any share: its error is that of a model."""
    torch.manual_seed(1)
    batch = {"input_ids": torch.randint(3, 50, (1, 40))}
    task = SimpleNamespace(examples=lambda *_: [batch], inputs=lambda _, texts: texts)
    loaded = SimpleNamespace(model=llama, layers=3, special_ids=())
    told = []
    errors = errors_of_values(loaded, task, POLICY, STEPS, lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert errors.shape == (3, len(SHARES))
    assert (np.diff(errors, axis=1) < 0).all()
    assert not errors[:, -1].any()
    outputs = {}
    for share in (1.0, 0.5):
        layer = LayerPolicy(share_0=0, share_4=1, share_8=0, values=share)
        policy = POLICY.replace(layers=(layer, *POLICY.layers[1:]))
        found = []
        hook = llama.model.layers[0].self_attn.o_proj.register_forward_pre_hook(
            lambda _, given, found=found: found.append(given[0])
        )
        hidden(llama, policy, "fake-quant", batch, arrays=STEPS)
        hook.remove()
        outputs[share] = found[-1]
    change = (outputs[0.5] - outputs[1.0]).square().sum() / outputs[1.0].square().sum()
    assert errors[0, SHARES.index(10)] == pytest.approx(float(change), rel=1e-3)


def test_drifts_are_of_predictions_with_less_of_a_single_layer(llama):
    """Measured at one share, of tokens in 8 bits; the others follow from the errors."""
    torch.manual_seed(1)
    batch = {"input_ids": torch.randint(3, 50, (1, 40))}
    task = SimpleNamespace(examples=lambda *_: [batch], inputs=lambda _, texts: texts)
    loaded = SimpleNamespace(model=llama, layers=3, special_ids=())
    falls = [float(len(SHARES) - 1 - place) for place in range(len(SHARES))]
    errors = np.array([falls, [10 * fall for fall in falls], [0.0] * len(SHARES)])
    told = []
    # The template's own shares are not those that are measured.
    given = POLICY.replace(layers=(LayerPolicy(share_0=0, share_4=1, share_8=0, values=0.2),) * 3)
    drifts = drifts_of_values(loaded, task, given, STEPS, errors, lambda *at: told.append(at))
    assert told == [(1, 3), (2, 3), (3, 3)]
    predicted = []
    for layer in (None, 0, 1):
        shares = [1.0, 1.0, 1.0]
        if layer is not None:
            shares[layer] = SHARES[PROBED] / SHARES[-1]
        wide = (LayerPolicy(share_0=0, share_4=0, share_8=1, values=share) for share in shares)
        with torch.no_grad(), attached(llama, given.replace(layers=tuple(wide)), arrays=STEPS):
            predicted.append(llama(**batch).logits[0].double().softmax(-1).numpy())
    for layer in (0, 1):
        divergence = (predicted[0] * np.log(predicted[0] / predicted[layer + 1])).sum(1).mean()
        assert divergence > 0
        assert drifts[layer, PROBED] == pytest.approx(divergence, rel=1e-6)
        scale = errors[layer] / errors[layer, PROBED]
        np.testing.assert_allclose(drifts[layer], divergence * scale, rtol=1e-6)
    assert not drifts[2].any()
