"""Sessions follow a model's number format and devices."""

import pytest
import torch

from decoders import PRUNING, error, in_parts, tokens
from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached, calibrate
from dtqatten.algorithm.session.session import Session


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", ["integer", "fake-quant", "float"])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_half_precision_runs(family, mode, kind, batch, request):
    """The half of a model gives what the model does, up to that format's rounding."""
    model = request.getfixturevalue(family)
    measured = calibrate(model, [batch])
    conditioned = {"rotate": True, "smooth": 0.5, "center": True, "center_queries": True}
    policy = Policy.flat(3, **conditioned, granularity="token", p_planes=3)
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
                    session._latest.tokens.source.generator.manual_seed(policy.seed)
                got = model(**batch)[0]
            assert session.tally.sequences == 2 * sequences
        where = batch["attention_mask"].bool()
        torch.testing.assert_close(got[where], expected[where])


def test_tokens_follow_a_model_to_its_next_device(llama, batch):
    """Layers on two devices: the state moves with the hidden states."""
    with torch.no_grad(), attached(llama, PRUNING) as session:
        llama(**batch)
        session._latest.tokens.move(torch.device("meta"))
        assert session._latest.tokens.tokens.importance.device.type == "meta"
        assert session._latest.tokens.alive.device.type == "meta"


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
