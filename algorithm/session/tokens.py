"""What is known of the tokens of a batch: which there are, and how important each is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import Importance, Protect, Ranking

__all__ = ["TokenSource", "Tokens"]


@dataclass(eq=False)
class Tokens:
    """What is known of the tokens of a batch, ``[batch, n]`` each.

    Parameters
    ----------
    valid : bool tensor
        Tokens that are no padding.
    protected : bool tensor
        Tokens that no layer prunes, but for those that are protected by being recent.
    importance : tensor
        What each has drawn so far.
    blocks : tensor
        Blocks that contributed to the importance.
    random : tensor
        Random numbers, where the policy ranks by them.
    """

    valid: Tensor
    protected: Tensor
    importance: Tensor
    blocks: Tensor
    random: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> "Tokens":
        """Change each tensor."""
        return Tokens(*(change(getattr(self, f.name)) for f in fields(self)))

    def extended(self, new: "Tokens") -> "Tokens":
        """These tokens with those of ``new`` after them; validity is that of ``new``."""
        old = self.importance.shape[1]
        return Tokens(
            new.valid,
            torch.cat([self.protected, new.protected[:, old:]], 1),
            torch.cat([self.importance, new.importance[:, old:]], 1),
            torch.cat([self.blocks, new.blocks[:, old:]], 1),
            torch.cat([self.random, new.random[:, old:]], 1),
        )

    def order(self, policy: Policy) -> Tensor:
        """Ranking value of each token, the larger the more important."""
        if policy.ranking is Ranking.RANDOM:
            return self.random
        if policy.ranking is Ranking.FIRST:
            # The first has the largest; padding has none, as it has of importance.
            return self.valid.flip(1).cumsum(1).flip(1) * self.valid.to(self.importance)
        if policy.count_normalize:
            return self.importance / self.blocks.clamp_min(1)
        return self.importance

    def draw(self, policy: Policy, drawn: Tensor, visible: Tensor | None, counted: Tensor) -> None:
        """Add a block's importance.

        Parameters
        ----------
        policy : Policy
            Says what is added up.
        drawn : tensor ``[batch, n]``
            Importance of the block.
        visible : bool tensor ``[batch, 1, n_q or 1, n]``, optional
            Which tokens a query sees; None is all.
        counted : bool tensor ``[batch, n_q]``
            Queries that count.
        """
        if policy.count_normalize:
            rows = counted[:, None, :, None].to(drawn)
            if visible is None:
                seen = rows.sum((1, 2))
            else:
                seen = (visible * rows).sum((1, 2)) if visible.shape[-2] > 1 else rows.sum((1, 2))
            drawn = drawn / seen.clamp_min(1)
        if policy.importance is Importance.BLOCK:
            self.importance, self.blocks = drawn, torch.ones_like(drawn)
        else:
            self.importance = self.importance + drawn
            self.blocks = self.blocks + 1


class TokenSource:
    """Makes what is known of tokens as a forward pass begins.

    Parameters
    ----------
    policy : Policy
    special_ids : sequence of int
        Ids of the tokenizer's special tokens.

    Attributes
    ----------
    generator : torch.Generator
        Of the random ranking.
    """

    def __init__(self, policy: Policy, special_ids: Sequence[int]) -> None:
        self.policy = policy
        self.special_ids = tuple(special_ids)
        self.generator = torch.Generator("cpu").manual_seed(policy.seed)

    def make(self, valid: Tensor, n_q: int, ids: Tensor | None) -> Tokens:
        """Return tokens that nothing was drawn from so far.

        Parameters
        ----------
        valid : bool tensor ``[batch, n]``
            Tokens that are no padding.
        n_q : int
            The last tokens, which are new.
        ids : tensor ``[batch, n_q]``, optional
            Their ids.

        Raises
        ------
        ValueError
            If special tokens are protected and there are no ids.
        """
        zeros = torch.zeros(valid.shape, dtype=torch.float32, device=valid.device)
        random = self._random(valid) if self.policy.ranking is Ranking.RANDOM else zeros
        return Tokens(valid, self._protected(valid, n_q, ids), zeros, zeros.clone(), random)

    def _protected(self, valid: Tensor, n_q: int, ids: Tensor | None) -> Tensor:
        protected = torch.zeros_like(valid)
        if Protect.FIRST in self.policy.protect:
            protected |= valid & (valid.cumsum(1) == 1)
        if Protect.SPECIAL in self.policy.protect:
            if ids is None:
                raise ValueError("protecting special tokens needs input_ids, not embeddings")
            special = torch.tensor(self.special_ids, device=valid.device, dtype=ids.dtype)
            protected[:, -n_q:] |= torch.isin(ids.to(valid.device), special)
        return protected

    def _random(self, valid: Tensor) -> Tensor:
        # Padding draws nothing, so that it changes no draw.
        real = valid.cpu()
        made = torch.zeros(valid.shape, dtype=torch.float32, device="cpu")
        made[real] = torch.rand(
            int(real.sum()), dtype=torch.float32, generator=self.generator, device="cpu"
        )
        return made.to(valid.device)
