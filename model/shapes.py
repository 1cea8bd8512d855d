"""Shapes of the attention of well-known models."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtqatten.files.errors import UsageError

__all__ = ["SHAPES", "Shape", "shape_of"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Attention of a model.

    Parameters
    ----------
    layers, heads, d_head : int
        Attention blocks; query heads of each; channels of a head.
    kv_heads : int, optional
        Heads of K and V, which divide ``heads``; as many by default.

    Raises
    ------
    ValueError
        If a number is less than 1, or ``kv_heads`` does not divide ``heads``.
    """

    layers: int
    heads: int
    d_head: int
    kv_heads: int | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "d_head"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.shared < 1 or self.heads % self.shared:
            raise UsageError(f"kv_heads is {self.kv_heads}, which does not divide {self.heads}")

    @property
    def shared(self) -> int:
        """Heads of K and V."""
        return self.heads if self.kv_heads is None else self.kv_heads


#: From the configuration files of the models.
SHAPES = {
    "minilm": Shape(layers=6, heads=12, d_head=32),
    "bert-base": Shape(layers=12, heads=12, d_head=64),
    "bert-large": Shape(layers=24, heads=16, d_head=64),
    "gpt2": Shape(layers=12, heads=12, d_head=64),
    "gpt2-medium": Shape(layers=24, heads=16, d_head=64),
    "smollm2": Shape(layers=30, heads=9, kv_heads=3, d_head=64),
    "gemma3": Shape(layers=18, heads=4, kv_heads=1, d_head=256),
}

#: Names of a number in the configurations of model families, the usual one first.
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads")
_WIDTH = ("hidden_size", "n_embd", "dim")


def shape_of(model: Any) -> Shape:
    """Return the shape of a model.

    Parameters
    ----------
    model : Shape, str, Path, or object
        A shape; one of ``SHAPES``; a folder with a Hugging Face ``config.json``, or that file; a
        transformers model or configuration.

    Raises
    ------
    ValueError
        If it is none of these, or its configuration lacks a number; the message names it.
    """
    if isinstance(model, Shape):
        return model
    if isinstance(model, str) and model in SHAPES:
        return SHAPES[model]
    if isinstance(model, str | Path):
        path = Path(model) / "config.json" if Path(model).is_dir() else Path(model)
        try:
            fields = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            raise UsageError(
                f"{str(model)!r} is no model: give one of {', '.join(SHAPES)}, a folder with a "
                "Hugging Face config.json, a loaded model or a Shape"
            ) from None
    else:
        config = getattr(model, "config", model)
        fields = config.to_dict() if hasattr(config, "to_dict") else vars(config)
    if not isinstance(fields, dict):
        raise UsageError(f"{model!r}: its configuration is no table of names and values")

    def number(names: tuple[str, ...]) -> int:
        for name in names:
            if isinstance(fields.get(name), int):
                return int(fields[name])
        of = str(model) if isinstance(model, str | Path) else "the model"
        raise UsageError(f"the configuration of {of} has no {' or '.join(names)}: give a Shape")

    layers, heads = number(_LAYERS), number(_HEADS)
    d_head = fields.get("head_dim") or number(_WIDTH) // max(heads, 1)
    return Shape(
        layers=layers,
        heads=heads,
        d_head=d_head,
        kv_heads=fields.get("num_key_value_heads") or heads,
    )
