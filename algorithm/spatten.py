"""SpAtten's method as a policy: what its pruning and progressive quantization do, layer by layer.

Cascade token pruning by cumulative importance, cascade head pruning by output magnitude, local V
pruning, progressive quantization, and layers of 4 or 8 bits. The runtime that carries out policies
does all of it, so that both methods differ in their policies only.
"""

from typing import Any

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError

__all__ = ["spatten"]


def spatten(
    layers: int,
    *,
    tokens: float = 0.0,
    heads: float = 0.0,
    values: float = 0.0,
    threshold: float | None = 0.1,
    eight: int = 0,
    late: float = 1.0,
    **options: Any,
) -> Policy:
    """Return a policy with SpAtten's schedule.

    Shares that are pruned grow from 0 in the first layer to their end in the last.

    Parameters
    ----------
    layers : int
        Layers of the model.
    tokens, heads : float
        Share pruned in the last layer, 0 to below 1.
    values : float
        Share of V not fetched in any layer after the first.
    threshold : float, optional
        Rows of 4-bit layers whose largest probability is below it are computed again in 8 bits.
        None: 4-bit layers stay as they are.
    eight : int
        First layers, which run in 8 bits throughout.
    late : float
        Exponent of the growth: 1 is a straight ramp, more prunes later.
    **options
        Further fields of the policy.

    Raises
    ------
    PolicyError
        If a value is out of range.
    """
    for name, share in (("tokens", tokens), ("heads", heads), ("values", values)):
        if not 0 <= share < 1:
            raise PolicyError(f"{name} is {share}, outside 0..1: prune less than all")
    if not 0 <= eight <= layers:
        raise PolicyError(f"eight is {eight}, outside 0..{layers}: there are {layers} layers")
    made = []
    for index in range(layers):
        part = (index / max(layers - 1, 1)) ** late
        kept = round(1 - tokens * part, 6)
        whole = index < eight
        made.append(
            LayerPolicy(
                share_0=round(1 - kept, 6),
                share_4=0.0 if whole else kept,
                share_8=kept if whole else 0.0,
                heads=round(1 - heads * part, 6),
                values=1 - values if index else 1.0,
                threshold=None if whole else threshold,
            )
        )
    return Policy(layers=tuple(made), **options)
