"""Where a model's forward pass is, and the refusal of one that cannot be followed."""

import inspect
import threading
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dtqatten.algorithm.models import ModelError

__all__ = ["Passes", "SessionError", "bound", "refuse_compiling"]


class SessionError(RuntimeError):
    """A forward pass that a session cannot follow; the message says what to do."""


class Passes:
    """Follows a model's forward passes: which thread runs one, and which layer.

    Parameters
    ----------
    model : str
        Name of the model, for messages.
    stacks : sequence of range
        Places of the layers of each stack. A layer attends once to its own tokens in a pass in
        which its stack runs, and once to another stack's where there are any.

    Attributes
    ----------
    running : bool
        Whether a pass is running.
    layer : int, optional
        The layer that runs.
    """

    def __init__(self, model: str, stacks: Sequence[range]) -> None:
        self.model = model
        self.running = False
        self.layer: int | None = None
        self._stacks = list(stacks)
        self._wanted: dict[int, int] = {}  # attentions of each layer of the stacks that run
        self._attended: dict[int, list[bool]] = {}  # whether each was cross-attention
        self._lock = threading.Lock()
        self._thread = 0  # that runs the pass
        self._modules: list[nn.Module] = []  # that are running, the outermost first

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Take note of a module that holds layers; return whether it starts a pass.

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
        if outermost:
            _refuse_unfollowed(module, bound(module, args, kwargs))
            self.layer, self._wanted, self._attended = None, {}, {}
            self.running = True
        return outermost

    def runs(self, stack: int) -> bool:
        """Whether a stack runs in this pass."""
        return self._stacks[stack].start in self._wanted

    def start(self, stack: int, crosses: bool = False) -> None:
        """Take note that a stack runs in this pass, and whether its layers cross-attend."""
        self._wanted |= dict.fromkeys(self._stacks[stack], 1 + crosses)

    def leave(self, module: nn.Module) -> None:
        """Take note that a module that holds the layers is done."""
        with self._lock:
            if self._thread == threading.get_ident() and module in self._modules:
                del self._modules[self._modules.index(module) :]
                self.running = bool(self._modules)

    def finish(self, module: nn.Module) -> bool:
        """Whether a module ends the pass, which must be one of attention in every layer.

        Stacks that did not run, such as an encoder whose outputs are given, do not count.

        Raises
        ------
        ModelError
            If a layer has not attended.
        """
        if self._modules[:1] != [module]:
            return False
        if missed := [i for i in self._wanted if i not in self._attended]:
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
        left = [place for place in places if place not in self._attended]
        if not left:
            raise ModelError(
                f"layer {places[-1]} of {self.model} runs again in one forward pass: use a model "
                "that runs each layer once, without gradient checkpointing"
            )
        self.layer = left[0]

    def attend(self, module: str, queries: int, keys: int, cross: bool = False) -> int:
        """Return the layer that attends, if it is the first time to these tokens.

        Parameters
        ----------
        module : str
            Name of the attention module, for messages.
        queries, keys : int
            Queries and new keys.
        cross : bool
            Whether the keys are another stack's.

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
        before = self._attended.setdefault(layer, [])
        allowed = self._wanted.get(layer) == 2 if cross else keys == queries
        if cross in before or not allowed:
            what = "cross-attends" if cross else "attends"
            raise ModelError(
                f"layer {layer} of {self.model} {what} {before.count(cross) + 1} times, with "
                f"{queries} queries to {keys} new keys: only self-attention, once a "
                "layer, and cross-attention to an encoder of the same model are quantized; use a "
                "model without prefixes or keys from elsewhere"
            )
        before.append(cross)
        return layer

    def end_layer(self) -> None:
        """Take note that the layer is done.

        Raises
        ------
        ModelError
            If it has not attended.
        """
        layer, self.layer = self.layer, None
        if layer is None or len(self._attended.get(layer, ())) < self._wanted.get(layer, 1):
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


def refuse_compiling() -> None:
    """Refuse to be compiled: what a policy does depends on values, and would be left out.

    Raises
    ------
    SessionError
        If torch.compile runs this.
    """
    if torch.compiler.is_compiling():
        _refuse_compiled()


@torch.compiler.disable
def _refuse_compiled() -> None:
    raise SessionError(
        "the model is called through torch.compile, and a policy's choices depend on values: call "
        "the model itself while it is attached"
    )


def bound(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
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
