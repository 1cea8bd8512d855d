"""What a session knows of one stack of layers in the pass that runs: its tokens, heads and mask."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from dtqatten.algorithm.block.terms import Terms
from dtqatten.algorithm.masks import parted, visibility
from dtqatten.algorithm.models import ModelError
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.session.asked import Asked
from dtqatten.algorithm.session.cache import CacheError, CacheLayer, TokenCache
from dtqatten.algorithm.session.heads import HeadPruning
from dtqatten.algorithm.session.pass_tokens import PassTokens
from dtqatten.algorithm.session.support import Stack

__all__ = ["Seen", "StackPass"]


class Seen:
    """What a model's masks let queries see, and what is done to their scores.

    Parameters
    ----------
    asked : Asked
    q : tensor ``[batch, heads, n_q, d]``
    keys : int

    Attributes
    ----------
    visible : bool tensor ``[batch, 1, n_q or 1, n_k]``, optional
        Which keys a query sees; None is all.
    causal : bool
        Whether a query is known to see no later key.
    bias : tensor, optional
        What is added to the scores.
    """

    def __init__(self, asked: Asked, q: Tensor, keys: int) -> None:
        self.asked = asked
        batch, self._heads, n_q, _ = q.shape
        shape = batch, self._heads, n_q, keys
        mask, self.bias = parted(asked.module, asked.mask, asked.bias, shape)
        causal = False if asked.cross else asked.causal
        window = None if asked.cross else asked.window
        self.visible = visibility(asked.module, mask, shape, causal, window, q.device)
        self.causal = bool(causal) and not self._sees_later(n_q, keys)

    def holds(self, asked: Asked) -> bool:
        """Whether another attention, of the same pass, has the same."""
        mine = self.asked
        return (
            mine.mask is asked.mask
            and mine.bias is asked.bias
            and (mine.window, mine.causal) == (asked.window, asked.causal)
        )

    def terms(self, asked: Asked) -> Terms:
        """Return what an attention does to its scores.

        Raises
        ------
        ModelError
            If there is not one sink a head.
        """
        if asked.sinks is None:
            return Terms(asked.softcap, self.bias)
        if asked.sinks.numel() != self._heads:
            raise ModelError(
                f"{asked.module} attends with s_aux {list(asked.sinks.shape)} in {self._heads} "
                "heads: pass a logit of each head"
            )
        return Terms(asked.softcap, self.bias, asked.sinks.float().flatten())

    def _sees_later(self, n_q: int, keys: int) -> bool:
        """Whether any query sees a key behind its own place."""
        if n_q == 1:
            return False
        if self.visible is None or self.visible.shape[2] == 1:
            return True
        return bool(self.visible.triu(keys - n_q + 1).any())


class StackPass:
    """What a session knows of a stack in the pass that runs.

    Parameters
    ----------
    stack : Stack
    policy : Policy
    special_ids : tuple of int
        Ids of the tokenizer's special tokens.

    Attributes
    ----------
    tokens : PassTokens
        Of the stack.
    heads, cross_heads : HeadPruning
        Of attention to its own tokens, and to its encoder's.
    crossed : PassTokens, optional
        Its encoder's tokens, as keys of its layers.
    cache : TokenCache, optional
    queries : tuple of tensor
        Precisions ``[batch, n_q]`` of the queries of the layer that runs, which of them count, and
        which are no padding.
    root : nn.Module, optional
        The outermost module that holds this stack and no other, of those that run.
    encoded : tensor, optional
        What the stack gave last, if another stack attends to it.
    """

    def __init__(self, stack: Stack, policy: Policy, special_ids: tuple[int, ...]) -> None:
        self.stack, self.policy = stack, policy
        self.special_ids = special_ids
        self.tokens = PassTokens(policy, special_ids)
        self.crossed: PassTokens | None = None
        self.cache: TokenCache | None = None
        self._places: Tensor | None = None
        self.queries: tuple[Tensor, Tensor, Tensor] | None = None
        self.root: nn.Module | None = None
        self.encoded: Tensor | None = None
        self.heads, self.cross_heads = HeadPruning(), HeadPruning()
        self.forget_masks()

    def forget_masks(self) -> None:
        """Forget what masks let queries see."""
        self._seen: list[Seen] = []

    def begin(self, given: dict[str, Any], session: Any, encoder: "StackPass | None") -> bool:
        """Take note of a pass by the arguments of the module that holds the stack.

        Parameters
        ----------
        given : dict
        session : Session
            That a cache must be of.
        encoder : StackPass, optional
            What the stack cross-attends to.

        Returns
        -------
        bool
            Whether its layers cross-attend in this pass.

        Raises
        ------
        CacheError
            If it comes with a cache that cannot be used.
        """
        ids, mask = given.get("input_ids"), given.get("attention_mask")
        if not isinstance(ids, Tensor) or ids.is_floating_point():
            ids = None
        if not isinstance(mask, Tensor) or mask.ndim != 2:
            mask = None
        self.cache = _checked(given.get("past_key_values"), session, len(self.stack.layers))
        self.heads, self.cross_heads = HeadPruning(), HeadPruning()
        self.forget_masks()
        self.queries = None
        self.tokens.begin(ids, mask, self.cache)
        states = given.get("encoder_hidden_states")
        if encoder is None or not isinstance(states, Tensor):
            self.crossed = None
            return False
        self._cross(encoder, states, given.get("encoder_attention_mask"))
        return True

    def _cross(self, encoder: "StackPass", states: Tensor, mask: Any) -> None:
        """Take the encoder's tokens as keys: those of its last pass, or of the cache's first.

        Parameters
        ----------
        encoder : StackPass
        states : tensor ``[batch, n, hidden]``
            What the decoder takes as the encoder's output.
        mask : tensor ``[batch, n]``, optional
            0 where a token is padding; else the encoder knows.
        """
        if self.cache is not None and self.cache.crossed is not None:
            self.crossed = self.cache.crossed
            self.crossed.restart()
            return
        repeats = _repeats(encoder.encoded, states)
        if not repeats or encoder.tokens.tokens is None:
            raise CacheError(
                "the decoder attends to hidden states that are not what the encoder gave in its "
                "last pass, so that nothing is known of their tokens: run the encoder in the same "
                "session, or the whole model"
            )
        crossed = PassTokens(self.policy, self.special_ids)
        crossed.resume(encoder.tokens, repeats)
        assert crossed.tokens is not None
        if isinstance(mask, Tensor) and mask.shape == crossed.tokens.valid.shape:
            crossed.hide(mask.bool().to(states.device))
        self.crossed = crossed
        if self.cache is not None:
            self.cache.crossed = crossed

    def seen(self, asked: Asked, q: Tensor, keys: int) -> Seen:
        """What masks let queries see; attentions that share masks share that.

        Parameters
        ----------
        asked : Asked
        q : tensor ``[batch, heads, n_q, d]``
        keys : int
            New ones and those before.
        """
        found = [each for each in self._seen if each.asked.cross == asked.cross]
        if not found or not found[0].holds(asked):
            # Of own tokens and of the encoder's, the last one each.
            self._seen = [each for each in self._seen if each.asked.cross != asked.cross]
            found = [Seen(asked, q, keys)]
            self._seen += found
        return found[0]

    def listed(self, first: bool, bits: Tensor) -> Tensor:
        """Return the places of tokens in the list of the layer before, and make those of this one.

        A layer's list is that of the layer before, without what is pruned, tokens of 4 bits first.

        Parameters
        ----------
        first : bool
            It is the first layer: the list before is the text.
        bits : tensor ``[batch, n]``
            Precisions in this layer.

        Returns
        -------
        int tensor ``[batch, n]``
        """
        before = self._places
        if first or before is None:
            before = torch.arange(bits.shape[1], device=bits.device).expand(bits.shape)
        order = (before + bits.shape[1] * (bits != 4)).argsort(dim=1)
        self._places = order.argsort(dim=1)
        return before

    def held(self, layer: int) -> CacheLayer | None:
        """Return the codes of the tokens before, in a layer of the model."""
        return None if self.cache is None else self.cache.layer(layer - self.stack.first)

    def evictions(self, layer: int) -> CacheLayer | None:
        """Return which of the encoder's tokens a layer of the model has evicted."""
        return None if self.cache is None else self.cache.evictions(layer - self.stack.first)


def _repeats(encoded: Tensor | None, states: Tensor) -> int:
    """How many times each sequence that an encoder gave is in a batch, in turn; 0 if it is not."""
    if encoded is None or len(states) % len(encoded) or encoded.shape[1:] != states.shape[1:]:
        return 0
    repeats = len(states) // len(encoded)
    again = encoded.to(states.device).repeat_interleave(repeats, 0)
    return repeats if torch.equal(again, states) else 0


def _checked(past: Any, session: Any, layers: int) -> TokenCache | None:
    """Return the cache of codes that a pass goes on with.

    Parameters
    ----------
    past : Cache, optional
    session : Session
        That it must be of.
    layers : int
        Of the stack.

    Raises
    ------
    CacheError
        If it is another cache with tokens in it, or one of fixed size.
    """
    own = past.self_attention_cache if isinstance(past, EncoderDecoderCache) else past
    if isinstance(own, TokenCache):
        own.check(session, layers)
        return own
    if own is not None and (not isinstance(own, DynamicCache) or own.get_seq_length()):
        raise CacheError(
            f"past_key_values is a {type(own).__name__}, and decoding needs the cache of codes: "
            "pass past_key_values=session.cache()"
        )
    return None
