"""The KV cache of codes: tokens are 8-bit, 4-bit or evicted."""

import weakref
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, EncoderDecoderCache

from dtqatten.algorithm.block.quantized import Quantized, Rule, least_scale, rescaled
from dtqatten.algorithm.session.tokens import Tokens
from dtqatten.golden.numerics.codes import CODE_LIMIT

__all__ = ["CacheError", "CacheLayer", "PairedCache", "TokenCache"]

#: Room in the scales of a cache for larger tokens to come, so that it is seldom scaled again.
HEADROOM = 1.25

Quantizer = Callable[[Tensor, Tensor | None, Rule, Tensor | None], Quantized]


class CacheError(ValueError):
    """A KV cache that cannot be used so; the message says what to do."""


class Owner(Protocol):
    """What a cache asks of the session that made it."""

    def runs(self, cache: "TokenCache") -> bool:
        """Whether a forward pass with this cache is running."""


class CacheLayer(DynamicLayer):
    """Codes of one layer's K and V, appended to by the attention function."""

    is_croppable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = 0
        self.k: Quantized | None = None
        self.v: Quantized | None = None
        self.key_bias: Tensor | None = None
        self.dead: Tensor | None = None
        self.bits: Tensor | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Count the tokens and pass them on: the attention function stores their codes."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.length += key_states.shape[-2]
        return key_states, value_states

    def get_seq_length(self) -> int:
        """Tokens so far, evicted ones included."""
        return self.length

    def reset(self) -> None:
        """Forget all tokens."""
        self.length = 0
        self.k = self.v = self.key_bias = self.dead = self.bits = None

    def select(self, index: Tensor) -> None:
        """Keep these sequences of the batch, in this order."""
        for name in ("key_bias", "dead", "bits"):
            held = getattr(self, name)
            setattr(self, name, None if held is None else held[index])
        for name in ("k", "v"):
            codes: Quantized | None = getattr(self, name)
            if codes is not None:
                gains = None if codes.gains is None else codes.gains[index]
                setattr(self, name, Quantized(codes.codes[index], codes.scale[index], gains))

    def join(
        self, k: Tensor, v: Tensor, make: Quantizer, keep: Tensor, rule: Rule
    ) -> tuple[Quantized, Quantized]:
        """Store the codes of new tokens and return those of all; of evicted ones they are gone.

        Parameters
        ----------
        k, v : tensor ``[batch, heads, n, d]``
            Of the new tokens.
        make : callable
            Quantizes, as :func:`dtqatten.algorithm.block.quantized.quantize`.
        keep : bool tensor ``[batch, n]``
            Tokens that a scale must hold. Scales outlive the choice of tokens: only padding is left
            out.
        rule : Rule
            How K is quantized.
        """
        self.k, self.v = (
            _joined(held, make(x, keep, of, _roomy(x, keep, held)), of.step)
            for x, held, of in ((k, self.k, rule), (v, self.v, rule.of_values))
        )
        return self.k, self.v

    def join_bias(self, bias: Tensor) -> Tensor:
        """Store the biases ``[batch, heads, n]`` of new keys and return those of all."""
        held = self.key_bias
        self.key_bias = bias if held is None else torch.cat([held, bias], 2)
        return self.key_bias

    def living(self, alive: Tensor) -> Tensor:
        """Return which of the tokens that live are not evicted."""
        if self.dead is None:
            return alive
        alive = alive.clone()
        alive[:, : self.dead.shape[1]] &= ~self.dead
        return alive

    def evict(self, bits: Tensor) -> None:
        """Remove the codes of tokens of 0 bits."""
        dead = bits == 0
        self.bits, self.dead = bits, dead
        for held in (self.k, self.v):
            if held is not None and bool(dead.any()):
                held.codes.masked_fill_(dead[:, None, :, None], 0)


def _joined(held: Quantized | None, new: Quantized, unit: int) -> Quantized:
    """Return codes with new ones behind them; ``unit`` as of :func:`rescaled`."""
    codes = new.codes.to(torch.int8)
    gains = None if new.gains is None else new.gains.to(torch.int16)
    if held is None:
        return Quantized(codes, new.scale, gains)
    held = rescaled(held, new.scale, unit)
    if held.gains is not None and gains is not None:
        gains = torch.cat([held.gains, gains], 2)
    return Quantized(torch.cat([held.codes, codes], 2), new.scale, gains)


def _roomy(x: Tensor, keep: Tensor, held: Quantized | None) -> Tensor:
    """Scales of a cache: those held where the new tokens fit, else the new tokens' with room.

    A head that held only zeros or padding has the least scale, so that it grows with the first
    token.
    """
    head = (x.detach().abs().amax(-1) * keep[:, None, :]).amax(-1)
    made = (head * (HEADROOM / CODE_LIMIT)).clamp_min(least_scale(x.dtype))
    if held is None:
        return made
    scale = held.scale.to(x.device)
    return torch.where(head > scale * CODE_LIMIT, made.to(scale), scale)


class TokenCache(Cache):
    """KV cache of codes, whose tokens are 8-bit, 4-bit or evicted.

    Make one with :meth:`Session.cache` and pass it as ``past_key_values``, also to ``generate``;
    it belongs to that session. Scales leave room for larger tokens; where one exceeds it, the
    head's scale grows and its cached codes are rounded to the new one, so that nothing is clipped.
    Tokens change between 4 and 8 bits from step to step, as both planes stay in memory and only
    the planes needed are fetched. An evicted token never returns.

    Parameters
    ----------
    session : Session
        The session it belongs to.
    """

    def __init__(self, session: Owner) -> None:
        super().__init__(layer_class_to_replicate=CacheLayer)
        self.tokens: Tokens | None = None
        #: What is known of an encoder's tokens, which all layers attend to.
        self.crossed: Any = None
        self._evictions: dict[int, CacheLayer] = {}
        # A weak reference, so that a copy of the cache belongs to the same session.
        self._session = weakref.ref(session)

    def layer(self, index: int) -> CacheLayer:
        """Return the codes of a layer."""
        layer = self.layers[index]
        assert isinstance(layer, CacheLayer)
        return layer

    def evictions(self, index: int) -> CacheLayer:
        """Return which of an encoder's tokens a layer has evicted; it holds no codes."""
        return self._evictions.setdefault(index, CacheLayer())

    def precisions(self) -> list[Tensor]:
        """Precision ``[batch, n]`` of every cached token, by layer."""
        found = [self.layer(i).bits for i in range(len(self.layers))]
        return [bits for bits in found if bits is not None]

    def check(self, session: Owner, layers: int) -> None:
        """Refuse a pass that cannot go on from here.

        Raises
        ------
        CacheError
            If the cache is another session's, or a pass with it broke off.
        """
        if self._session() is not session:
            raise CacheError(
                "this cache holds codes of another session, of another model, policy or scales: "
                "start one with session.cache() of this session"
            )
        held = [self.layer(i) for i in range(len(self.layers))]
        lengths = {x.length for x in held} | {x.k.codes.shape[2] for x in held if x.k is not None}
        if len(lengths) > 1 or len(self.layers) not in (0, layers):
            raise CacheError(
                "a forward pass with this cache broke off, and its layers hold different tokens: "
                "reset it, or start one with session.cache()"
            )

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Pass K and V on to the attention function, which stores their codes.

        Raises
        ------
        CacheError
            If the session is not running a pass with this cache.
        """
        session = self._session()
        if session is None or not session.runs(self):
            raise CacheError(
                "a cache of codes works only in a forward pass of the session that made it: call "
                "the model inside its `with attached(model, policy)`"
            )
        made: tuple[Tensor, Tensor] = super().update(
            key_states, value_states, layer_idx, *args, **kwargs
        )
        return made

    def reset(self) -> None:
        """Forget all tokens and what was known of them."""
        super().reset()
        self.tokens = self.crossed = None
        self._evictions = {}

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Give each beam the tokens, importances and evictions of the beam it goes on from."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these sequences of the batch, in this order."""
        if self.tokens is None:
            return
        index = indices.to(self.tokens.valid.device)
        for i in range(len(self.layers)):
            self.layer(i).select(index)
        for held in self._evictions.values():
            held.select(index)
        self.tokens = self.tokens.map(lambda x: x[index])
        if self.crossed is not None:
            self.crossed.select(index)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each sequence of the batch."""
        if self.tokens is not None:
            device = self.tokens.valid.device
            rows = torch.arange(len(self.tokens.valid), device=device)
            self.batch_select_indices(rows.repeat_interleave(repeats))

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse: evicted tokens cannot come back.

        Raises
        ------
        CacheError
            Always.
        """
        raise CacheError(
            f"a token cache cannot be cropped by {tokens_to_remove}: evicted tokens do not come "
            "back; start one with session.cache(), and generate without an assistant model"
        )


class PairedCache(EncoderDecoderCache):
    """A :class:`TokenCache` of a decoder's tokens, and the K and V of its encoder's.

    Those stay as they are and are quantized in each step, with the same codes as long as the same
    of them are kept. An encoder's token that a layer has evicted never returns to it.

    Parameters
    ----------
    session : Session
        The session it belongs to.
    """

    def __init__(self, session: Owner) -> None:
        super().__init__(TokenCache(session), DynamicCache())

    def check_dynamic_cache(self, method: str) -> None:
        """Allow every method: both caches have it, or refuse it themselves."""
