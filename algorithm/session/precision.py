"""The precision of each token in a layer, and what that leaves each query to see."""

import torch
from torch import Tensor

from dtqatten.algorithm.block.order import places
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError, Protect
from dtqatten.algorithm.session.tokens import Tokens

__all__ = ["precisions", "roles"]


def precisions(policy: Policy, layer: int, tokens: Tokens, alive: Tensor) -> Tensor:
    """Precision of each token, as :meth:`Policy.precision` for every sequence.

    Parameters
    ----------
    policy : Policy
    layer : int
    tokens : Tokens
        Of the batch.
    alive : bool tensor ``[batch, n]``
        Tokens not pruned so far.

    Returns
    -------
    tensor ``[batch, n]``
        0, 4 or 8.
    """
    share_0, _, share_8 = policy.layers[layer].shares
    n = tokens.valid.sum(1).double()
    if share_0 == 0 and share_8 in (0, 1):
        return alive * (8.0 if share_8 else 4.0)
    protected = tokens.protected
    if Protect.LAST in policy.protect or policy.recent:
        place = tokens.valid.flip(1).cumsum(1).flip(1)  # 1 is the last
        newest = max(policy.recent, int(Protect.LAST in policy.protect))
        protected = protected | (tokens.valid & (place <= newest))
    protected = protected & alive
    kept = torch.minimum(
        (n - (n * share_0).round()).clamp_min(1).maximum(protected.sum(1).double()),
        alive.sum(1).double(),
    )
    eight = torch.minimum(kept, (n * share_8).round())
    value = tokens.order(policy).double()
    rank = places(value.masked_fill(protected, torch.inf).masked_fill(~alive, -1.0))
    bits = 4.0 * (rank < kept[:, None]) + 4.0 * (rank < eight[:, None])
    return bits.float() * alive


def roles(
    policy: Policy, bits: Tensor, valid: Tensor, seen: Tensor | None, n_q: int, causal: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Which keys each query sees, and the precisions of tokens as queries and as keys.

    A pruned token may still ask, or be seen by its neighbours, in 4 bits. Padding does neither.

    Parameters
    ----------
    policy : Policy
    bits : tensor ``[batch, n]``
        Precision of each token.
    valid : bool tensor ``[batch, n]``
        Tokens that are no padding.
    seen : bool tensor ``[batch, 1, n_q or 1, n]``, optional
        Which keys the model's mask lets a query see; None is all.
    n_q : int
        The last tokens, which are queries.
    causal : bool
        Whether a query sees no later key.

    Returns
    -------
    visible : bool tensor ``[batch, 1, n_q or 1, n]``, optional
    q_bits : tensor ``[batch, n_q]``
    k_bits : tensor ``[batch, n]``

    Raises
    ------
    PolicyError
        If recent keys are to be seen by queries that see keys on both sides.
    """
    q_bits, k_bits, kept = bits[:, -n_q:], bits, (bits > 0)[:, None, None]
    if not policy.prune_queries:
        q_bits = torch.where(valid[:, -n_q:], q_bits.clamp_min(4), q_bits)
        if policy.recent and not causal:
            raise PolicyError(
                f"recent is {policy.recent} with prune_queries false, and this model's queries "
                "see keys on both sides: set recent to 0, or prune_queries to true"
            )
        if policy.recent and not bool(kept.all()):
            place = valid.cumsum(1)
            near = place[:, -n_q:, None] - place[:, None] < policy.recent
            kept = kept | (near & valid[:, None])[:, None]
            k_bits = torch.where(valid, k_bits.clamp_min(4), k_bits)
    if bool(kept.all()):
        return seen, q_bits, k_bits
    return kept if seen is None else seen & kept, q_bits, k_bits
