"""A session: carries out a policy in a model's attention, layer after layer, pass after pass."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from dtqatten.algorithm.block.operands import BASE_ARRAYS, Operands, Result
from dtqatten.algorithm.conditioning import Conditioner, Observer
from dtqatten.algorithm.masks import visibility
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import Pruned, Ranking
from dtqatten.algorithm.session.blocks import Block, Machine, Mode, compute
from dtqatten.algorithm.session.cache import CacheError, CacheLayer, TokenCache
from dtqatten.algorithm.session.costs import Computed, account
from dtqatten.algorithm.session.heads import HeadPruning
from dtqatten.algorithm.session.pass_tokens import PassTokens
from dtqatten.algorithm.session.passes import Passes
from dtqatten.algorithm.session.precision import roles
from dtqatten.algorithm.session.records import LayerRecord
from dtqatten.algorithm.session.tally import Tally

__all__ = ["Session"]


class Session:
    """A model's state while dynamic token quantization is attached to it.

    Parameters
    ----------
    policy : Policy
    mode : Mode
    conditioners : list of Conditioner
        One a layer.
    special_ids : sequence of int
        Ids of the tokenizer's special tokens.
    record : bool
        Keep a :class:`LayerRecord` a layer of the last forward pass.
    model : str
        Name of the model, for messages.

    Attributes
    ----------
    tally : Tally
        Sums over all forward passes.
    records : list of LayerRecord
        Of the last forward pass.
    observers : list of Observer, optional
        One a layer; each takes in Q, K and V before anything is done to them.
    arrays : Arrays
        Of the machine whose row blocks choose values; those of preset ``base`` unless set.
    compute : callable, optional
        Called as ``compute(layer, operands)`` in place of the golden block, in mode ``integer``.
    perturb : callable, optional
        Called as ``perturb(layer, q, k, v, importance, valid)`` before quantization; returns Q, K,
        V and a mask ``[batch, n]`` of tokens to leave out of this layer, or None.
    """

    def __init__(
        self,
        policy: Policy,
        mode: Mode,
        conditioners: Sequence[Conditioner],
        special_ids: Sequence[int] = (),
        record: bool = False,
        model: str = "the model",
    ) -> None:
        self.policy = policy
        self.mode = mode
        self.conditioners = list(conditioners)
        self.record = record
        self.tally = Tally()
        self.records: list[LayerRecord] = []
        self.observers: list[Observer] | None = None
        self.arrays = BASE_ARRAYS
        self.compute: Callable[[int, Operands], Result] | None = None
        self.perturb: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor | None]] | None = None
        self._passes = Passes(model, len(self.conditioners))
        self._tokens = PassTokens(policy, special_ids)
        # A mask, window and causality, and what they let see.
        self._seen: tuple[Tensor | None, tuple[int | None, bool | None], Tensor | None] | None = (
            None
        )
        self._cache: TokenCache | None = None
        self._heads = HeadPruning()
        # Whether any head is pruned, and whether anything needs importance.
        self._head_pruning = policy.prunes_heads
        self._ranked = policy.ranks and policy.ranking is Ranking.IMPORTANCE

    @property
    def kept(self) -> Tensor:
        """Tokens ``[batch, n]`` that the last layer computed on.

        Raises
        ------
        RuntimeError
            Before the first forward pass.
        """
        if self._tokens.bits is None:
            raise RuntimeError("no forward pass so far")
        return self._tokens.bits > 0

    def pooled(self, attention_mask: Tensor) -> Tensor:
        """Return which tokens to pool over: not padding, nor dropped by the policy."""
        mask = attention_mask.bool()
        return mask & self.kept if self.policy.pruned is Pruned.DROP else mask

    def cache(self) -> TokenCache:
        """Return an empty KV cache for prefill and decode."""
        return TokenCache(self)

    def runs(self, cache: TokenCache) -> bool:
        """Whether a forward pass with this cache is running."""
        return self._passes.running and self._cache is cache

    # What the hooks call.

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take note of a module that holds the layers; the outermost one starts a pass.

        Raises
        ------
        SessionError
            If the pass cannot be followed.
        CacheError
            If it comes with a cache that cannot be used.
        """
        given = self._passes.enter(module, args, kwargs)
        if given is not None:
            self.begin(given)

    def leave(self, module: nn.Module) -> None:
        """Take note that such a module is done."""
        self._passes.leave(module)

    def finish(self, module: nn.Module) -> None:
        """Check that a forward pass was one of attention in every layer."""
        if self._passes.finish(module):
            self._seen = None

    def begin_layer(self, places: Sequence[int]) -> None:
        """Take note of a layer that is about to run; shared weights have several places."""
        self._passes.begin_layer(places)

    def end_layer(self, hidden: Tensor, output: Any) -> Any:
        """Give pruned tokens the hidden state that they had before the layer."""
        self._passes.end_layer()
        bits, frozen = self._tokens.bits, self.policy.pruned in (Pruned.FREEZE, Pruned.DROP)
        if not (self._tokens.pruned and frozen and self.policy.prune_queries) or bits is None:
            return output
        new = output[0] if isinstance(output, tuple) else output
        keep = bits[:, -new.shape[1] :, None] > 0
        new = torch.where(keep, new, hidden)
        return (new, *output[1:]) if isinstance(output, tuple) else new

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
        """Compute one block.

        Parameters
        ----------
        module : str
            Name of the attention module, for messages.
        q, k, v : tensor ``[batch, heads, n_q, d]``
            Of the new tokens; K and V may have fewer heads.
        mask : tensor, optional
            As for :func:`dtqatten.algorithm.masks.visibility`.
        scaling : float
            Factor of the scores.
        causal : bool, optional
            Whether a query sees no later key; None is unknown.
        window : int, optional
            A query sees no key this far away or farther.

        Returns
        -------
        tensor ``[batch, n_q, heads, d]``
        """
        layer = self._passes.attend(module, q.shape[2], k.shape[2])
        # Half precision is for storage: sums over many tokens would overflow or round.
        kind = q.dtype
        if kind in (torch.float16, torch.bfloat16):
            q, k, v = q.float(), k.float(), v.float()
        with torch.autocast(q.device.type, enabled=False):
            held = None if self._cache is None else self._cache.layer(layer)
            seen = self._visibility(module, q, held, mask, causal, window)
            output = self._attend(layer, q, k, v, seen, scaling, bool(causal), held)
            return output.transpose(1, 2).contiguous().to(kind)

    # Steps of a pass.

    def begin(self, given: dict[str, Any]) -> None:
        """Take note of a forward pass that is about to start, by its arguments."""
        ids, mask = given.get("input_ids"), given.get("attention_mask")
        past = given.get("past_key_values")
        if isinstance(past, TokenCache):
            past.check(self, len(self.policy.layers))
        elif past is not None and (not isinstance(past, DynamicCache) or past.get_seq_length()):
            raise CacheError(
                "decoding needs the cache of codes: pass past_key_values=session.cache()"
            )
        if not isinstance(ids, Tensor) or ids.is_floating_point():
            ids = None
        if not isinstance(mask, Tensor) or mask.ndim != 2:
            mask = None
        self._cache = past if isinstance(past, TokenCache) else None
        self._tokens.begin(ids, mask, self._cache)
        self._heads, self._seen = HeadPruning(), None
        self._passes.start()
        self.records = []

    def _visibility(
        self,
        module: str,
        q: Tensor,
        held: CacheLayer | None,
        mask: Tensor | None,
        causal: bool | None,
        window: int | None,
    ) -> Tensor | None:
        """What the mask lets each query see; layers that share a mask share that.

        Parameters
        ----------
        module, q, mask, causal, window
            As of :meth:`attend`.
        held : CacheLayer, optional
            Its length counts new tokens and those before.
        """
        if self._seen is None or mask is not self._seen[0] or (window, causal) != self._seen[1]:
            batch, heads, n_q, _ = q.shape
            shape = batch, heads, n_q, n_q if held is None else held.length
            seen = visibility(module, mask, shape, causal, window, q.device)
            self._seen = mask, (window, causal), seen
        return self._seen[2]

    def _attend(
        self,
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        seen: Tensor | None,
        scaling: float,
        causal: bool,
        held: CacheLayer | None,
    ) -> Tensor:
        """Compute one block; returns the output ``[batch, heads, n_q, d]``.

        Parameters
        ----------
        layer : int
            That attends.
        q, k, v, scaling, causal
            As of :meth:`attend`; operands at least in float32, unknown causality as False.
        seen : bool tensor ``[batch, 1, n_q or 1, n]``, optional
            Which keys the mask lets a query see; None is all.
        held : CacheLayer, optional
            Codes of the tokens before, which the new ones join.
        """
        policy, n_q = self.policy, q.shape[2]
        tokens = self._tokens.at(layer, q, seen, n_q if held is None else held.length)
        if layer == 0 and n_q == tokens.valid.shape[1]:
            self.tally.sequences += len(q)
        if not bool(tokens.valid.all()):
            real = tokens.valid[:, None, None]
            seen = real if seen is None else seen & real
        left_out = None
        if self.observers is not None:
            self.observers[layer].add(q, k, v, tokens.valid[:, -n_q:])
        if self.perturb is not None:
            q, k, v, left_out = self.perturb(layer, q, k, v, tokens.order(policy), tokens.valid)
        bits = self._tokens.assign(layer, held, left_out)
        kept = bits > 0
        visible, q_bits, k_bits = roles(policy, bits, tokens.valid, seen, n_q, causal)
        counted = tokens.valid[:, -n_q:] if not policy.prune_queries else kept[:, -n_q:]
        conditioner = self.conditioners[layer].to(q)
        q, k, v = conditioner.inputs(q, k, v)
        block = Block(
            layer=layer,
            q=q,
            k=k,
            v=v,
            q_bits=q_bits,
            k_bits=k_bits,
            valid=tokens.valid,
            visible=visible,
            counted=counted,
            scaling=scaling,
        )
        left = self._left(layer, q.shape[1], counted)
        ranked = self._ranked or self._head_pruning or self.record or self.perturb is not None
        result = compute(
            block,
            policy,
            self.mode,
            held,
            ranked=ranked,
            machine=Machine(self.compute, self.arrays, left),
        )
        if held is not None:
            held.evict(bits)
        if self._head_pruning:
            result = self._heads.count(result, counted)
        self._count(block, result, bits, seen)
        output = conditioner.output(result.output.to(q.dtype))
        if self._heads.kept is not None:
            output = output * self._heads.kept[:, :, None, None]
        if self._tokens.pruned and policy.pruned is Pruned.FFN and policy.prune_queries:
            output = output * kept[:, None, -n_q:, None]
        return output

    def _left(self, layer: int, heads: int, counted: Tensor) -> Tensor | None:
        """Return which heads a layer computes; None is all."""
        keep = self.policy.layers[layer].kept_heads(heads)
        return self._heads.choose(keep, heads, counted) if self._head_pruning else None

    def _count(self, block: Block, result: Result, bits: Tensor, seen: Tensor | None) -> None:
        """Add a block to the tally, the tokens' importance and the records.

        Parameters
        ----------
        block : Block
        result : Result
            Of the block.
        bits, seen
            As of :class:`~dtqatten.algorithm.session.costs.Computed`.
        """
        account(self.tally, self.policy, Computed(block, result, bits, seen, self._heads.kept))
        drawn = None if result.importance is None else result.importance.sum(1)
        if drawn is not None:
            self._tokens.draw(drawn.to(torch.float32), block.visible, block.counted)
        if self.record:
            added = torch.zeros(bits.shape, dtype=torch.float32, device=bits.device)
            self.records.append(
                LayerRecord(bits.clone(), added if drawn is None else drawn.to(added))
            )
