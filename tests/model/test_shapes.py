"""Shapes of models, from names, files and objects."""

import json
from types import SimpleNamespace

import pytest

from dtqatten.model.shapes import SHAPES, Shape, shape_of

FIELDS = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 64}


def test_names_and_shapes() -> None:
    assert shape_of("bert-base") == Shape(layers=12, heads=12, d_head=64)
    assert shape_of(SHAPES["gpt2"]) is SHAPES["gpt2"]
    assert SHAPES["smollm2"].shared == 3


def test_configurations_of_files_and_objects(tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(FIELDS))
    wanted = Shape(layers=3, heads=4, d_head=16, kv_heads=4)
    for given in (tmp_path, str(tmp_path), tmp_path / "config.json"):
        assert shape_of(given) == wanted
    assert shape_of(SimpleNamespace(**FIELDS)) == wanted
    assert shape_of(SimpleNamespace(config=SimpleNamespace(**FIELDS))) == wanted
    grouped = FIELDS | {"num_key_value_heads": 2, "head_dim": 128}
    assert shape_of(SimpleNamespace(**grouped)).d_head == 128
    assert shape_of(SimpleNamespace(**grouped)).shared == 2
    gpt2 = {"n_layer": 2, "n_head": 2, "n_embd": 32}
    assert shape_of(SimpleNamespace(**gpt2)) == Shape(layers=2, heads=2, d_head=16, kv_heads=2)


def test_what_is_no_model_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="'bart' is no model: give one of minilm"):
        shape_of("bart")
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ValueError, match="is no model"):
        shape_of(tmp_path)
    with pytest.raises(ValueError, match="no num_attention_heads or n_head"):
        shape_of(SimpleNamespace(num_hidden_layers=3))
    with pytest.raises(ValueError, match="layers is 0"):
        Shape(layers=0, heads=1, d_head=8)
    with pytest.raises(ValueError, match="kv_heads is 3, which does not divide 4"):
        Shape(layers=1, heads=4, kv_heads=3, d_head=8)
