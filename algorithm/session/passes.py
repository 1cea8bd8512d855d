"""Where a model's forward pass is, and the refusal of one that cannot be followed."""

import inspect
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dtqatten.algorithm.models import ModelError

__all__ = ["Passes", "SessionError"]


class SessionError(RuntimeError):
    """A forward pass that a session cannot follow; the message says what to do."""


class Passes:
    """Follows a model's forward passes: which thread runs one, and which layer.

    Parameters
    ----------
    model : str
        Name of the model, for messages.
    layers : int
        Layers, each of which attends once in a pass.

    Attributes
    ----------
    running : bool
        Whether a pass is running.
    layer : int, optional
        The layer that runs.
    """

    def __init__(self, model: str, layers: int) -> None:
        self.model = model
        self.running = False
        self.layer: int | None = None
        self._attended = [0] * layers
        self._lock = threading.Lock()
        self._thread = 0  # that runs the pass
        self._modules: list[nn.Module] = []  # that are running, the outermost first

    def enter(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Take note of a module that holds the layers.

        Returns
        -------
        dict, optional
            Arguments by name where the module is the outermost one, so that a pass starts.

        Raises
        ------
        SessionError
            If the pass cannot be followed.
        """
        here = threading.get_ident()
        with self._lock:
            if self._modules and self._thread != here:
                raise SessionError(
                    "another thread runs a forward pass of this model, whose tokens this one "
                    "would mix up: let one thread run it at a time, or give each its own model"
                )
            self._thread = here
            if module in self._modules:  # a pass that was interrupted
                del self._modules[self._modules.index(module) :]
            self._modules.append(module)
            outermost = len(self._modules) == 1
        if not outermost:
            return None
        given = _bound(module, args, kwargs)
        _refuse_unfollowed(module, given)
        return given

    def start(self) -> None:
        """Start a pass: no layer has attended so far."""
        self.layer = None
        self._attended = [0] * len(self._attended)
        self.running, self._thread = True, threading.get_ident()

    def leave(self, module: nn.Module) -> None:
        """Take note that a module that holds the layers is done."""
        with self._lock:
            if self._thread == threading.get_ident() and module in self._modules:
                del self._modules[self._modules.index(module) :]
                self.running = bool(self._modules)

    def finish(self, module: nn.Module) -> bool:
        """Whether a module ends the pass, which must be one of attention in every layer.

        Raises
        ------
        ModelError
            If a layer has not attended.
        """
        if self._modules[:1] != [module]:
            return False
        if missed := [i for i, times in enumerate(self._attended) if not times]:
            raise ModelError(
                f"layers {missed} of {self.model} did not run: use the whole model, without "
                "layer dropout"
            )
        return True

    def begin_layer(self, places: Sequence[int]) -> None:
        """Take note of a layer that is about to run; shared weights have several places.

        Raises
        ------
        ModelError
            If it has run already.
        SessionError
            If no pass is running.
        """
        self._expect(f"layer {places[0]}")
        left = [place for place in places if not self._attended[place]]
        if not left:
            raise ModelError(
                f"layer {places[-1]} of {self.model} runs again in one forward pass: use a model "
                "that runs each layer once, without gradient checkpointing"
            )
        self.layer = left[0]

    def attend(self, module: str, queries: int, keys: int) -> int:
        """Return the layer that attends, if it is the first time and to its own tokens.

        Parameters
        ----------
        module : str
            Name of the attention module, for messages.
        queries, keys : int
            Queries and new keys.

        Raises
        ------
        ModelError
            If it attends otherwise.
        SessionError
            If no pass is running.
        """
        self._expect(f"attention ({module})")
        layer = self.layer
        if layer is None:
            raise ModelError(
                f"{module} of {self.model} attends outside its layer: call the model, not its parts"
            )
        if self._attended[layer] or keys != queries:
            raise ModelError(
                f"layer {layer} of {self.model} attends {self._attended[layer] + 1} times, with "
                f"{queries} queries to {keys} new keys: only self-attention, once a "
                "layer, is quantized; use a model without cross-attention or prefixes"
            )
        self._attended[layer] += 1
        return layer

    def end_layer(self) -> None:
        """Take note that the layer is done.

        Raises
        ------
        ModelError
            If it has not attended.
        """
        layer, self.layer = self.layer, None
        if layer is None or not self._attended[layer]:
            raise ModelError(
                f"layer {layer} of {self.model} has not attended by transformers' "
                "AttentionInterface, so that nothing is quantized: use a model that does"
            )

    def _expect(self, what: str) -> None:
        """Refuse a block that is not part of a running pass."""
        # The same question that PyTorch's own checkpointing asks.
        if torch._C._current_graph_task_id() != -1:
            raise SessionError(
                f"{what} is computed again in the backward pass, when what the forward pass "
                "knew of its tokens is gone: switch off activation (gradient) checkpointing"
            )
        if not self.running or self._thread != threading.get_ident():
            raise SessionError(
                f"{what} runs outside a forward pass of the model, so that its tokens are "
                "not known: call the model, or the part of it that holds all its layers"
            )


def _bound(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a forward pass by name."""
    signature = inspect.signature(module.forward)
    try:
        named = signature.bind_partial(*args).arguments
    except TypeError:  # the module itself will say what is wrong
        named = {}
    return {**named, **kwargs}


def _refuse_unfollowed(module: nn.Module, given: dict[str, Any]) -> None:
    """Refuse a forward pass whose results would not be what was asked for."""
    wanted = given.get("output_attentions")
    if wanted is None:
        wanted = getattr(getattr(module, "config", None), "output_attentions", False)
    if wanted:
        raise SessionError(
            "output_attentions is True, and a block keeps no probabilities: leave it out, or "
            "attach with record=True, which keeps what each token drew (LayerRecord.importance)"
        )
    if torch.is_grad_enabled() and any(
        m.training and getattr(m, "gradient_checkpointing", False) for m in module.modules()
    ):
        raise SessionError(
            "gradient checkpointing computes each layer again in the backward pass, when what the "
            "forward pass knew of its tokens is gone: call model.gradient_checkpointing_disable()"
        )
