"""What stands between a layer's projections and its attention, found with noise."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Probe"]


class Probe:
    """Takes a session's place: keeps Q, K and V, and gives noise for an attention output.

    Parameters
    ----------
    projections : dict
        Projections of one layer, Q, K, V and output, or none where they are not known.
    """

    def __init__(self, projections: dict[str, nn.Linear]) -> None:
        self.names = list(projections)
        self.modules = list(projections.values())
        self._generator = torch.Generator("cpu").manual_seed(0)
        self._made: dict[int, Tensor] = {}
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None
        self._given: Tensor | None = None
        self._taken: Tensor | None = None
        self._trail: list[str] = []

    def attend(
        self, module: str, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return noise ``[batch, n_q, heads, d]``.

        Parameters
        ----------
        module : str
            Name of the attention module; not used.
        q, k, v : tensor ``[batch, heads, n, d]``
            As the attention function gets them; copies are kept.
        *args, **kwargs
            Mask, scaling and the like; not used.
        """
        del module, args, kwargs
        self._trail.append("attention")
        self._seen = q.clone(), k.clone(), v.clone()
        shape = q.shape[0], q.shape[2], q.shape[1], v.shape[3]
        self._given = noise(shape, q, self._generator)
        return self._given.clone()

    def watch(self, layer: nn.Module, stack: ExitStack) -> None:
        """Put noise in the place of the projections' outputs until the stack is left."""

        def make(index: int, *given: Any) -> Tensor:
            self._made[index] = noise(given[2].shape, given[2], self._generator)
            return self._made[index].clone()  # what follows may work in place

        def take(_: nn.Module, args: tuple[Any, ...]) -> None:
            self._taken = args[0].clone()

        def note(name: str, *_: Any) -> None:
            self._trail.append(name)

        for name, module in layer.named_modules():
            if not list(module.children()):
                hook = partial(note, name.rpartition(".")[2])
                stack.callback(module.register_forward_pre_hook(hook).remove)
        for index, module in enumerate(self.modules[:3]):
            stack.callback(module.register_forward_hook(partial(make, index)).remove)
        stack.callback(self.modules[3].register_forward_pre_hook(take).remove)

    def arrives(self, index: int) -> bool:
        """Whether a projection's output (0 Q, 1 K, 2 V) is what the attention function gets."""
        if self._seen is None or index not in self._made:
            return False
        seen = self._seen[index].transpose(1, 2).flatten(2)
        return torch.equal(seen, self._made[index])

    def leaves(self) -> bool:
        """Whether attention's output is what the output projection gets."""
        if self._given is None or self._taken is None:
            return False
        return torch.equal(self._given.flatten(2), self._taken)

    def between(self) -> str:
        """Say where V or the attention output is changed, and which modules run there."""
        value, out = self.names[2], self.names[3].split(".")[-1]
        if self._seen is None:
            return "its attention does not go through transformers' attention interface"
        places = []
        for ends, whole in (
            ((value, "attention"), self.arrives(2)),
            (("attention", out), self.leaves()),
        ):
            if not whole:
                first, last = ends
                ran = self._trail[self._trail.index(first) + 1 :] if first in self._trail else []
                ran = ran[: ran.index(last)] if last in ran else []
                ran = [name for name in ran if name != "attention"]
                what = ", ".join(ran) or "an operation of its own (a clip, a gate, a scale)"
                places.append(f"between {first} and {last} stands {what}")
        return "; ".join(places)

    @property
    def seen(self) -> tuple[Tensor, Tensor, Tensor]:
        """Q, K and V as the attention function got them."""
        assert self._seen is not None
        return self._seen


def noise(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers of both signs and of magnitudes from 2^-10 to 2^10."""
    given: Any = {"generator": generator, "dtype": torch.float32, "device": "cpu"}
    made = torch.randn(shape, **given)
    power = torch.rand(shape, **given) * 20 - 10
    return (made * power.exp2()).to(like)
