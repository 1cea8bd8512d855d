"""A session: carries out a policy in a model's attention, layer after layer, pass after pass."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from dtqatten.algorithm.block.operands import BASE_ARRAYS, Operands, Result
from dtqatten.algorithm.conditioning import Conditioner, Observer
from dtqatten.algorithm.models import ModelError
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import Pruned, Ranking
from dtqatten.algorithm.session.asked import Asked
from dtqatten.algorithm.session.blocks import Block, Machine, Mode, compute
from dtqatten.algorithm.session.cache import PairedCache, TokenCache
from dtqatten.algorithm.session.costs import Computed, account
from dtqatten.algorithm.session.pass_tokens import PassTokens
from dtqatten.algorithm.session.passes import Passes, SessionError, bound
from dtqatten.algorithm.session.precision import roles
from dtqatten.algorithm.session.records import LayerRecord
from dtqatten.algorithm.session.stack_pass import StackPass
from dtqatten.algorithm.session.support import Stack
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
    stacks : sequence of Stack
        The model's.
    special_ids : sequence of int
        Ids of the tokenizer's special tokens.
    record : bool
        Keep a :class:`LayerRecord` of each attention of the last forward pass, in their order.
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
        Of the machine whose row blocks choose values, or try keys in 4 bits; those of preset
        ``base`` unless set.
    compute : callable, optional
        Called as ``compute(layer, operands)`` in place of the golden block, in mode ``integer``.
    probe : callable, optional
        Called as ``probe(layer, operands, result)`` after each block, in mode ``fake-quant``.
    perturb : callable, optional
        Called as ``perturb(layer, q, k, v, importance, valid)`` before quantization; returns Q, K,
        V and a mask ``[batch, n]`` of tokens to leave out of this layer, or None.
    """

    def __init__(
        self,
        policy: Policy,
        mode: Mode,
        conditioners: Sequence[Conditioner],
        stacks: Sequence[Stack],
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
        self.probe: Callable[[int, Operands, Result], object] | None = None
        self.perturb: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor | None]] | None = None
        self._passes = Passes(model, [stack.places for stack in stacks])
        self._stacks = [StackPass(stack, policy, tuple(special_ids)) for stack in stacks]
        self._latest = self._stacks[0]  # that ran last
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
        bits = self._latest.tokens.bits
        if bits is None:
            raise RuntimeError("no forward pass so far")
        return bits > 0

    def pooled(self, attention_mask: Tensor) -> Tensor:
        """Return which tokens to pool over: not padding, nor dropped by the policy."""
        mask = attention_mask.bool()
        return mask & self.kept if self.policy.pruned is Pruned.DROP else mask

    def cache(self) -> Cache:
        """Return an empty KV cache for prefill and decode."""
        crossing = any(each.stack.encoder is not None for each in self._stacks)
        return PairedCache(self) if crossing else TokenCache(self)

    def runs(self, cache: TokenCache) -> bool:
        """Whether a forward pass with this cache is running."""
        return self._passes.running and any(x.cache is cache for x in self._stacks)

    # What the hooks call.

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take note of a module that holds layers; the outermost one starts a pass.

        Raises
        ------
        SessionError
            If the pass cannot be followed.
        CacheError
            If it comes with a cache that cannot be used.
        """
        if self._passes.enter(module, args, kwargs):
            self.records = []
        holding = [i for i, x in enumerate(self._stacks) if module in x.stack.holders]
        if len(holding) == 1 and not self._passes.runs(holding[0]):
            found = self._stacks[holding[0]]
            number = found.stack.encoder
            encoder = None if number is None else self._stacks[number]
            found.root = module
            crosses = found.begin(bound(module, args, kwargs), self, encoder)
            self._passes.start(holding[0], crosses)

    def leave(self, module: nn.Module) -> None:
        """Take note that such a module is done."""
        self._passes.leave(module)

    def finish(self, module: nn.Module, output: Any) -> None:
        """Check that a forward pass was one of attention in every layer of what ran.

        Parameters
        ----------
        module : nn.Module
            That holds layers, and is done.
        output : tensor or tuple
            What it gives.
        """
        crossed = {x.stack.encoder for x in self._stacks}
        for number, found in enumerate(self._stacks):
            if number in crossed and module is found.root:
                found.encoded = output if isinstance(output, Tensor) else output[0]
        if self._passes.finish(module):
            for found in self._stacks:
                found.forget_masks()

    def begin_layer(self, places: Sequence[int]) -> None:
        """Take note of a layer that is about to run; shared weights have several places."""
        self._passes.begin_layer(places)

    def end_layer(self, hidden: Tensor, output: Any) -> Any:
        """Give pruned tokens the hidden state that they had before the layer."""
        self._passes.end_layer()
        tokens = self._latest.tokens
        bits, frozen = tokens.bits, self.policy.pruned in (Pruned.FREEZE, Pruned.DROP)
        if not (tokens.pruned and frozen and self.policy.prune_queries) or bits is None:
            return output
        new = output[0] if isinstance(output, tuple) else output
        keep = bits[:, -new.shape[1] :, None] > 0
        new = torch.where(keep, new, hidden)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    def attend(self, asked: Asked, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Compute one block.

        Parameters
        ----------
        asked : Asked
            Mask, scaling and the like.
        q, k, v : tensor ``[batch, heads, n, d]``
            Of the new tokens, or of all of the encoder's; K and V may have fewer heads.

        Returns
        -------
        tensor ``[batch, n_q, heads, d]``
        """
        if self.compute is not None and len(self._stacks) > 1:
            raise ModelError(
                f"{self._passes.model} has {len(self._stacks)} stacks of layers, and the machine "
                "runs one: attach to a part with a single list of layers, or use mode integer"
            )
        layer = self._passes.attend(asked.module, q.shape[2], k.shape[2], asked.cross)
        self._latest = next(x for x in self._stacks if layer in x.stack.places)
        # Half precision is for storage: sums over many tokens would overflow or round.
        kind = q.dtype
        if kind in (torch.float16, torch.bfloat16):
            q, k, v = q.float(), k.float(), v.float()
        with torch.autocast(q.device.type, enabled=False):
            block, bits, seen = self._block(layer, asked, q, k, v)
            output = self._attend(block, bits, seen, cross=asked.cross)
            return output.transpose(1, 2).contiguous().to(kind)

    # Steps of a pass.

    def _block(
        self, layer: int, asked: Asked, q: Tensor, k: Tensor, v: Tensor
    ) -> tuple[Block, Tensor, Tensor | None]:
        """Return what a layer computes, precisions of its keys, and what its mask lets be seen.

        Parameters
        ----------
        layer, asked, q, k, v
            As of :meth:`attend`; operands at least in float32.
        """
        own, policy, n_q = self._latest, self.policy, q.shape[2]
        if asked.cross:
            held, keys, of = own.evictions(layer), k.shape[2], own.crossed
            assert of is not None
            of.move(q.device)
            masks = own.seen(asked, q, keys)
            tokens = of.tokens
        else:
            held, of = own.held(layer), own.tokens
            keys = n_q if held is None else held.length
            masks = own.seen(asked, q, keys)
            tokens = of.at(layer == own.stack.first, q, masks.visible, keys)
        assert tokens is not None
        seen = masks.visible
        if not bool(tokens.valid.all()):
            real = tokens.valid[:, None, None]
            seen = real if seen is None else seen & real
        left_out = None
        if not asked.cross:
            if layer == own.stack.first and own.stack.encoder is None and n_q == keys:
                self.tally.sequences += len(q)
            if self.observers is not None:
                self.observers[layer].add(q, k, v, tokens.valid[:, -n_q:])
            if self.perturb is not None:
                given = tokens.order(policy), tokens.valid
                q, k, v, left_out = self.perturb(layer, q, k, v, *given)
        bits = of.assign(layer, held, left_out)
        if asked.cross:
            if own.queries is None:
                raise SessionError(f"layer {layer} cross-attends before it attends")
            q_bits, counted, rows = own.queries
            k_bits, kept = bits, (bits > 0)[:, None, None]
            visible = seen if bool(kept.all()) else kept if seen is None else seen & kept
        else:
            visible, q_bits, k_bits = roles(policy, bits, tokens.valid, seen, n_q, masks.causal)
            rows = tokens.valid[:, -n_q:]
            counted = rows if not policy.prune_queries else bits[:, -n_q:] > 0
            own.queries = q_bits, counted, rows
        listed = None
        if not asked.cross and held is None and not masks.causal:
            listed = own.listed(layer == own.stack.first, bits)
        conditioner = self.conditioners[layer].to(q)
        q, k, v = conditioner.inputs(q, k, v)
        bias = conditioner.key_bias(q, k)
        block = Block(
            layer=layer,
            q=q,
            k=k,
            v=v,
            q_bits=q_bits,
            k_bits=k_bits,
            valid=tokens.valid,
            real=rows,
            visible=visible,
            counted=counted,
            listed=listed,
            scaling=asked.scaling,
            terms=masks.terms(asked),
            key_bias=None if bias is None else bias * asked.scaling,
        )
        return block, bits, seen

    def _attend(self, block: Block, bits: Tensor, seen: Tensor | None, *, cross: bool) -> Tensor:
        """Compute one block; returns the output ``[batch, heads, n_q, d]``.

        Parameters
        ----------
        block, bits, seen
            As of :meth:`_block`.
        cross : bool
            Whether keys are the encoder's.
        """
        own, policy, layer = self._latest, self.policy, block.layer
        of = own.crossed if cross else own.tokens
        heads = own.cross_heads if cross else own.heads
        held = own.evictions(layer) if cross else own.held(layer)
        assert of is not None
        left = None
        if self._head_pruning:
            many = block.q.shape[1]
            left = heads.choose(policy.layers[layer].kept_heads(many), many, block.counted)
        ranked = self._ranked or self._head_pruning or self.record or self.perturb is not None
        result = compute(
            block,
            policy,
            self.mode,
            None if cross else held,
            ranked=ranked,
            machine=Machine(self.compute, self.arrays, left, self.probe),
        )
        if held is not None:
            held.evict(bits)
        if self._head_pruning:
            result = heads.count(result, block.counted)
        self._count(of, Computed(block, result, bits, seen, heads.kept, self.arrays.depth))
        output = self.conditioners[layer].to(block.q).output(result.output.to(block.q.dtype))
        if heads.kept is not None:
            output = output * heads.kept[:, :, None, None]
        if own.tokens.pruned and policy.pruned is Pruned.FFN and policy.prune_queries:
            output = output * block.counted[:, None, :, None]
        return output

    def _count(self, of: PassTokens, done: Computed) -> None:
        """Add a block to the tally, the tokens' importance and the records."""
        account(self.tally, self.policy, done, self.arrays)
        block, bits, importance = done.block, done.bits, done.result.importance
        drawn = None if importance is None else importance.sum(1)
        if drawn is not None:
            of.draw(drawn.to(torch.float32), block.visible, block.counted)
        if self.record:
            added = torch.zeros(bits.shape, dtype=torch.float32, device=bits.device)
            drawn = added if drawn is None else drawn.to(added)
            cross = of is self._latest.crossed
            self.records.append(LayerRecord(block.layer, cross, bits.clone(), drawn))
