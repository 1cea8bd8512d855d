"""The tokens of a forward pass: which of them live, and in which precision."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.session.cache import CacheError, CacheLayer, TokenCache
from dtqatten.algorithm.session.precision import precisions
from dtqatten.algorithm.session.tokens import Tokens, TokenSource

__all__ = ["PassTokens"]


class PassTokens:
    """What a session knows of the tokens of the pass that runs.

    Parameters
    ----------
    policy : Policy
    special_ids : sequence of int
        Ids of the tokenizer's special tokens.

    Attributes
    ----------
    source : TokenSource
    tokens : Tokens, optional
        From the first layer on.
    alive : bool tensor ``[batch, n]``, optional
        Tokens that no layer so far has pruned.
    bits : tensor ``[batch, n]``, optional
        Precision of each token in the last layer.
    pruned : bool
        Whether the last layer left any token out.
    """

    def __init__(self, policy: Policy, special_ids: Sequence[int]) -> None:
        self.source = TokenSource(policy, special_ids)
        self._policy = policy
        self.begin(None, None, None)

    def begin(self, ids: Tensor | None, mask: Tensor | None, cache: TokenCache | None) -> None:
        """Forget the last pass.

        Parameters
        ----------
        ids : tensor ``[batch, n_q]``, optional
            Ids of the new tokens.
        mask : tensor ``[batch, n]``, optional
            0 where a token is padding.
        cache : TokenCache, optional
            What holds the tokens before.
        """
        self._ids, self._mask, self._cache = ids, mask, cache
        self.tokens: Tokens | None = None
        self.alive: Tensor | None = None
        self.bits: Tensor | None = None
        self.pruned = False
        self._start: Tensor | None = None  # what lives before the first layer, if an encoder says

    def resume(self, encoder: "PassTokens", repeats: int) -> None:
        """Go on with the tokens that an encoder has left, each sequence so many times."""
        assert encoder.tokens is not None
        assert encoder.alive is not None
        self.tokens = encoder.tokens.map(lambda x: x.repeat_interleave(repeats, 0))
        self._start = self.alive = encoder.alive.repeat_interleave(repeats, 0)

    def restart(self) -> None:
        """Begin another pass: what layers have evicted, the cache's layers know."""
        self.alive = self._start

    def hide(self, valid: Tensor) -> None:
        """Take tokens for padding that a decoder's mask hides."""
        assert self.tokens is not None
        assert self._start is not None
        self.tokens.valid = self.tokens.valid & valid
        self._start = self.alive = self._start & valid

    def select(self, index: Tensor) -> None:
        """Keep these sequences of the batch, in this order."""
        self.tokens = None if self.tokens is None else self.tokens.map(lambda x: x[index])
        self._start = self.alive = None if self._start is None else self._start[index]

    def at(self, first: bool, q: Tensor, seen: Tensor | None, n: int) -> Tokens:
        """Return what is known of the tokens, collected at the first layer.

        Parameters
        ----------
        first : bool
            Whether that layer attends.
        q : tensor ``[batch, heads, n_q, d]``
            Its queries.
        seen : bool tensor ``[batch, 1, n_q or 1, n]``, optional
            Which tokens the mask lets a query see; None is all.
        n : int
            New tokens and those before.

        Raises
        ------
        CacheError
            If the cache is of another batch.
        """
        if first or self.tokens is None:
            self.tokens = self._collected(q, seen, n)
            # Prefill starts with all tokens; what decoding evicted is kept by the cache's layers.
            self.alive = self.tokens.valid
        elif self.tokens.valid.device != q.device:
            self.move(q.device)
        return self.tokens

    def _collected(self, q: Tensor, seen: Tensor | None, n: int) -> Tokens:
        batch, _, n_q, _ = q.shape
        past = None if self._cache is None else self._cache.tokens
        if past is not None and len(past.valid) != batch:
            raise CacheError(
                f"the cache holds {len(past.valid)} sequences, this pass has {batch}: go on with "
                "the same batch, or start one with session.cache()"
            )
        if self._mask is not None and self._mask.shape == (batch, n):
            valid = self._mask.bool().to(q.device)
        else:
            valid = torch.ones(batch, n, dtype=torch.bool, device=q.device)
            if past is not None:
                valid[:, :-n_q] = past.valid
            elif seen is not None:
                valid = seen.any(-2)[:, 0]  # what no query sees is padding
        tokens = self.source.make(valid, n_q, self._ids)
        if self._cache is not None:
            if past is not None:
                tokens = past.map(lambda x: x.to(q.device)).extended(tokens)
            self._cache.tokens = tokens
        return tokens

    def move(self, device: torch.device) -> None:
        """Follow a model from one device to the next."""
        if self.tokens is not None:
            self.tokens = self.tokens.map(lambda x: x.to(device))
        if self.alive is not None:
            self.alive = self.alive.to(device)
        if self.bits is not None:
            self.bits = self.bits.to(device)
        if self._start is not None:
            self._start = self._start.to(device)

    def assign(self, layer: int, held: CacheLayer | None, left_out: Tensor | None) -> Tensor:
        """Give each token its precision ``[batch, n]`` in a layer.

        Parameters
        ----------
        layer : int
        held : CacheLayer, optional
            Knows the evicted tokens.
        left_out : bool tensor ``[batch, n]``, optional
            Tokens to leave out of this layer alone.
        """
        assert self.tokens is not None
        alive = self.tokens.valid if self.alive is None else self.alive
        if held is not None:
            alive = held.living(alive)
        bits = precisions(self._policy, layer, self.tokens, alive)
        self.alive = bits > 0
        if left_out is not None:
            bits = bits * ~left_out
        self.bits = bits
        self.pruned = bool(((bits > 0) != self.tokens.valid).any())
        return bits

    def draw(self, drawn: Tensor, visible: Tensor | None, counted: Tensor) -> None:
        """Add a block's importance, as :meth:`Tokens.draw`."""
        assert self.tokens is not None
        self.tokens.draw(self._policy, drawn, visible, counted)
        if self._cache is not None:
            self._cache.tokens = self.tokens
