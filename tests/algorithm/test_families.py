"""Each family of transformers runs as the model itself, or is refused by name.

Tiny models with random weights (`families.py`). What docs/algorithm.md says of each is what is
found here (`family_table.py`).
"""

import re
from pathlib import Path

import pytest
import torch
import transformers

from dtqatten.algorithm.models import ModelError
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.session import support
from dtqatten.algorithm.session.support import TRANSFORMERS
from families import (
    ACCEPTED,
    CROSSING,
    DECODERS,
    FAMILIES,
    REFUSED,
    inputs,
    layers,
    made,
    mixed,
    ran,
    relative,
)
from family_table import AGREE, NEAR, documented, in_steps, table

ROOT = Path(__file__).parents[2]


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
        given = model(**batch, output_attentions=True)
    text = batch["attention_mask"].bool() if "attention_mask" in batch else None
    if FAMILIES[name].takes == "both":
        patches = torch.ones(2, 5, dtype=torch.bool)
        found = [(p, text) for p in given.text_model_output.attentions]
        found += [(p, patches) for p in given.vision_model_output.attentions]
    elif name in CROSSING:
        found = [(p, text) for p in given.encoder_attentions]
        for own, cross in zip(given.decoder_attentions, given.cross_attentions, strict=True):
            found += [(own, real), (cross, real)]
    else:
        found = [(p, real) for p in given.attentions]
    records = sorted(session.records, key=lambda record: (record.layer, record.cross))
    if FAMILIES[name].takes == "picture":  # attentions are those of the text, which come last
        records = records[2:]
    for (probability, rows), record in zip(found, records, strict=True):
        counts = torch.ones(()) if rows is None else rows[:, None, :, None]
        expected = (probability * counts).sum((1, 2))
        torch.testing.assert_close(record.importance, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ACCEPTED)
def test_modes_agree_in_eight_bits_and_where_tokens_are_pruned(name):
    """Under its masks, with its biases and sinks, and between an encoder and its decoder."""
    model = made(name)
    batch, real = inputs(name, "right")
    for policy in (Policy.flat(layers(model)), mixed(model, prune_queries=name not in DECODERS)):
        exact, one = ran(model, batch, policy, "integer")
        fast, two = ran(model, batch, policy, "fake-quant")
        assert torch.equal(one.kept, two.kept)
        assert relative(fast[real], exact[real]) < AGREE
        assert one.tally == two.tally
    assert 0 < one.tally.bops_ratio < 1


@pytest.mark.parametrize("mode", ["integer", "fake-quant"])
@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_goes_on_with_its_cache(name, mode):
    """In 8 bits with weights of 12: a prompt, then token by token, is near the model itself."""
    policy = Policy.flat(layers(made(name)), granularity="token", p_planes=3)
    got, expected = in_steps(name, mode, policy)
    assert relative(got, expected) < NEAR
    # A token alone, without those before it, is not.
    model = made(name)
    batch, _ = inputs(name, rows=1)
    key = "decoder_input_ids" if name in CROSSING else "input_ids"
    batch = {k: v for k, v in batch.items() if k not in ("attention_mask", "pixel_values")}
    with torch.no_grad():
        alone = model(**{**batch, key: batch[key][:, -1:]})[0]
    assert relative(alone, expected[:, -1:]) > max(
        NEAR, 4 * relative(got[:, -1:], expected[:, -1:])
    )


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["gpt-oss", "T5Gemma", "T5", "BEiT", "CLIP"])
def test_half_precision(name, kind):
    """In floating point it is the model of the same format, up to that format's roundings."""
    model = made(name).to(kind)
    batch, real = inputs(name)
    batch = {k: v.to(kind) if v.is_floating_point() else v for k, v in batch.items()}
    with torch.no_grad():
        expected = model(**batch)[0][real]
    for mode in ("float", "fake-quant"):
        got, _ = ran(model, batch, Policy.flat(layers(model), p_planes=3), mode)
        assert got.dtype == kind
        assert relative(got[real], expected) < 0.05


def test_the_documentation_has_what_is_found():
    assert documented() == table(), "run: python tests/helpers/family_table.py"


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name(name):
    model = made(name)
    batch, _ = inputs(name, "right")
    with pytest.raises(ModelError, match=rf"{type(model).__name__[:2]}.* {FAMILIES[name].refused}"):
        ran(model, batch)
    # Nothing is left behind: the model runs as before.
    assert model.config._attn_implementation != "dtqatten"
    with torch.no_grad():
        model(**batch)


def test_other_releases_of_transformers_are_refused(monkeypatch):
    model = made("BERT")
    # Lazy imports of transformers replace the module: this file's may be another than support's.
    for version in ("4.57.3", "5.230.0", "6.0.0"):
        monkeypatch.setattr(support.transformers, "__version__", version)
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
