"""From transformers' attention interface to the session of the layer that attends."""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from dtqatten.algorithm.masks import refuse_unknown
from dtqatten.algorithm.models import ModelError

__all__ = ["IMPLEMENTATION", "Attending", "dispatched"]

#: Name of the attention implementation in transformers.
IMPLEMENTATION = "dtqatten"


class Attending(Protocol):
    """What attends in a layer's place: a session, or a probe of one layer."""

    def attend(
        self,
        module: str,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        scaling: float,
        causal: bool | None,
        window: int | None = None,
    ) -> Tensor:
        """Return the output ``[batch, n_q, heads, d]``.

        Parameters
        ----------
        module, q, k, v, mask, scaling, causal, window
            As of :meth:`dtqatten.algorithm.session.session.Session.attend`.
        """


# What attends for each module of an attached layer.
_sessions: "weakref.WeakKeyDictionary[nn.Module, Attending]" = weakref.WeakKeyDictionary()


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention function that transformers calls in place of its own.

    Parameters
    ----------
    module : nn.Module
        That attends.
    query, key, value : tensor ``[batch, heads, n_q, d]``
        Of the new tokens; K and V may have fewer heads.
    attention_mask : tensor, optional
        As for :func:`dtqatten.algorithm.masks.visibility`.
    scaling : float, optional
        Factor of the scores; None is ``d ** -0.5``.
    dropout : float
        Refused unless 0.
    is_causal : bool, optional
        Whether a query sees no later key; None is what the module is made with.
    sliding_window : int, optional
        A query sees no key this far away or farther.
    **kwargs
        Refused unless known to be harmless.
    """
    name = type(module).__name__
    session = _sessions.get(module)
    if session is None:
        raise RuntimeError(
            f"{name} uses the attention {IMPLEMENTATION!r} without a session: run it inside `with "
            "attached(model, policy)`, in one of the model's layers"
        )
    if dropout:
        raise ModelError(
            f"{name} attends with dropout={dropout}, which is not honoured: train with the "
            "model's attention dropout 0, or call model.eval()"
        )
    causal = getattr(module, "is_causal", None)
    if is_causal is not None and causal is not None and is_causal != causal:
        raise ModelError(
            f"{name} attends with is_causal={is_causal}, but is made with {causal}: pass a 4D "
            "attention_mask in place of is_causal"
        )
    refuse_unknown(name, kwargs)
    factor = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    asked = causal if is_causal is None else is_causal
    output = session.attend(name, query, key, value, attention_mask, factor, asked, sliding_window)
    return output, None


def _mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """Boolean masks, made even where they are plainly causal or let all be seen."""
    kwargs["allow_is_causal_skip"] = kwargs["allow_is_bidirectional_skip"] = False
    made: Tensor | None = sdpa_mask(*args, **kwargs)
    return made


AttentionInterface.register(IMPLEMENTATION, _attention)
AttentionMaskInterface.register(IMPLEMENTATION, _mask)


@contextmanager
def dispatched(
    model: Any, layers: Sequence[nn.Module], targets: Sequence[Attending]
) -> Iterator[None]:
    """Let each of a model's layers attend through a session, or what takes its place."""
    before = model.config._attn_implementation
    with ExitStack() as stack:
        for layer, target in zip(layers, targets, strict=True):
            for module in layer.modules():
                _sessions[module] = target
                stack.callback(_sessions.pop, module, None)
        model.set_attn_implementation(IMPLEMENTATION)
        stack.callback(model.set_attn_implementation, before)
        yield
