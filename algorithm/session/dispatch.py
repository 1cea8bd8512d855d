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
from dtqatten.algorithm.session.asked import Asked
from dtqatten.algorithm.session.passes import refuse_compiling

__all__ = ["IMPLEMENTATION", "Attending", "dispatched"]

#: Name of the attention implementation in transformers.
IMPLEMENTATION = "dtqatten"


class Attending(Protocol):
    """What attends in a layer's place: a session, or a probe of one layer."""

    def attend(self, asked: Asked, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the output ``[batch, n_q, heads, d]``.

        Parameters
        ----------
        asked, q, k, v
            As of :meth:`dtqatten.algorithm.session.session.Session.attend`.
        """


#: Names of modules that attend to an encoder's tokens.
CROSS = ("encoder_attn", "EncDecAttention", "crossattention", "cross_attn")

# What attends for each module of an attached layer, and whether that is cross-attention.
_sessions: "weakref.WeakKeyDictionary[nn.Module, tuple[Attending, bool]]" = (
    weakref.WeakKeyDictionary()
)


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
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
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
        As for :func:`dtqatten.algorithm.masks.parted`.
    scaling : float, optional
        Factor of the scores; None is ``d ** -0.5``.
    dropout : float
        Refused unless 0.
    is_causal : bool, optional
        Whether a query sees no later key; None is what the module is made with.
    sliding_window : int, optional
        A query sees no key this far away or farther.
    softcap : float, optional
        Cap of the scores.
    s_aux : tensor ``[heads]``, optional
        Sinks: a logit of each head.
    position_bias : tensor, optional
        Added to the scores.
    **kwargs
        Refused unless known to be harmless.
    """
    refuse_compiling()
    name = type(module).__name__
    if module not in _sessions:
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
    if is_causal is False and causal:
        raise ModelError(
            f"{name} attends with is_causal=False, but is made with True: pass a 4D "
            "attention_mask in place of is_causal"
        )
    refuse_unknown(name, kwargs)
    session, cross = _sessions[module]
    asked = Asked(
        module=name,
        scaling=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        mask=attention_mask,
        causal=causal if is_causal is None else is_causal,
        window=sliding_window,
        bias=position_bias,
        softcap=softcap,
        sinks=s_aux,
        cross=cross,
    )
    return session.attend(asked, query, key, value), None


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
    before = _implementations(model)
    with ExitStack() as stack:
        for layer, target in zip(layers, targets, strict=True):
            for path, module in layer.named_modules():
                _sessions[module] = target, any(name in CROSS for name in path.split("."))
                stack.callback(_sessions.pop, module, None)
        model.set_attn_implementation(IMPLEMENTATION)
        stack.callback(model.set_attn_implementation, before)
        yield


def _implementations(model: Any) -> Any:
    """Return what a model attends by, part by part where it has several."""
    own, parts = model.config._attn_implementation, {}
    for name in getattr(model.config, "sub_configs", {}):
        part = getattr(model.config, name, None)
        if part is not None:
            parts[name] = part._attn_implementation
    return own if not parts else {"": own, **parts}
