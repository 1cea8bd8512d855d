"""Rotation, smoothing and centering: exact in float, of use in few bits."""

from dataclasses import replace

import pytest
import torch

from dtqatten.algorithm.block.fake_quant import fake_quant
from dtqatten.algorithm.block.operands import Operands
from dtqatten.algorithm.block.quantized import Rule, quantize
from dtqatten.algorithm.block.steps import plain
from dtqatten.algorithm.block.terms import Terms
from dtqatten.algorithm.conditioning import Conditioner, Observer, hadamard
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.runtime import attached, calibrate
from dtqatten.files.errors import UsageError
from dtqatten.golden.numerics.gains import Gains
from tiny_models import hidden, rms


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_conditioning_changes_nothing_in_float(family, fold, batch, request):
    model = request.getfixturevalue(family)
    layers = model.config.num_hidden_layers
    plain, _ = hidden(model, Policy.flat(layers), "float", batch)
    measured = calibrate(model, [batch])
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    policy = Policy.flat(layers, rotate=True, smooth=0.5, center=True, center_queries=True)
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


@pytest.mark.parametrize("rotated", [False, True])
def test_means_of_queries_leave_room_for_what_differs(rotated):
    """Queries in 4 bits: what they share takes most of their codes if it is not taken out."""
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, 40, 16), torch.randn(2, 2, 40, 16), torch.randn(2, 2, 40, 16)
    q = q + 3 * torch.randn(4, 1, 16)
    observer = Observer()
    observer.add(q, k, v, torch.ones(2, 40, dtype=torch.bool))
    exact = plain(q, k, v, None, 0.25, torch.ones(2, 40)).output
    error = {}
    for centered in (False, True):
        made = Conditioner.make(rotated, None, False, centered, observer.result())
        given = made.inputs(q, k, v)
        bias = made.key_bias(*given[:2])
        assert (bias is not None) == centered
        eight = torch.full((2, 40), 8.0)
        op = Operands(
            *(quantize(x, None, Rule(Gains.LARGEST)) for x in given),
            q_bits=eight / 2,
            k_bits=eight,
            v_bits=eight,
            visible=None,
            scaling=0.25,
            queries=torch.ones(2, 40),
            p_planes=3,
            terms=Terms(key_bias=None if bias is None else bias * 0.25),
        )
        error[centered] = rms(made.output(fake_quant(op).output), exact)
    assert error[True] < 0.5 * error[False]


def test_a_mean_is_that_of_each_query_head(llama, batch):
    """Over all tokens that are no padding, behind the rotary embedding."""
    measured = calibrate(llama, [batch])
    heads, shared = llama.config.num_attention_heads, llama.config.num_key_value_heads
    assert heads > shared
    d = measured[0].k_mean.shape[1]
    seen = []

    def perturb(layer, q, k, v, importance, valid):
        del k, v, importance
        real = (q * valid[:, None, :, None]).sum((0, 2)) / valid.sum()
        seen.append((layer, real))
        return q, q[:, ::2], q[:, ::2], None

    with torch.no_grad(), attached(llama, Policy.flat(3), "float") as session:
        session.perturb = perturb
        llama(**batch)
    layer, expected = seen[0]
    assert layer == 0
    assert measured[0].q_mean.shape == (heads, d)
    torch.testing.assert_close(measured[0].q_mean, expected)


def test_a_bias_that_does_not_fit_is_refused(llama, batch):
    measured = calibrate(llama, [batch])
    far = [replace(each, q_mean=each.q_mean + 1e5) for each in measured]
    policy = Policy.flat(3, center_queries=True)
    with pytest.raises(
        PolicyError, match=r"draws \d+ nats of a key in layer 0, and a bias has 88.7"
    ):
        hidden(llama, policy, "fake-quant", batch, calibration=far)
    other = [replace(each, q_mean=each.q_mean[:1]) for each in measured]
    with pytest.raises(UsageError, match=r"calibration is of 1 heads of Q .* calibrate this model"):
        hidden(llama, policy, "float", batch, calibration=other)
    with pytest.raises(ValueError, match="center_queries need a calibration"):
        hidden(llama, policy, "float", batch)


@pytest.mark.parametrize("n", [2, 8, 12, 96])
def test_hadamard_is_a_rotation(n):
    matrix = hadamard(n)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(n))
    assert torch.equal(matrix, matrix.T)


def test_odd_heads_cannot_be_rotated():
    with pytest.raises(ValueError, match="must be even"):
        hadamard(7)
