"""Hooks on a model that tell a session where its forward passes are."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn

from dtqatten.algorithm.session.dispatch import dispatched
from dtqatten.algorithm.session.passes import refuse_compiling
from dtqatten.algorithm.session.session import Session
from dtqatten.algorithm.session.support import Stack

__all__ = ["running"]


@contextmanager
def running(model: Any, stacks: Sequence[Stack], session: Session) -> Iterator[None]:
    """Run a model's forward passes under a session."""
    layers = [layer for each in stacks for layer in each.layers]

    def end(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Return what takes the place of a layer's output.

        Parameters
        ----------
        _ : nn.Module
            The layer.
        args, kwargs : tuple, dict
            What it is called with: hidden states come first, or by name.
        output : tensor or tuple
            What it returns.
        """
        return session.end_layer(args[0] if args else kwargs["hidden_states"], output)

    # Functions, not methods: a copy of the model would copy a method's session.
    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        refuse_compiling()
        session.enter(module, args, kwargs)

    def finish(module: nn.Module, _: tuple[Any, ...], output: Any) -> None:
        session.finish(module, output)

    def leave(module: nn.Module, *_: Any) -> None:
        session.leave(module)

    def enter_layer(places: Sequence[int], *_: Any) -> None:
        refuse_compiling()
        session.begin_layer(places)

    with ExitStack() as stack:
        stack.enter_context(dispatched(model, layers, [session] * len(layers)))
        for holder in dict.fromkeys(holder for each in stacks for holder in each.holders):
            hook = holder.register_forward_pre_hook(enter, with_kwargs=True)
            stack.callback(hook.remove)
            stack.callback(holder.register_forward_hook(finish).remove)
            stack.callback(holder.register_forward_hook(leave, always_call=True).remove)
        for layer in set(layers):
            places = [i for i, other in enumerate(layers) if other is layer]
            hook = layer.register_forward_pre_hook(partial(enter_layer, places))
            stack.callback(hook.remove)
            stack.callback(layer.register_forward_hook(end, with_kwargs=True).remove)
        yield
