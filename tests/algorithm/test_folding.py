"""Rotations in the weights: only where that is exact, and the weights stay the model's own."""

import copy

import pytest
import torch
import transformers
from torch import nn

from dtqatten.algorithm.conditioning import hadamard
from dtqatten.algorithm.folding.errors import FoldingError
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached, calibrate

ROTATED = Policy.flat(2, rotate=True)


def decoder(family, **options):
    """A tiny decoder whose norms have weights of their own, so that none commutes by chance."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")
    if family == "Gemma3":
        config = transformers.Gemma3TextConfig
    made = config(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=None,
        **options,
    )
    model = getattr(transformers, f"{family}ForCausalLM")(made).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(torch.rand_like(parameter) + 0.5)
    return model


def ids(n=20):
    torch.manual_seed(1)
    return torch.randint(1, 50, (2, n))


def error(got, expected):
    return float((got - expected).norm() / expected.norm())


def run(model, policy=ROTATED, mode="float", **options):
    with torch.no_grad(), attached(model, policy, mode, **options) as session:
        return model(ids())[0], session


IN_BETWEEN = {
    "clip": ("Olmo", {"clip_qkv": 0.5}, "between v_proj and attention"),
    "gate": ("Afmoe", {"head_dim": 8, "num_dense_layers": 2}, "between attention and o_proj"),
    "norm": ("BitNet", {}, "between attention and o_proj stands attn_sub_norm"),
}


@pytest.mark.parametrize("kind", IN_BETWEEN)
def test_what_stands_between_values_and_output_is_named(kind):
    family, options, where = IN_BETWEEN[kind]
    model = decoder(family, **options)
    before = copy.deepcopy(dict(model.named_parameters()))
    with pytest.raises(FoldingError, match=f"layer 0 .*{where}.*fold=False"):
        run(model)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    # The way out is right.
    with torch.no_grad():
        expected = model(ids())[0]
    got, session = run(model, fold=False)
    assert error(got, expected) < 1e-4
    assert not any(c.v_folded for c in session.conditioners)


def test_a_clip_is_found_though_no_token_of_the_model_reaches_it():
    """Noise goes through the layer, not only what a few random tokens make."""
    model = decoder("Olmo", clip_qkv=200.0)
    with pytest.raises(FoldingError, match="between v_proj and attention"):
        run(model)


@pytest.mark.parametrize(
    ("family", "options"),
    [("Olmo", {}), ("Qwen3", {"head_dim": 8}), ("Gemma3", {"head_dim": 8, "sliding_window": 8})],
)
def test_a_norm_of_queries_and_keys_leaves_values_to_fold(family, options):
    model = decoder(family, **options)
    with torch.no_grad():
        expected = model(ids())[0]
    got, session = run(model)
    assert error(got, expected) < 1e-4
    assert all(c.v_folded and not c.qk_folded for c in session.conditioners)


def test_a_rotary_embedding_is_found_though_no_module_bears_its_name(llama):
    with torch.no_grad():
        expected = llama(ids())[0]
    rotary = llama.model.rotary_emb
    del llama.model.rotary_emb
    llama.model.__dict__["rotary_emb"] = rotary
    assert not any("rotary" in name for name, _ in llama.named_modules())
    got, session = run(llama, Policy.flat(3, rotate=True))
    assert error(got, expected) < 1e-4
    assert all(c.v_folded and not c.qk_folded for c in session.conditioners)


def test_a_name_is_no_rotary_embedding(bert):
    bert.add_module("rotary", nn.Identity())
    _, session = run(bert, Policy.flat(3, rotate=True))
    assert all(c.qk_folded for c in session.conditioners)


def test_weights_that_two_layers_share_are_refused(llama):
    one, two = (layer.self_attn for layer in llama.model.layers[:2])
    two.v_proj = one.v_proj
    with pytest.raises(FoldingError, match=r"layer 0 .*shares"):
        run(llama, Policy.flat(3, rotate=True))


def test_values_used_elsewhere_are_found_by_the_whole_model(llama):
    """The second layer adds the first one's values to its own output."""
    kept = []
    values, out = llama.model.layers[0].self_attn.v_proj, llama.model.layers[1].mlp
    values.register_forward_hook(lambda m, a, o: kept.append(o))
    out.register_forward_hook(lambda m, a, o: o + torch.cat([kept[-1]] * 2, -1))
    with pytest.raises(FoldingError, match=r"layer 1 .*differs by"):
        run(llama, Policy.flat(3, rotate=True))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_proven_in_float(bert, llama, kind):
    for model in (bert, llama):
        model.to(kind)
        before = copy.deepcopy(model.state_dict())
        with torch.no_grad():
            expected = model(ids())[0]
        got, session = run(model, Policy.flat(3, rotate=True))
        assert got.dtype == kind
        assert error(got.float(), expected.float()) < 32 * torch.finfo(kind).eps
        assert all(c.v_folded for c in session.conditioners)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


# What happens to the weights meanwhile.


def smoothed(bert, batch):
    with torch.no_grad():
        for name, parameter in bert.named_parameters():
            if "attention" in name and name.endswith("bias"):
                parameter.normal_(std=0.1)
    return {
        "policy": Policy.flat(3, rotate=True, smooth=0.5),
        "calibration": calibrate(bert, [batch]),
    }


def test_training_inside_the_context_is_kept(bert, batch):
    """One step of plain gradient descent in the rotated basis is the step in the model's own."""
    options = smoothed(bert, batch)
    twin = copy.deepcopy(bert)
    goal = torch.randn(2, 12, 32)
    steps = []
    for model, fold in ((bert, True), (twin, False)):
        with attached(model, mode="float", fold=fold, **options):
            (model(**batch)[0] * goal).sum().backward()
            with torch.no_grad():
                # The layers' other weights are the same in both; V's and O's rotation is
                # orthogonal, so that their gradient turns with them.
                for layer in model.encoder.layer:
                    for module in (layer.attention.self.value, layer.attention.output.dense):
                        module.weight -= 1e-3 * module.weight.grad
        steps.append(dict(model.named_parameters()))
    changed = [k for k in steps[1] if "value.weight" in k or "attention.output.dense.weight" in k]
    assert len(changed) == 6
    for name, parameter in steps[0].items():
        scale = steps[1][name].abs().max()
        assert (parameter - steps[1][name]).abs().max() < 1e-5 * scale.clamp_min(1), name
        if parameter.grad is not None:
            # A bias of K shifts all scores of a row alike: its gradient is rounding only.
            assert "key.bias" in name or error(parameter.grad, steps[1][name].grad) < 1e-4


def test_weights_that_nobody_changed_return_bit_by_bit(bert, batch):
    options = smoothed(bert, batch)
    before = copy.deepcopy(bert.state_dict())
    inside = copy.deepcopy(dict(bert.named_parameters()))
    with attached(bert, mode="float", **options):
        turned = [k for k, p in bert.named_parameters() if not torch.equal(p, inside[k])]
        bert(**batch)
    assert len(turned) == 3 * 7
    assert all(torch.equal(v, before[k]) for k, v in bert.state_dict().items())


def test_what_is_saved_inside_the_context_is_the_models_own(bert, batch, tmp_path):
    options = smoothed(bert, batch)
    before = copy.deepcopy(bert.state_dict())
    with torch.no_grad():
        expected = bert(**batch)[0]
    with attached(bert, mode="float", **options):
        assert all(torch.equal(v, before[k]) for k, v in bert.state_dict().items())
        bert.save_pretrained(tmp_path)
    again = type(bert).from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(again(**batch)[0], expected, atol=1e-5, rtol=1e-5)


def test_what_is_loaded_inside_the_context_is_the_models_own(make_bert, batch):
    bert, other = make_bert(), make_bert(seed=5)
    with torch.no_grad():
        expected = other(**batch)[0]
    where = batch["attention_mask"].bool()
    with torch.no_grad(), attached(bert, Policy.flat(3, rotate=True), "float"):
        bert.load_state_dict(other.state_dict())
        assert error(bert(**batch)[0][where], expected[where]) < 1e-4
        with pytest.raises(FoldingError, match="assign"):
            bert.load_state_dict(other.state_dict(), assign=True)
    with torch.no_grad():
        assert error(bert(**batch)[0], expected) < 1e-5


def test_a_replaced_weight_and_a_copied_model_are_refused(bert):
    policy = Policy.flat(3, rotate=True)
    with attached(bert, policy, "float"):
        copied = copy.deepcopy(bert)
        with pytest.raises(FoldingError, match="copy of a model"):
            copied.state_dict()
    value = bert.encoder.layer[0].attention.self.value
    with pytest.raises(FoldingError, match="replaced"), attached(bert, policy, "float"):
        value.weight = nn.Parameter(value.weight.detach().clone())


def test_training_flags_survive_the_proof(bert):
    bert.train()
    bert.encoder.layer[1].eval()
    flags = [m.training for m in bert.modules()]
    with attached(bert, Policy.flat(3, rotate=True), "float"):
        assert [m.training for m in bert.modules()] == flags


def test_a_rotation_first_made_in_inference_serves_training(bert, batch):
    hadamard.cache_clear()
    with torch.inference_mode(), attached(bert, Policy.flat(3, rotate=True), fold=False):
        bert(**batch)
    with attached(bert, Policy.flat(3, rotate=True), fold=False):
        bert(**batch)[0].sum().backward()


def test_offloaded_weights_are_refused(bert, monkeypatch):
    """A hook fetches them for each pass, so that nothing folded would stay."""
    value = bert.encoder.layer[2].attention.self.value
    monkeypatch.setattr(type(value.weight), "is_meta", property(lambda p: p is value.weight))
    with pytest.raises(FoldingError, match=r"layer 2 .*offloaded"):
        run(bert, Policy.flat(3, rotate=True))
