"""Models of files and packages, and the token that a decoder's text begins with."""

import sys
import types

import gguf
import numpy as np
import pytest
import torch

from dtqatten.algorithm import models
from dtqatten.algorithm.models import ModelError, load

TOKENS = ["<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz", "Ġ", "Ġa"]
WIDTH, HEADS, HIDDEN, LAYERS = 32, 2, 64, 2


def written(path, begin):
    """Write a tiny decoder whose tokenizer puts token 0 before a text, or does not."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3, 3] + [1] * (len(TOKENS) - 2))
    writer.add_token_merges(["Ġ a"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(begin)
    draw = np.random.default_rng(1)
    sizes = {"token_embd": (len(TOKENS), WIDTH), "output": (len(TOKENS), WIDTH)}
    for i in range(LAYERS):
        sizes |= {f"blk.{i}.attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
        sizes |= {f"blk.{i}.ffn_{name}": (HIDDEN, WIDTH) for name in ("gate", "up")}
        sizes[f"blk.{i}.ffn_down"] = (WIDTH, HIDDEN)
        sizes |= {f"blk.{i}.{name}_norm": (WIDTH,) for name in ("attn", "ffn")}
    sizes["output_norm"] = (WIDTH,)
    for name, size in sizes.items():
        writer.add_tensor(f"{name}.weight", draw.normal(0, 0.1, size).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("begin", [True, False])
def test_a_text_begins_as_the_tokenizer_has_it(tmp_path, begin):
    path = str(written(tmp_path / "tiny.gguf", begin))
    assert load(path, causal=True).begin == ((0,) if begin else ())
    assert load(path, causal=True, bos=True).begin == (0,)
    assert load(path, causal=True, bos=False).begin == ()
    found = load(path, causal=True)
    assert (found.name, found.layers) == (path, LAYERS)
    with torch.no_grad():
        assert found.model(torch.tensor([[0, 2, 3]])).logits.shape == (1, 3, len(TOKENS))


def test_a_token_that_the_tokenizer_lacks_is_refused(tmp_path, monkeypatch):
    import transformers

    class Tokenizer:
        bos_token_id = None

    path = str(written(tmp_path / "tiny.gguf", True))
    taken = types.SimpleNamespace(from_pretrained=lambda *_, **__: Tokenizer())
    monkeypatch.setattr(transformers, "AutoTokenizer", taken)
    assert load(path, causal=True).begin == ()
    with pytest.raises(ModelError, match="has no beginning-of-text token: leave --bos out"):
        load(path, causal=True, bos=True)


def test_a_file_that_is_no_model_is_refused_by_name(tmp_path):
    path = tmp_path / "odd.gguf"
    with pytest.raises(ModelError, match=r"cannot load the model .*odd\.gguf"):
        load(str(path), causal=True)
    path.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"cannot load the model .*odd\.gguf"):
        load(str(path), causal=True)


def test_parts_in_packages_are_put_together_once_and_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("DTQATTEN_CACHE", str(tmp_path / "cache"))
    made = []

    def assemble(path, overwrite):
        made.append(path)
        assert overwrite
        path.write_bytes(b"half")
        if len(made) == 1:
            raise ValueError("Assembled file sha256 did not match expected value")
        written(path, True)

    package = types.SimpleNamespace(MODEL_NAME="tiny.gguf", assemble=assemble)
    monkeypatch.setattr(models, "carried", lambda *_: [])
    with pytest.raises(ModelError, match="gemma3 is not installed: pip install gemma3-270m"):
        load("gemma3", causal=True)
    monkeypatch.setattr(models, "carried", lambda *_: ["there"])
    monkeypatch.setitem(sys.modules, models.GEMMA, package)
    with pytest.raises(ModelError, match="cannot load the model gemma3: Assembled file"):
        load("gemma3", causal=True)
    assert not list((tmp_path / "cache").iterdir())
    assert load("gemma3", causal=True).begin == (0,)
    assert load("gemma3", causal=True).layers == LAYERS
    assert len(made) == 2
    assert [each.name for each in (tmp_path / "cache").iterdir()] == ["tiny.gguf"]
