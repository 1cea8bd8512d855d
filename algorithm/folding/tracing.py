"""One forward pass of a model on random tokens, with what its layers are given and give."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dtqatten.algorithm.folding.errors import WAY_OUT, FoldingError

__all__ = ["batch_for", "quiet", "traced"]

#: Sequences and tokens of the batch.
_SIZE = 2, 16


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Run a model without dropout, gradients or half precision; parameters stay untouched."""
    training = [(m, m.training) for m in model.modules()]
    halves = [
        (x, x.data)
        for x in (*model.parameters(), *model.buffers())
        if x.dtype in (torch.float16, torch.bfloat16)
    ]
    try:
        for module, _ in training:
            module.training = False
        for tensor, data in halves:
            tensor.data = data.float()
        with torch.no_grad(), torch.autocast(next(model.parameters()).device.type, enabled=False):
            yield
    finally:
        for tensor, data in halves:
            tensor.data = data
        for module, was in training:
            module.training = was


def batch_for(model: Any) -> dict[str, Any]:
    """Random tokens, the same for every model of as many."""
    if getattr(model, "main_input_name", "input_ids") != "input_ids":
        raise FoldingError(
            f"{type(model).__name__} takes {model.main_input_name}, and a proof that folding is "
            f"exact needs token ids: {WAY_OUT}"
        )
    rows, n = _SIZE
    n = min(n, getattr(model.config, "max_position_embeddings", None) or n)
    known = model.get_input_embeddings().weight.shape[0]
    generator = torch.Generator("cpu").manual_seed(0)
    ids = torch.randint(known, (rows, n), generator=generator, device="cpu")
    given: dict[str, Any] = {"input_ids": ids.to(next(model.parameters()).device)}
    takes = inspect.signature(model.forward).parameters.values()
    if any(p.name == "use_cache" or p.kind is p.VAR_KEYWORD for p in takes):
        given["use_cache"] = False
    return given


def traced(
    model: Any, layers: Sequence[nn.Module], batch: dict[str, Any]
) -> tuple[list[tuple[Any, Any]], list[Tensor]]:
    """Run a model; return each layer's arguments, and the outputs of the layers and the model."""
    calls: dict[int, list[tuple[Any, Any]]] = {index: [] for index in range(len(layers))}
    outputs: dict[int, Tensor] = {}

    def keep(index: int, _: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Keep a layer's arguments and a copy of its output.

        Parameters
        ----------
        index : int
            Of the layer.
        _ : nn.Module
            The layer.
        args, kwargs : tuple, dict
            What it is called with.
        output : tensor or tuple
            What it returns; the hidden state comes first in a tuple.
        """
        calls[index].append((args, kwargs))
        outputs[index] = (output[0] if isinstance(output, tuple) else output).clone()

    with ExitStack() as stack:
        for index, layer in enumerate(layers):
            hook = layer.register_forward_hook(partial(keep, index), with_kwargs=True)
            stack.callback(hook.remove)
        outputs[len(layers)] = model(**batch)[0]
    for index, found in calls.items():
        if len(found) != 1:
            raise FoldingError(
                f"layer {index} ({type(layers[index]).__name__}) ran {len(found)} times in a "
                f"forward pass, and a proof needs once: {WAY_OUT}"
            )
    return [found[0] for found in calls.values()], [outputs[i] for i in sorted(outputs)]
