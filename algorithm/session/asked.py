"""What a model asks of one attention, besides Q, K and V."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Asked"]


@dataclass(frozen=True, eq=False)
class Asked:
    """Arguments of an attention function.

    Parameters
    ----------
    module : str
        Name of the attention module, for messages.
    scaling : float
        Factor of the scores.
    mask : tensor, optional
        As for :func:`dtqatten.algorithm.masks.parted`.
    causal : bool, optional
        Whether a query sees no later key; None is unknown.
    window : int, optional
        A query sees no key this far away or farther.
    bias : tensor, optional
        Added to the scores, as for :func:`dtqatten.algorithm.masks.parted`.
    softcap : float, optional
        Cap of the scores.
    sinks : tensor ``[heads]``, optional
        A logit of each head.
    cross : bool
        Whether keys are another stack's tokens.
    """

    module: str
    scaling: float
    mask: Tensor | None = None
    causal: bool | None = None
    window: int | None = None
    bias: Tensor | None = None
    softcap: float | None = None
    sinks: Tensor | None = None
    cross: bool = False
