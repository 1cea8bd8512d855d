"""Attention masks and arguments of transformers: what each query sees, or a refusal by name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dtqatten.algorithm.models import ModelError

__all__ = ["parted", "refuse_unknown", "visibility"]

#: An additive mask hides a key with this or less: its exponential is 0 in any precision.
HIDDEN = -1e4

#: Arguments that do not change attention here, and why.
HARMLESS = {
    "position_ids": "the embedding has used them",
    "cache_position": "the cache has used it",
    "use_cache": "it is about what the model returns",
    "return_dict": "it is about what the model returns",
    "output_attentions": "a session has refused it where it is true",
    "output_hidden_states": "it is about what the model returns",
    "output_router_logits": "it is about what the model returns",
    "num_items_in_batch": "it is about the loss",
    "deterministic": "it is about the gradients of a fused kernel",
}

#: Arguments that change attention in a way that has no counterpart here, and the way out.
REFUSED = {
    "sinks": "pass a logit of each head as s_aux",
    "head_mask": "prune heads by the policy's `heads`",
    "cu_seq_lens_q": "pass packed sequences with a 4D mask, or as a padded batch",
    "cu_seq_lens_k": "pass packed sequences with a 4D mask, or as a padded batch",
    "max_length_q": "pass packed sequences with a 4D mask, or as a padded batch",
    "max_length_k": "pass packed sequences with a 4D mask, or as a padded batch",
    "seq_idx": "pass packed sequences with a 4D mask, or as a padded batch",
    "cache": "pass past_key_values=session.cache() in place of a paged cache",
}


def refuse_unknown(model: str, arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of an attention function that would change its result.

    Parameters
    ----------
    model : str
        Name of the module, for the message.
    arguments : mapping
        Arguments that are not honoured; those that are None count as absent.

    Raises
    ------
    ModelError
        If one of them is not known to be harmless.
    """
    for name, value in arguments.items():
        if value is None or name in HARMLESS:
            continue
        shown = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
        way_out = REFUSED.get(name, "leave it out, or use a model that does not need it")
        raise ModelError(f"{model} attends with {name}={shown}, which is not honoured: {way_out}")


def parted(
    model: str, mask: Tensor | None, bias: Tensor | None, shape: tuple[int, int, int, int]
) -> tuple[Tensor | None, Tensor | None]:
    """Part a mask and a bias into what is seen and what is added to the scores.

    Parameters
    ----------
    model : str
        Name of the module, for messages.
    mask : tensor, optional
        Boolean, True where a query sees a key, or additive: -10000 or less hides a key, anything
        else is added to its score.
    bias : tensor, optional
        Added to the scores beside the mask (T5's ``position_bias``).
    shape : tuple
        ``batch, heads, n_q, n_k``, which both must broadcast to.

    Returns
    -------
    seen : bool tensor, optional
        None where there is no mask.
    added : float tensor ``[batch or 1, heads or 1, n_q or 1, n_k or 1]``, optional
        0 where a key is hidden; None where nothing is added.

    Raises
    ------
    ModelError
        If one is neither boolean nor floating, does not fit, or adds what is no number; or if the
        bias hides a key.
    """
    for what, given in (("mask", mask), ("position_bias", bias)):
        if given is None:
            continue
        if not given.is_floating_point() and (given.dtype != torch.bool or given is bias):
            raise ModelError(
                f"{model} attends with a {what} of {given.dtype}: pass a boolean mask, True where "
                "a query sees a key, or one to be added to the scores"
            )
        try:
            torch.broadcast_to(given, shape)
        except RuntimeError:
            raise ModelError(
                f"{model} attends with a {what} {list(given.shape)}, but Q and K need "
                f"{list(shape)} (batch, heads, queries, keys): pass one that broadcasts to it"
            ) from None
    seen, added = mask, None
    for what, given in (("mask", mask), ("position_bias", bias)):
        if given is None or not given.is_floating_point():
            continue
        own = given[(None,) * (4 - given.ndim)].float()
        hidden = own <= HIDDEN
        odd = own[~hidden & ~own.isfinite() if given is mask else hidden | ~own.isfinite()]
        if len(odd):
            raise ModelError(
                f"{model} attends with a {what} that adds {float(odd[0]):g} to scores: add "
                f"numbers, and hide keys by a mask, with {HIDDEN:g} or less"
            )
        if given is mask:
            seen = ~hidden
        if bool(((own != 0) & ~hidden).any()):
            own = own.masked_fill(hidden, 0.0)
            added = own if added is None else added + own
    return seen, added


def visibility(
    model: str,
    mask: Tensor | None,
    shape: tuple[int, int, int, int],
    causal: bool | None,
    window: int | None,
    device: torch.device,
) -> Tensor | None:
    """Which keys each query sees.

    Parameters
    ----------
    model : str
        Name of the module, for messages.
    mask : tensor, optional
        Boolean, as of :func:`parted`: True where a query sees a key.
    shape : tuple
        ``batch, heads, n_q, n_k``.
    causal : bool, optional
        Whether a query sees no later key where there is no mask; None is unknown.
    window : int, optional
        A query sees no key this far away or farther, of a causal model; on both sides, none that is
        farther away. The mask must hold that already.
    device : torch.device
        Of the result.

    Returns
    -------
    bool tensor ``[batch, 1, n_q or 1, n_k]``, or None
        One row where all queries see the same keys, None where they see all.

    Raises
    ------
    ModelError
        If the mask differs from head to head or shows more than the window; or if without a mask it
        is unknown what a query sees.
    """
    seen = _boolean(model, mask, shape, causal, device)
    if window is not None:
        n_q, n_k = shape[2:]
        places = torch.arange(n_k, device=device)
        # Of keys behind a query the window counts its own place; on both sides it does not.
        reach = window - 1 if causal else window
        far = (places[n_k - n_q :, None] - places).abs() > reach
        if bool((far if seen is None else seen & far).any()):
            raise ModelError(
                f"{model} attends with sliding_window={window}, but its mask shows keys farther "
                "away: pass an attention_mask that holds the window too"
            )
    if seen is None or bool(seen.all()):
        return None
    if seen.shape[2] > 1 and bool((seen == seen[:, :, :1]).all()):
        seen = seen[:, :, :1]
    return seen


def _boolean(
    model: str,
    mask: Tensor | None,
    shape: tuple[int, int, int, int],
    causal: bool | None,
    device: torch.device,
) -> Tensor | None:
    """Return a boolean mask in one form, ``[batch, 1, n_q or 1, n_k]``; None where all is seen.

    Parameters
    ----------
    model, mask, shape, causal, device
        As of :func:`visibility`.
    """
    batch, _, n_q, n_k = shape
    if mask is None:
        if n_q == 1 or causal is False:
            return None
        if causal is None or n_q != n_k:
            raise ModelError(
                f"{model} attends without a mask, {n_q} queries to {n_k} keys, causal {causal}: "
                "pass a 4D attention_mask"
            )
        return torch.ones(n_q, n_k, dtype=torch.bool, device=device).tril().expand(batch, 1, -1, -1)
    mask = mask[(None,) * (4 - mask.ndim)]
    if mask.shape[1] > 1:
        if bool((mask != mask[:, :1]).any()):
            raise ModelError(
                f"{model} attends with a mask {list(mask.shape)} that differs from head to head: "
                "pass one for all heads"
            )
        mask = mask[:, :1]
    return mask.expand(batch, -1, -1, n_k)
