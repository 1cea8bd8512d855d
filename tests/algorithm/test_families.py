"""Each family of transformers runs as the model itself, or is refused by name.

Tiny models with random weights. What docs/algorithm.md says of each is compared with this table.
"""

import re
from pathlib import Path

import pytest
import torch
import transformers

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.models import ModelError
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import Ranking
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.session.support import TRANSFORMERS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "algorithm.md"

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
SHARED = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
T5 = {"vocab_size": 50, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
BART = {
    "vocab_size": 50,
    "d_model": 32,
    "max_position_embeddings": 64,
    "init_std": 0.2,
    **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 64 for part in ("encoder", "decoder")},
}
GPT2 = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}

INTERFACE = "AttentionInterface"
CROSS = "cross-attention"

#: Name in the documentation: class, configuration, and what a refusal names (None: accepted).
FAMILIES = {
    "BERT": ("BertModel", SIZES, None),
    "RoBERTa": ("RobertaModel", SIZES, None),
    "DistilBERT": (
        "DistilBertModel",
        {
            "vocab_size": 50,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 64,
            "max_position_embeddings": 64,
            "initializer_range": 0.2,
        },
        None,
    ),
    "ALBERT": (
        "AlbertModel",
        {**SIZES, "embedding_size": 16, "num_hidden_layers": 4, "num_hidden_groups": 2},
        None,
    ),
    "ELECTRA": ("ElectraModel", {**SIZES, "embedding_size": 16}, None),
    "ModernBERT": (
        "ModernBertModel",
        {**SIZES, **SPECIAL, "local_attention": 4, "global_attn_every_n_layers": 2},
        None,
    ),
    "ViT": (
        "ViTModel",
        {
            **{k: v for k, v in SIZES.items() if k.startswith(("hidden", "num", "inter", "init"))},
            "image_size": 16,
            "patch_size": 8,
        },
        None,
    ),
    "GPT-2": ("GPT2LMHeadModel", {**GPT2, "initializer_range": 0.2}, None),
    "GPT-NeoX": ("GPTNeoXForCausalLM", SIZES, None),
    "OPT": (
        "OPTForCausalLM",
        {
            "vocab_size": 50,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 64,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 32,
            "init_std": 0.2,
        },
        None,
    ),
    "BART's decoder": ("BartForCausalLM", BART, None),
    "Llama": ("LlamaForCausalLM", SHARED, None),
    "Mistral": ("MistralForCausalLM", {**SHARED, "sliding_window": 4}, None),
    "Mixtral": ("MixtralForCausalLM", {**SHARED, "num_local_experts": 2}, None),
    "Phi-3": ("Phi3ForCausalLM", SHARED, None),
    "Qwen2": ("Qwen2ForCausalLM", SHARED, None),
    "Qwen3": ("Qwen3ForCausalLM", SHARED, None),
    "Gemma": ("GemmaForCausalLM", SHARED, None),
    "Gemma 2 without soft-capping": (
        "Gemma2ForCausalLM",
        {**SHARED, "sliding_window": 4, "attn_logit_softcapping": None},
        None,
    ),
    "Gemma 3": (
        "Gemma3ForCausalLM",
        {
            **SHARED,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        None,
    ),
    "Gemma 2": ("Gemma2ForCausalLM", {**SHARED, "sliding_window": 4}, "softcap"),
    "gpt-oss": (
        "GptOssForCausalLM",
        {**SHARED, "num_local_experts": 2, "num_experts_per_tok": 1},
        "s_aux",
    ),
    "T5's encoder": ("T5EncoderModel", T5, "position_bias"),
    "T5": ("T5Model", T5, CROSS),
    "BART": ("BartModel", BART, CROSS),
    "MPNet": ("MPNetModel", SIZES, INTERFACE),
    "DeBERTa-v2": ("DebertaV2Model", SIZES, INTERFACE),
    "Bloom": ("BloomForCausalLM", {"vocab_size": 50, "hidden_size": 32, **GPT2}, INTERFACE),
    "Falcon": (
        "FalconForCausalLM",
        {k: v for k, v in SIZES.items() if k.startswith(("vocab", "hidden", "num"))},
        INTERFACE,
    ),
    "XLNet": ("XLNetModel", {**GPT2, "d_model": 32, "d_inner": 64}, INTERFACE),
    "Longformer": ("LongformerModel", {**SIZES, "attention_window": 4}, INTERFACE),
    "Mamba": ("MambaModel", {"hidden_size": 32, "num_hidden_layers": 2}, INTERFACE),
}
ACCEPTED = [name for name, (_, _, refusal) in FAMILIES.items() if refusal is None]
REFUSED = [name for name in FAMILIES if name not in ACCEPTED]


def made(name, **changes):
    kind, options, _ = FAMILIES[name]
    model = getattr(transformers, kind)
    config = model.config_class
    if kind == "Gemma3ForCausalLM":
        config = transformers.Gemma3TextConfig
    torch.manual_seed(0)
    return model(config(**{**options, **changes})).eval()


def inputs(name, side):
    """Two sequences of 12 tokens, the second with 4 of padding; and which tokens are real."""
    torch.manual_seed(1)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 8:] = 0
    if side == "left":
        mask = mask.flip(1)
    if name == "ViT":
        return {"pixel_values": torch.randn(2, 3, 16, 16)}, torch.ones(2, 5, dtype=torch.bool)
    batch = {"input_ids": torch.randint(3, 50, (2, 12)) * mask, "attention_mask": mask}
    if FAMILIES[name][2] == CROSS:
        batch["decoder_input_ids"] = batch["input_ids"]
    return batch, mask.bool()


def ran(model, batch, policy=None, mode="float", **options):
    policy = policy or Policy.flat(model.config.num_hidden_layers)
    with torch.no_grad(), attached(model, policy, mode, **options) as session:
        return model(**batch)[0], session


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ACCEPTED)
def test_in_floating_point_it_is_the_model_itself(name, side):
    model = made(name)
    batch, real = inputs(name, side)
    with torch.no_grad():
        expected = model(**batch)[0][real]
    got, session = ran(model, batch)
    largest = float(expected.abs().max())
    torch.testing.assert_close(got[real], expected, atol=1e-5 * largest, rtol=0)
    # All tokens in 8 bits cost what attention in 8 bits costs, whatever the mask.
    assert session.tally.bops_ratio == 1


@pytest.mark.parametrize("name", ACCEPTED)
def test_its_importance_is_the_column_sums_of_its_own_probabilities(name):
    model = made(name)
    batch, real = inputs(name, "right")
    _, session = ran(model, batch, record=True)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        found = model(**batch, output_attentions=True).attentions
    assert len(found) == len(session.records)
    for probability, record in zip(found, session.records, strict=True):
        expected = (probability * real[:, None, :, None]).sum((1, 2))
        torch.testing.assert_close(record.importance, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["ModernBERT", "Mistral", "Gemma 3", "ALBERT"])
def test_modes_agree_where_tokens_are_pruned_under_its_masks(name):
    """Of tokens at random, so that no nearly equal importances choose differently."""
    model = made(name)
    batch, real = inputs(name, "right")
    number = model.config.num_hidden_layers
    rest = LayerPolicy(share_0=0.25, share_4=0.25, share_8=0.5)
    policy = Policy(
        layers=(LayerPolicy(share_0=0, share_4=0, share_8=1), *[rest] * (number - 1)),
        ranking=Ranking.RANDOM,
        prune_queries=name in ("ModernBERT", "ALBERT"),
    )
    exact, one = ran(model, batch, policy, "integer")
    fast, two = ran(model, batch, policy, "fake-quant")
    assert torch.equal(one.kept, two.kept)
    difference = (fast[real] - exact[real]).square().mean() / exact[real].square().mean()
    assert difference.sqrt() < 0.05
    assert one.tally == two.tally
    assert 0 < one.tally.bops_ratio < 1


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(name):
    model = made(name)
    batch, _ = inputs(name, "right")
    with pytest.raises(ModelError, match=rf"{type(model).__name__[:2]}.* {FAMILIES[name][2]}"):
        ran(model, batch)
    # Nothing is left behind: the model runs as before.
    assert model.config._attn_implementation != "dtqatten"
    with torch.no_grad():
        model(**batch)


def test_the_documentation_lists_what_is_tested():
    rows = re.findall(r"^\|([^|]+)\|(runs|refused: `([\w-]+)`)[^|]*\|$", DOCS.read_text(), re.M)
    listed = {name.strip(): key or None for names, _, key in rows for name in names.split(",")}
    assert listed == {name: refusal for name, (_, _, refusal) in FAMILIES.items()}


def test_other_releases_of_transformers_are_refused(monkeypatch):
    model = made("BERT")
    for version in ("4.57.3", "5.230.0", "6.0.0"):
        monkeypatch.setattr(transformers, "__version__", version)
        with pytest.raises(ModelError, match=f"transformers {version} .*{TRANSFORMERS} only"):
            ran(model, {})
    major, minor = map(int, TRANSFORMERS.split("."))
    declared = f'"transformers>={TRANSFORMERS},<{major}.{minor + 1}"'
    assert declared in (ROOT / "pyproject.toml").read_text()
    pinned = re.search(r"^transformers==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None
    assert pinned[1].startswith(TRANSFORMERS + ".")


def test_a_layer_that_has_not_attended_is_found(monkeypatch):
    """Also where transformers takes a model's attention for one of its interface."""
    kind = transformers.MPNetModel
    monkeypatch.setattr(kind, "_can_set_attn_implementation_cached_value", True, raising=False)
    model = made("MPNet")
    with pytest.raises(ModelError, match="layer 0 of MPNetModel has not attended"):
        ran(model, inputs("MPNet", "right")[0])


def test_a_layer_that_is_left_out_is_found():
    model = made("OPT", layerdrop=1.0, dropout=0.0, attention_dropout=0.0).train()
    with pytest.raises(ModelError, match=r"layers \[0, 1\] of OPTForCausalLM did not run"):
        ran(model, inputs("OPT", "right")[0])


def test_a_layer_that_runs_again_is_refused():
    model = made("BERT")
    first = model.encoder.layer[0]
    model.encoder.register_forward_hook(lambda m, a, o: first(torch.zeros(1, 3, 32)))
    with pytest.raises(ModelError, match="layer 0 of BertModel runs again"):
        ran(model, inputs("BERT", "right")[0])


def test_attention_outside_its_layer_is_refused():
    model = made("BERT")
    part = model.encoder.layer[0].attention
    model.encoder.register_forward_hook(lambda m, a, o: part(torch.zeros(1, 3, 32)))
    with pytest.raises(ModelError, match="BertSelfAttention of BertModel attends outside"):
        ran(model, inputs("BERT", "right")[0])


def test_a_layer_that_attends_twice_is_refused():
    model = made("BERT")
    part = model.encoder.layer[1].attention
    part.self.register_forward_hook(lambda m, a, o: m.forward(*a))
    with pytest.raises(ModelError, match="layer 1 of BertModel attends 2 times"):
        ran(model, inputs("BERT", "right")[0])


def test_several_lists_of_layers_are_refused():
    model = made("BERT")
    model.more = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])
    with pytest.raises(ModelError, match="BertModel has 2 lists of 2 layers"):
        ran(model, {})


def test_cross_attention_of_a_decoder_is_refused():
    torch.manual_seed(0)
    config = transformers.BertConfig(**SIZES, is_decoder=True, add_cross_attention=True)
    with pytest.raises(ModelError, match="BertModel has cross-attention"):
        ran(transformers.BertModel(config).eval(), {})
