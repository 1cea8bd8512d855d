"""Which models a policy can be attached to, and where their layers are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import transformers
from torch import nn

from dtqatten.algorithm.models import ModelError

__all__ = ["TRANSFORMERS", "Stack", "check_support", "layers_of", "stacks_of"]

#: Release of transformers whose models and interface this is tested with.
TRANSFORMERS = "5.23"


@dataclass(frozen=True, eq=False)
class Stack:
    """A list of layers that attend to the same tokens, such as an encoder's.

    Parameters
    ----------
    layers : tuple of modules
        In the order they run; shared ones (ALBERT's) several times.
    first : int
        Place of its first layer among all layers of the model, and so in a policy.
    holders : tuple of modules
        Those on the way from the model to the layers, the model first.
    encoder : int, optional
        The stack whose tokens its layers cross-attend to.
    """

    layers: tuple[nn.Module, ...]
    first: int
    holders: tuple[nn.Module, ...]
    encoder: int | None = None

    @property
    def places(self) -> range:
        """Places of its layers among all layers of the model."""
        return range(self.first, self.first + len(self.layers))


def stacks_of(model: Any) -> list[Stack]:
    """Return a model's stacks in the order of a policy's layers.

    An encoder-decoder model has its encoder's layers first, then its decoder's, which attend to
    their own tokens and to the encoder's. A model of several parts (CLIP) has those of each part,
    in the order of its modules.

    Raises
    ------
    ModelError
        If layers are not found, or cross-attention has no encoder.
    """
    stacks: list[Stack] = []
    for part, number in _parts(model):
        layers = _layers(model, part, number)
        path = next(name for name, m in model.named_modules() if m is layers[0]).split(".")
        holders = tuple(model.get_submodule(".".join(path[:i])) for i in range(len(path)))
        crossing = getattr(model.config, "is_encoder_decoder", False) and stacks
        first = stacks[-1].places.stop if stacks else 0
        stacks.append(Stack(tuple(layers), first, holders, 0 if crossing else None))
    return stacks


def layers_of(model: Any) -> list[nn.Module]:
    """Layers of a model in the order of a policy; shared ones (ALBERT's) several times."""
    return [layer for stack in stacks_of(model) for layer in stack.layers]


def check_support(model: Any) -> None:
    """Refuse a model that would not call the attention function, or might call another way."""
    if not transformers.__version__.startswith(TRANSFORMERS + "."):
        raise ModelError(
            f"transformers {transformers.__version__} is installed, but attention is tested with "
            f"{TRANSFORMERS} only: pip install 'transformers=={TRANSFORMERS}.*'"
        )
    compiled = [m for m in model.modules() if _compiled(m)]
    if compiled:
        raise ModelError(
            f"{type(compiled[0]).__name__} is compiled, which would leave out what a policy does "
            "between layers: attach to the model without torch.compile"
        )
    configs = [model.config, *_configs(model.config)]
    attends = any(getattr(config, "num_attention_heads", None) for config in configs)
    if not (attends and model._can_set_attn_implementation()):
        raise ModelError(
            f"{type(model).__name__} does not attend by transformers' AttentionInterface, so that "
            "nothing would be quantized: use a model that does, such as BERT or Llama"
        )


def _compiled(module: nn.Module) -> bool:
    """Whether a module is what torch.compile gives, or compiles itself when it is called."""
    return type(module).__name__ == "OptimizedModule" or module._compiled_call_impl is not None


def _configs(config: Any) -> list[Any]:
    """Configurations of a model's parts that have layers."""
    names = getattr(config, "sub_configs", {})
    found = [getattr(config, name, None) for name in names]
    return [each for each in found if getattr(each, "num_hidden_layers", None)]


def _parts(model: Any) -> Iterator[tuple[Any, int]]:
    """Yield the parts of a model that have a list of layers, and how many layers each has."""
    name, config = type(model).__name__, model.config
    if getattr(config, "is_encoder_decoder", False):
        encoder, decoder = model.get_encoder(), model.get_decoder()
        if encoder is decoder or decoder is model:
            raise ModelError(
                f"{name} is a part of an encoder-decoder model: use the whole model, or an encoder "
                "or a decoder with a class of its own"
            )
        yield encoder, encoder.config.num_hidden_layers
        yield decoder, _decoder_layers(decoder.config)
    elif getattr(config, "add_cross_attention", False):
        raise ModelError(
            f"{name} has cross-attention to tokens of no encoder of its own, which nothing ranks: "
            "use an encoder-decoder model, or a decoder alone"
        )
    elif getattr(config, "num_hidden_layers", None) is None and (configs := _configs(config)):
        for part in model.modules():
            own = getattr(part, "config", None)
            if own is not None and any(own is each for each in configs):
                configs = [each for each in configs if each is not own]  # its outermost module
                yield part, own.num_hidden_layers
        if configs:
            raise ModelError(f"{name} has no part of its own for its {type(configs[0]).__name__}")
    elif getattr(config, "is_decoder", False):
        yield model, _decoder_layers(config)
    else:
        yield model, getattr(config, "num_hidden_layers", 0)


def _decoder_layers(config: Any) -> int:
    """Layers of a decoder; BART's ``num_hidden_layers`` are its encoder's."""
    own = getattr(config, "decoder_layers", None)
    return int(config.num_hidden_layers if own is None else own)


def _layers(model: Any, part: nn.Module, number: int) -> list[nn.Module]:
    """Return the layers of a part of a model in the order they run."""
    name = type(model).__name__
    groups = getattr(model.config, "num_hidden_groups", number)
    lists = [m for m in part.modules() if isinstance(m, nn.ModuleList) and len(m) == groups]
    inner = {each for held in lists for layer in held for each in layer.modules()}
    found = [held for held in lists if held not in inner]
    if len(found) != 1:
        raise ModelError(
            f"{name} has {len(found)} lists of {groups} layers (config.num_hidden_layers): use a "
            "model with one"
        )
    (layers,) = found
    return [layers[i * len(layers) // number] for i in range(number)]
