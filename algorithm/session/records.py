"""What a session keeps of a forward pass, for pictures and tests."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["LayerRecord"]


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """What a layer did with the tokens that are its keys, kept when a session records.

    Parameters
    ----------
    layer : int
        Among all layers of the model.
    cross : bool
        Whether the tokens are those of the layer's encoder.
    bits : tensor ``[batch, n]``
        Precision of each token, 0 where pruned or padding.
    importance : tensor ``[batch, n]``
        Importance the layer's own block added.
    """

    layer: int
    cross: bool
    bits: Tensor
    importance: Tensor
