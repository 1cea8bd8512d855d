"""Rotation, smoothing and centering: exact in float, of use in few bits."""

import pytest
import torch

from dtqatten.algorithm.conditioning import hadamard
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached, calibrate
from tiny_models import hidden, rms


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
