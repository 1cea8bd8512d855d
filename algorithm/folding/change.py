"""A parameter in a rotated basis, while a policy is attached and in what is saved and loaded."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dtqatten.algorithm.folding.errors import FoldingError

__all__ = ["Change"]


@dataclass(eq=False)
class Change:
    """A parameter whose channels, head by head, are multiplied by matrices.

    Parameters
    ----------
    module : nn.Linear
        The projection.
    name : str
        ``weight`` or ``bias``.
    matrix : float32 tensor ``[heads or 1, d, d]``
        Multiplies output channels, or with ``inputs`` the input channels.
    inputs : bool
        Whether it is an output projection's weight.
    """

    module: nn.Linear
    name: str
    matrix: Tensor
    inputs: bool = False

    def __post_init__(self) -> None:
        self.parameter: nn.Parameter = getattr(self.module, self.name)
        self.original: Tensor | None = None

    def multiplied(self, x: Tensor, matrix: Tensor) -> Tensor:
        """Multiply the channels of each head, at least in float32."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        columns = wide.T if self.inputs else wide
        heads = columns.reshape(-1, matrix.shape[-1], x.numel() // len(columns))
        result = (matrix.to(wide) @ heads).reshape(columns.shape)
        return result.T if self.inputs else result

    def folded(self, x: Tensor) -> Tensor:
        """Return values of the model's own basis in the rotated one."""
        return self.multiplied(x, self.matrix).to(x.dtype)

    def fold(self) -> None:
        """Change the parameter in its place."""
        self.original = self.parameter.detach().clone()
        self.parameter.data.copy_(self.folded(self.original))

    def unfolded(self) -> Tensor:
        """Return the parameter in the model's own basis.

        The original bit for bit where the parameter is what folding made of it. Otherwise it was
        trained meanwhile, and what it gained is rotated back.

        Raises
        ------
        FoldingError
            If the module has another parameter by now.
        """
        now = self.parameter.detach()
        if getattr(self.module, self.name) is not self.parameter:
            raise FoldingError(
                f"the {self.name} of a folded projection was replaced by another parameter: "
                "change its values in place, or attach with fold=False"
            )
        assert self.original is not None
        original = self.original.to(now)
        before = self.folded(original)
        if torch.equal(now, before):
            return original
        inverse = torch.linalg.inv(self.matrix.double())
        gained = self.multiplied(now, inverse) - self.multiplied(before, inverse)
        return (original + gained).to(now.dtype)

    def unfold(self) -> None:
        """Put the parameter, and a gradient it has, back into the model's own basis."""
        self.parameter.data.copy_(self.unfolded())
        if (gradient := self.parameter.grad) is not None:
            turned = self.multiplied(gradient, self.matrix.transpose(-1, -2))
            gradient.data.copy_(turned)

    def saved(self, module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        """Give ``state_dict`` the values in the model's own basis.

        Parameters
        ----------
        module : nn.Linear
            That is saved.
        state : dict
            What is saved, by name; changed in place.
        prefix : str
            Of the module's names in ``state``.
        _ : dict
            PyTorch's metadata.
        """
        if module is not self.module:
            raise FoldingError(
                "this is a copy of a model whose policy is folded into its weights: copy the "
                "model before it is attached, or attach with fold=False"
            )
        if prefix + self.name in state:
            state[prefix + self.name] = self.unfolded()

    def loaded(
        self, module: nn.Module, state: dict[str, Any], prefix: str, meta: Any, *_: Any
    ) -> None:
        """Rotate what ``load_state_dict`` is about to copy.

        Parameters
        ----------
        module : nn.Linear
            That is loaded.
        state : dict
            What is to be copied, by name; changed in place.
        prefix : str
            Of the module's names in ``state``.
        meta : dict
            PyTorch's metadata, which tell of ``assign``.
        *_
            Further arguments of the hook.
        """
        if meta.get("assign_to_params_buffers"):
            raise FoldingError(
                "load_state_dict(assign=True) would replace weights that a policy is folded "
                "into: leave assign out, or attach with fold=False"
            )
        if module is self.module and prefix + self.name in state:
            state[prefix + self.name] = self.folded(state[prefix + self.name])
