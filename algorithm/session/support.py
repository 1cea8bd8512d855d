"""Which models a policy can be attached to."""

from typing import Any

import transformers
from torch import nn

from dtqatten.algorithm.models import ModelError

__all__ = ["TRANSFORMERS", "check_support", "layers_of"]

#: Release of transformers whose models and interface this is tested with.
TRANSFORMERS = "5.23"


def layers_of(model: Any) -> list[nn.Module]:
    """Layers of a model in the order they run; shared ones (ALBERT's) several times."""
    name, config = type(model).__name__, model.config
    if getattr(config, "is_encoder_decoder", False) or getattr(
        config, "add_cross_attention", False
    ):
        raise ModelError(
            f"{name} has cross-attention, which is not quantized: use an encoder or a decoder alone"
        )
    number: int = getattr(config, "num_hidden_layers", 0)
    groups = getattr(config, "num_hidden_groups", number)
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == groups]
    inner = {part for held in lists for layer in held for part in layer.modules()}
    found = [held for held in lists if held not in inner]
    if len(found) != 1:
        raise ModelError(
            f"{name} has {len(found)} lists of {groups} layers (config.num_hidden_layers): use a "
            "model with one"
        )
    (layers,) = found
    return [layers[i * len(layers) // number] for i in range(number)]


def check_support(model: Any) -> None:
    """Refuse a model that would not call the attention function, or might call another way."""
    if not transformers.__version__.startswith(TRANSFORMERS + "."):
        raise ModelError(
            f"transformers {transformers.__version__} is installed, but attention is tested with "
            f"{TRANSFORMERS} only: pip install 'transformers=={TRANSFORMERS}.*'"
        )
    attends = getattr(model.config, "num_attention_heads", None)
    if not (attends and model._can_set_attn_implementation()):
        raise ModelError(
            f"{type(model).__name__} does not attend by transformers' AttentionInterface, so that "
            "nothing would be quantized: use a model that does, such as BERT or Llama"
        )
