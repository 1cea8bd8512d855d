"""Dynamic token quantization inside transformers models, through their public interfaces.

:func:`attached` registers an attention function and hooks on a model for as long as a context
lasts; the model's own code runs unchanged.
"""

import enum
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.masking_utils import sdpa_mask

from dtqatten.algorithm.arithmetic import (
    Operands,
    Quantized,
    Result,
    fake_quant,
    integer,
    least_scale,
    plain,
    quantize,
    quantize_exactly,
    rescaled,
)
from dtqatten.algorithm.conditioning import Calibration, Conditioner, Observer
from dtqatten.algorithm.folding import Probe, folded
from dtqatten.algorithm.masks import refuse_unknown, visibility
from dtqatten.algorithm.models import ModelError
from dtqatten.algorithm.policy import (
    Importance,
    Policy,
    PolicyError,
    Protect,
    Pruned,
    Ranking,
)
from dtqatten.golden.numerics.codes import CODE_LIMIT, Granularity

__all__ = [
    "IMPLEMENTATION",
    "CacheError",
    "LayerRecord",
    "Mode",
    "Session",
    "SessionError",
    "Tally",
    "TokenCache",
    "attached",
    "calibrate",
]

#: Name of the attention implementation in transformers.
IMPLEMENTATION = "dtqatten"
#: Release of transformers whose models and interface this is tested with.
TRANSFORMERS = "5.23"
#: Room in the scales of a cache for larger tokens to come, so that it is seldom scaled again.
HEADROOM = 1.25


class SessionError(RuntimeError):
    """A forward pass that a session cannot follow; the message says what to do."""


class CacheError(ValueError):
    """A KV cache that cannot be used so; the message says what to do."""


class Mode(enum.StrEnum):
    """How a block is computed."""

    #: The golden block, bit for bit.
    INTEGER = "integer"
    #: The same steps in PyTorch: fast, batched, differentiable.
    FAKE_QUANT = "fake-quant"
    #: The same tokens in floating point.
    FLOAT = "float"


@dataclass
class Tally:
    """Sums over what was computed; ratios are to attention with all tokens and P in 8 bits.

    Parameters
    ----------
    tokens : list of float
        Tokens with 0, 4 and 8 bits, summed over layers.
    bit_operations, bit_operations_all : float
        Sum of bits times bits over the pairs of both products; the same with all in 8 bits.
    bit_operations_most : float
        The same with all in 8 bits and P as wide as the policy has it: nothing costs more.
    bytes, bytes_all : float
        Bytes of Q, K and V fetched, gains included; the same with all in 8 bits.
    rows, rows_again : float
        Rows of progressive layers, and those that were computed again.
    sequences : int
        Sequences seen.
    """

    tokens: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    bit_operations: float = 0.0
    bit_operations_all: float = 0.0
    bit_operations_most: float = 0.0
    bytes: float = 0.0
    bytes_all: float = 0.0
    rows: float = 0.0
    rows_again: float = 0.0
    sequences: int = 0

    @property
    def shares(self) -> tuple[float, float, float]:
        """Shares of 0, 4 and 8-bit tokens, mean over layers."""
        total = sum(self.tokens) or 1.0
        zero, four, eight = (x / total for x in self.tokens)
        return zero, four, eight

    @property
    def bops_ratio(self) -> float:
        """Bit operations relative to attention in 8 bits: up to 1, or 1.25 with P in 12 bits.

        Raises
        ------
        RuntimeError
            If no block was computed, or more was counted than there is to compute.
        """
        if not 0 < self.bit_operations <= self.bit_operations_most * (1 + 1e-9):
            raise RuntimeError(
                f"{self.bit_operations:g} bit operations are counted, outside 0 to "
                f"{self.bit_operations_most:g}: run the attached model on a token at least, and "
                "report it if you did"
            )
        return self.bit_operations / self.bit_operations_all

    @property
    def bytes_ratio(self) -> float:
        """Bytes fetched relative to 8 bits."""
        return self.bytes / (self.bytes_all or 1.0)


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """What a layer did with the tokens, kept when a session records.

    Parameters
    ----------
    bits : tensor ``[batch, n]``
        Precision of each token, 0 where pruned or padding.
    importance : tensor ``[batch, n]``
        Importance the layer's own block added.
    """

    bits: Tensor
    importance: Tensor


class _CacheLayer(DynamicLayer):
    """Codes of one layer's K and V, appended to by the attention function."""

    is_croppable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = 0
        self.k: Quantized | None = None
        self.v: Quantized | None = None
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
        self.k = self.v = self.dead = self.bits = None

    def select(self, index: Tensor) -> None:
        """Keep these sequences of the batch, in this order."""
        for name in ("dead", "bits"):
            held = getattr(self, name)
            setattr(self, name, None if held is None else held[index])
        for name in ("k", "v"):
            codes: Quantized | None = getattr(self, name)
            if codes is not None:
                gains = None if codes.gains is None else codes.gains[index]
                setattr(self, name, Quantized(codes.codes[index], codes.scale[index], gains))

    def append(self, k: Quantized, v: Quantized) -> tuple[Quantized, Quantized]:
        """Store codes and return all of them; those of evicted tokens are gone."""
        self.k, self.v = _joined(self.k, k), _joined(self.v, v)
        return self.k, self.v

    def evict(self, bits: Tensor) -> None:
        """Remove the codes of tokens of 0 bits."""
        dead = bits == 0
        self.bits, self.dead = bits, dead
        for held in (self.k, self.v):
            if held is not None and bool(dead.any()):
                held.codes.masked_fill_(dead[:, None, :, None], 0)


def _joined(held: Quantized | None, new: Quantized) -> Quantized:
    codes = new.codes.to(torch.int8)
    gains = None if new.gains is None else new.gains.to(torch.uint8)
    if held is None:
        return Quantized(codes, new.scale, gains)
    held = rescaled(held, new.scale)
    if held.gains is not None and gains is not None:
        gains = torch.cat([held.gains, gains], 2)
    return Quantized(torch.cat([held.codes, codes], 2), new.scale, gains)


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

    def __init__(self, session: "Session") -> None:
        super().__init__(layer_class_to_replicate=_CacheLayer)
        self.tokens: _Tokens | None = None
        # A weak reference, so that a copy of the cache belongs to the same session.
        self._session = weakref.ref(session)

    def layer(self, index: int) -> _CacheLayer:
        """Return the codes of a layer."""
        layer = self.layers[index]
        assert isinstance(layer, _CacheLayer)
        return layer

    def precisions(self) -> list[Tensor]:
        """Precision ``[batch, n]`` of every cached token, by layer."""
        found = [self.layer(i).bits for i in range(len(self.layers))]
        return [bits for bits in found if bits is not None]

    def check(self, session: "Session", layers: int) -> None:
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
        self.tokens = None

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
        self.tokens = self.tokens.map(lambda x: x[index])

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


@dataclass(eq=False)
class _Tokens:
    """What is known of the tokens of a batch."""

    valid: Tensor  # not padding
    protected: Tensor
    importance: Tensor
    blocks: Tensor  # blocks that contributed to the importance
    random: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> "_Tokens":
        """Change each tensor."""
        return _Tokens(*(change(getattr(self, f.name)) for f in fields(self)))

    def extended(self, new: "_Tokens") -> "_Tokens":
        """These tokens with those of ``new`` after them; validity is that of ``new``."""
        old = self.importance.shape[1]
        return _Tokens(
            new.valid,
            torch.cat([self.protected, new.protected[:, old:]], 1),
            torch.cat([self.importance, new.importance[:, old:]], 1),
            torch.cat([self.blocks, new.blocks[:, old:]], 1),
            torch.cat([self.random, new.random[:, old:]], 1),
        )


# The session of each module of an attached layer.
_sessions: "weakref.WeakKeyDictionary[nn.Module, Session | Probe]" = weakref.WeakKeyDictionary()
# Models that are attached, or about to be.
_attached: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()
_attaching = threading.Lock()


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
        self.special_ids = tuple(special_ids)
        self.record = record
        self.model = model
        self.tally = Tally()
        self.records: list[LayerRecord] = []
        self.perturb: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor | None]] | None = None
        self.compute: Callable[[int, Operands], Result] | None = None
        self.observers: list[Observer] | None = None
        self._generator = torch.Generator("cpu").manual_seed(policy.seed)
        self._lock = threading.Lock()
        self._thread = 0  # that runs the pass
        self._modules: list[nn.Module] = []  # that are running, the outermost first
        self._open = False  # a pass is running
        self._given: tuple[Tensor | None, Tensor | None] = (None, None)
        self._layer: int | None = None  # the one that runs
        self._attended = [0] * len(self.conditioners)
        # A mask, window and causality, and what they let see.
        self._seen: tuple[Tensor | None, tuple[int | None, bool | None], Tensor | None] | None = (
            None
        )
        self._cache: TokenCache | None = None
        self._tokens: _Tokens | None = None
        self._alive: Tensor | None = None
        self._bits: Tensor | None = None
        self._heads: Tensor | None = None  # kept, [batch, heads]
        self._magnitude: Tensor | None = None
        self._pruned = False
        # Whether any head is pruned, and whether anything needs importance.
        self._head_pruning = any(x.heads < 1 for x in policy.layers)
        self._ranked = policy.ranks and policy.ranking is Ranking.IMPORTANCE

    @property
    def kept(self) -> Tensor:
        """Tokens ``[batch, n]`` that the last layer computed on.

        Raises
        ------
        RuntimeError
            Before the first forward pass.
        """
        if self._bits is None:
            raise RuntimeError("no forward pass so far")
        return self._bits > 0

    def pooled(self, attention_mask: Tensor) -> Tensor:
        """Return which tokens to pool over: not padding, nor dropped by the policy."""
        mask = attention_mask.bool()
        return mask & self.kept if self.policy.pruned is Pruned.DROP else mask

    def cache(self) -> TokenCache:
        """Return an empty KV cache for prefill and decode."""
        return TokenCache(self)

    def runs(self, cache: TokenCache) -> bool:
        """Whether a forward pass with this cache is running."""
        return self._open and self._cache is cache

    # What the hooks call.

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take note of a module that holds the layers; the outermost one starts a pass.

        Raises
        ------
        SessionError
            If the pass cannot be followed.
        """
        here = threading.get_ident()
        with self._lock:
            if self._modules and self._thread != here:
                raise SessionError(
                    "another thread runs a forward pass of this model, whose tokens this one "
                    "would mix up: let one thread run it at a time, or give each its own model"
                )
            self._thread = here
            if module in self._modules:  # a pass that was interrupted
                del self._modules[self._modules.index(module) :]
            self._modules.append(module)
            outermost = len(self._modules) == 1
        if outermost:
            given = _bound(module, args, kwargs)
            _followed(module, given)
            self.begin((), given)

    def leave(self, module: nn.Module) -> None:
        """Take note that such a module is done."""
        with self._lock:
            if self._thread == threading.get_ident() and module in self._modules:
                del self._modules[self._modules.index(module) :]
                self._open = bool(self._modules)

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Take note of a forward pass of the model that is about to start."""
        ids = kwargs.get("input_ids", args[0] if args else None)
        mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
        past = kwargs.get("past_key_values")
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
        self._given = ids, mask
        self._cache = past if isinstance(past, TokenCache) else None
        self._tokens = self._alive = self._bits = None
        self._heads = self._magnitude = None
        self._pruned = False
        self._layer = self._seen = None
        self._attended = [0] * len(self.conditioners)
        self._open, self._thread = True, threading.get_ident()
        self.records = []

    def finish(self, module: nn.Module) -> None:
        """Check that a forward pass was one of attention in every layer."""
        if self._modules[:1] != [module]:
            return
        self._seen = None
        if missed := [i for i, times in enumerate(self._attended) if not times]:
            raise ModelError(
                f"layers {missed} of {self.model} did not run: use the whole model, without "
                "layer dropout"
            )

    def begin_layer(self, places: Sequence[int]) -> None:
        """Take note of a layer that is about to run; shared weights have several places."""
        self._expect(f"layer {places[0]}")
        left = [place for place in places if not self._attended[place]]
        if not left:
            raise ModelError(
                f"layer {places[-1]} of {self.model} runs again in one forward pass: use a model "
                "that runs each layer once, without gradient checkpointing"
            )
        self._layer = left[0]

    def end_layer(self, hidden: Tensor, output: Any) -> Any:
        """Give pruned tokens the hidden state that they had before the layer."""
        layer, self._layer = self._layer, None
        if layer is None or not self._attended[layer]:
            raise ModelError(
                f"layer {layer} of {self.model} has not attended by transformers' "
                "AttentionInterface, so that nothing is quantized: use a model that does"
            )
        frozen = self.policy.pruned in (Pruned.FREEZE, Pruned.DROP)
        if not (self._pruned and frozen and self.policy.prune_queries) or self._bits is None:
            return output
        new = output[0] if isinstance(output, tuple) else output
        keep = self._bits[:, -new.shape[1] :, None] > 0
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
        """Compute one block; returns the output ``[batch, n_q, heads, d]``."""
        layer = self._enter(module, q, k)
        # Half precision is for storage: sums over many tokens would overflow or round.
        kind = q.dtype
        if kind in (torch.float16, torch.bfloat16):
            q, k, v = q.float(), k.float(), v.float()
        with torch.autocast(q.device.type, enabled=False):
            return self._attend(layer, module, q, k, v, mask, scaling, causal, window).to(kind)

    def _attend(
        self,
        layer: int,
        module: str,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None,
        scaling: float,
        causal: bool | None,
        window: int | None,
    ) -> Tensor:
        policy, rules = self.policy, self.policy.layers[layer]
        batch, n_q = q.shape[0], q.shape[2]
        held = None if self._cache is None else self._cache.layer(layer)
        n = n_q if held is None else held.length
        # Layers that share a mask share what it lets see.
        if self._seen is None or mask is not self._seen[0] or (window, causal) != self._seen[1]:
            shape = batch, q.shape[1], n_q, n
            seen = visibility(module, mask, shape, causal, window, q.device)
            self._seen = mask, (window, causal), seen
        seen = self._seen[2]
        if layer == 0 or self._tokens is None:
            self._tokens = self._start(batch, n_q, n, seen, q)
        elif self._tokens.valid.device != q.device:
            self._move(q.device)
        tokens = self._tokens
        if not bool(tokens.valid.all()):
            real = tokens.valid[:, None, None]
            seen = real if seen is None else seen & real

        left_out = None
        if self.observers is not None:
            self.observers[layer].add(q, k, v, tokens.valid[:, -n_q:])
        if self.perturb is not None:
            q, k, v, left_out = self.perturb(layer, q, k, v, self._order(tokens), tokens.valid)
        bits = self._assign(layer, tokens, held)
        if left_out is not None:
            bits = bits * ~left_out
        self._bits = bits
        kept = bits > 0
        self._pruned = bool((kept != tokens.valid).any())
        visible, q_bits, k_bits = self._views(bits, tokens.valid, seen, n_q, bool(causal))
        counted = tokens.valid[:, -n_q:] if not policy.prune_queries else kept[:, -n_q:]

        conditioner = self.conditioners[layer].to(q)
        q, k, v = conditioner.inputs(q, k, v)
        result = self._block(layer, q, k, v, q_bits, k_bits, visible, counted, scaling, held)
        if held is not None:
            held.evict(bits)

        if rules.heads < 1 or self._head_pruning:
            result = self._prune_heads(rules.heads, result, counted)
        self._account(bits, q_bits, k_bits, visible, result, q, k, counted, seen)
        if result.importance is not None:
            self._accumulate(tokens, result.importance.sum(1).to(torch.float32), visible, counted)
        if self.record:
            drawn = torch.zeros_like(tokens.importance)
            if result.importance is not None:
                drawn = result.importance.sum(1).to(drawn)
            self.records.append(LayerRecord(bits.clone(), drawn))

        output = conditioner.output(result.output.to(q.dtype))
        if self._head_pruning and self._heads is not None:
            output = output * self._heads[:, :, None, None]
        if self._pruned and policy.pruned is Pruned.FFN and policy.prune_queries:
            output = output * kept[:, None, -n_q:, None]
        return output.transpose(1, 2).contiguous()

    # Steps of a block.

    def _enter(self, module: str, q: Tensor, k: Tensor) -> int:
        """Return the layer that attends, if it is the first time and to its own tokens."""
        self._expect(f"attention ({module})")
        layer = self._layer
        if layer is None:
            raise ModelError(
                f"{module} of {self.model} attends outside its layer: call the model, not its parts"
            )
        if self._attended[layer] or k.shape[2] != q.shape[2]:
            raise ModelError(
                f"layer {layer} of {self.model} attends {self._attended[layer] + 1} times, with "
                f"{q.shape[2]} queries to {k.shape[2]} new keys: only self-attention, once a "
                "layer, is quantized; use a model without cross-attention or prefixes"
            )
        self._attended[layer] += 1
        return layer

    def _expect(self, what: str) -> None:
        """Refuse a block that is not part of a running pass."""
        # The same question that PyTorch's own checkpointing asks.
        if torch._C._current_graph_task_id() != -1:
            raise SessionError(
                f"{what} is computed again in the backward pass, when what the forward pass "
                "knew of its tokens is gone: switch off activation (gradient) checkpointing"
            )
        if not self._open or self._thread != threading.get_ident():
            raise SessionError(
                f"{what} runs outside a forward pass of the model, so that its tokens are "
                "not known: call the model, or the part of it that holds all its layers"
            )

    def _move(self, device: torch.device) -> None:
        """Follow a model from one device to the next."""
        assert self._tokens is not None
        self._tokens = self._tokens.map(lambda x: x.to(device))
        for name in ("_alive", "_bits", "_heads", "_magnitude"):
            held = getattr(self, name)
            setattr(self, name, None if held is None else held.to(device))

    def _start(self, batch: int, n_q: int, n: int, seen: Tensor | None, q: Tensor) -> _Tokens:
        """Collect what is known of the tokens at the first layer of a forward pass."""
        ids, given = self._given
        device = q.device
        past = None if self._cache is None else self._cache.tokens
        if past is not None and len(past.valid) != batch:
            raise CacheError(
                f"the cache holds {len(past.valid)} sequences, this pass has {batch}: go on with "
                "the same batch, or start one with session.cache()"
            )
        if given is not None and given.shape == (batch, n):
            valid = given.bool().to(device)
        else:
            valid = torch.ones(batch, n, dtype=torch.bool, device=device)
            if past is not None:
                valid[:, :-n_q] = past.valid
            elif seen is not None:
                valid = seen.any(-2)[:, 0]  # what no query sees is padding
        protected = torch.zeros(batch, n, dtype=torch.bool, device=device)
        place = valid.cumsum(1)
        if Protect.FIRST in self.policy.protect:
            protected |= valid & (place == 1)
        if Protect.SPECIAL in self.policy.protect:
            if ids is None:
                raise ValueError("protecting special tokens needs input_ids, not embeddings")
            special = torch.tensor(self.special_ids, device=device, dtype=ids.dtype)
            protected[:, -n_q:] |= torch.isin(ids.to(device), special)
        zeros = torch.zeros(batch, n, dtype=torch.float32, device=device)
        random = zeros
        if self.policy.ranking is Ranking.RANDOM:
            # Padding draws nothing, so that it changes no draw.
            real = valid.cpu()
            made = torch.zeros(batch, n, dtype=torch.float32, device="cpu")
            made[real] = torch.rand(
                int(real.sum()), dtype=torch.float32, generator=self._generator, device="cpu"
            )
            random = made.to(device)
        tokens = _Tokens(valid, protected, zeros, zeros.clone(), random)
        if self._cache is not None:
            if past is not None:
                tokens = past.map(lambda x: x.to(device)).extended(tokens)
            self._cache.tokens = tokens
        # Prefill starts with all tokens; what decoding evicted is kept by the cache's layers.
        self._alive = tokens.valid
        self.tally.sequences += batch if n == n_q else 0
        return tokens

    def _order(self, tokens: _Tokens) -> Tensor:
        """Ranking value of each token, the larger the more important."""
        if self.policy.ranking is Ranking.RANDOM:
            return tokens.random
        if self.policy.count_normalize:
            return tokens.importance / tokens.blocks.clamp_min(1)
        return tokens.importance

    def _assign(self, layer: int, tokens: _Tokens, held: _CacheLayer | None) -> Tensor:
        """Precision of each token, as :meth:`Policy.precision` for every sequence."""
        share_0, _, share_8 = self.policy.layers[layer].shares
        alive = tokens.valid if self._alive is None else self._alive
        if held is not None and held.dead is not None:
            alive = alive.clone()
            alive[:, : held.dead.shape[1]] &= ~held.dead
        n = tokens.valid.sum(1).double()
        if share_0 == 0 and share_8 in (0, 1):
            bits = alive * (8.0 if share_8 else 4.0)
            self._alive = alive
            return bits
        protected = tokens.protected
        if Protect.LAST in self.policy.protect or self.policy.recent:
            place = tokens.valid.flip(1).cumsum(1).flip(1)  # 1 is the last
            newest = max(self.policy.recent, int(Protect.LAST in self.policy.protect))
            protected = protected | (tokens.valid & (place <= newest))
        protected = protected & alive
        kept = torch.minimum(
            (n - (n * share_0).round()).clamp_min(1).maximum(protected.sum(1).double()),
            alive.sum(1).double(),
        )
        eight = torch.minimum(kept, (n * share_8).round())
        value = self._order(tokens).double()
        value = value.masked_fill(protected, torch.inf).masked_fill(~alive, -1.0)
        order = value.argsort(dim=1, descending=True, stable=True)
        rank = torch.empty_like(order)
        rank.scatter_(1, order, torch.arange(rank.shape[1], device=rank.device).expand_as(order))
        bits = 4.0 * (rank < kept[:, None]) + 4.0 * (rank < eight[:, None])
        bits = bits.float() * alive
        self._alive = bits > 0
        return bits

    def _views(
        self, bits: Tensor, valid: Tensor, seen: Tensor | None, n_q: int, causal: bool
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        """Which keys each query sees, and the precisions in both roles.

        A pruned token may still ask, or be seen by its neighbours, in 4 bits. Padding does neither.
        """
        policy = self.policy
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

    def _block(
        self,
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        q_bits: Tensor,
        k_bits: Tensor,
        visible: Tensor | None,
        counted: Tensor,
        scaling: float,
        held: _CacheLayer | None,
    ) -> Result:
        rules = self.policy.layers[layer]
        ranked = self._ranked or self._head_pruning or self.record or self.perturb is not None
        queries = counted.to(q.dtype)
        if self.mode is Mode.FLOAT:
            if held is not None:
                raise ValueError("mode float has no cache of codes: use fake-quant or integer")
            return plain(q, k, v, visible, scaling, queries)
        exact = self.mode is Mode.INTEGER
        if self.compute is not None and not exact:
            raise ValueError(
                f"session.compute is set in mode {self.mode}: it takes the golden block's place, "
                "attach in mode integer"
            )
        make = quantize_exactly if exact else quantize
        per_token = self.policy.granularity is Granularity.TOKEN
        own = slice(k_bits.shape[1] - k.shape[2], None)
        keep_q = None if bool((q_bits > 0).all()) else q_bits > 0
        new_bits = k_bits[:, own]
        keep_k = None if bool((new_bits > 0).all()) else new_bits > 0
        if held is not None:
            # Scales outlive the choice of tokens; only padding is left out.
            assert self._tokens is not None
            keep_k = self._tokens.valid[:, own]
        qq = make(q, keep_q, per_token)
        if held is None:
            kk, vv = make(k, keep_k, per_token), make(v, keep_k, per_token)
        else:
            kk, vv = (
                make(x, keep_k, per_token, _roomy(x, keep_k, stored))
                for x, stored in ((k, held.k), (v, held.v))
            )
            kk, vv = (_working(x, q, exact) for x in held.append(kk, vv))
        op = Operands(
            q=qq,
            k=kk,
            v=vv,
            q_bits=q_bits.clamp_min(4),
            k_bits=k_bits.clamp_min(4),
            v_bits=k_bits.clamp_min(4),
            visible=visible,
            scaling=scaling,
            queries=queries,
            p_planes=self.policy.p_planes,
            p_follows_token=self.policy.p_follows_token,
            p_follows_query=self.policy.p_follows_query,
            values=rules.values,
            threshold=rules.threshold,
            per_query=self.policy.count_normalize,
        )
        if exact and self.compute is not None:
            return self.compute(layer, op)
        return integer(op) if exact else fake_quant(op, ranked=ranked)

    def _prune_heads(self, share: float, result: Result, counted: Tensor) -> Result:
        """Leave out the heads of least output so far, then count this block's output."""
        heads = result.output.shape[1]
        if self._magnitude is None:
            self._magnitude = torch.zeros(result.output.shape[:2], device=counted.device)
            self._heads = torch.ones_like(self._magnitude, dtype=torch.bool)
        assert self._heads is not None
        keep = max(1, round(share * heads))
        value = self._magnitude.masked_fill(~self._heads, -1.0)
        order = value.argsort(dim=1, descending=True, stable=True)
        rank = torch.empty_like(order)
        rank.scatter_(1, order, torch.arange(heads, device=order.device).expand_as(order))
        self._heads = self._heads & (rank < keep)
        with torch.no_grad():
            size = (result.output.abs() * counted[:, None, :, None]).sum((2, 3))
            self._magnitude = self._magnitude + size.to(self._magnitude) * self._heads
        drawn = result.importance
        if drawn is not None:
            drawn = drawn * self._heads[..., None]
        return Result(result.output, drawn, result.again, result.fetched)

    def _accumulate(
        self, tokens: _Tokens, drawn: Tensor, visible: Tensor | None, counted: Tensor
    ) -> None:
        """Add a block's importance to the tokens'."""
        if self.policy.count_normalize:
            rows = counted[:, None, :, None].to(drawn)
            if visible is None:
                seen = rows.sum((1, 2))
            else:
                seen = (visible * rows).sum((1, 2)) if visible.shape[-2] > 1 else rows.sum((1, 2))
            drawn = drawn / seen.clamp_min(1)
        if self.policy.importance is Importance.BLOCK:
            tokens.importance, tokens.blocks = drawn, torch.ones_like(drawn)
        else:
            tokens.importance = tokens.importance + drawn
            tokens.blocks = tokens.blocks + 1
        if self._cache is not None:
            self._cache.tokens = tokens

    @torch.no_grad()
    def _account(
        self,
        bits: Tensor,
        q_bits: Tensor,
        k_bits: Tensor,
        visible: Tensor | None,
        result: Result,
        q: Tensor,
        k: Tensor,
        counted: Tensor,
        seen: Tensor | None,
    ) -> None:
        """Add a block to the tally; ``seen`` is ``visible`` before anything was pruned."""
        tally, policy = self.tally, self.policy
        assert self._tokens is not None
        valid = self._tokens.valid
        heads, kv_heads, d = q.shape[1], k.shape[1], q.shape[-1]
        n_q = q.shape[2]
        if self._heads is None:
            living = torch.ones(q.shape[:2], dtype=torch.bool, device=q.device)
        else:
            living = self._heads
        # K and V are fetched once for all query heads that share them, if any of these lives.
        shared = living.unflatten(1, (kv_heads, -1)).any(-1)
        share = float(living.double().mean())
        rows = counted.double()
        qb = q_bits.double() * rows
        kb = k_bits.double()
        p_bits = torch.full_like(kb, 4.0 * policy.p_planes)
        if policy.p_follows_token:
            p_bits = torch.where(kb == 4, torch.full_like(kb, 4.0), p_bits)
        # Of a key with a query of 8 bits, and with one of 4; and how many of the latter there are,
        # by head where each has its own.
        pv = p_bits * kb
        pv_narrow = 4.0 * kb
        narrow = torch.zeros_like(rows)[:, None]
        if policy.p_follows_query:
            four = (q_bits == 4)[:, None] if result.again is None else ~result.again
            narrow = rows[:, None] * four
        real = valid[:, -n_q:].double()
        if seen is None or seen.shape[-2] == 1:
            pairs = real.sum(1) * (valid if seen is None else seen[:, 0, 0]).sum(1)
        else:
            pairs = (seen[:, 0] * real[:, :, None]).sum((1, 2))
        narrow_rows = narrow[:, 0]
        if narrow.shape[1] > 1:
            narrow_rows = (narrow * living[..., None]).sum(1) / living.sum(1, keepdim=True)
        wide_rows = rows - narrow_rows
        if visible is None or visible.shape[-2] == 1:
            if visible is not None:
                kb = kb * visible[:, 0, 0]
                pv = pv * visible[:, 0, 0]
                pv_narrow = pv_narrow * visible[:, 0, 0]
            scores = qb.sum(1) * kb.sum(1)
            combine = wide_rows.sum(1) * pv.sum(1) + narrow_rows.sum(1) * pv_narrow.sum(1)
            key_sum = kb.sum(1)[:, None].expand_as(qb)
        else:
            seen = visible[:, 0].double()
            key_sum = (seen @ kb[..., None])[..., 0]
            scores = (qb * key_sum).sum(1)
            key_pv, key_pv_narrow = (seen @ torch.stack([pv, pv_narrow], -1)).unbind(-1)
            combine = (wide_rows * key_pv + narrow_rows * key_pv_narrow).sum(1)
        tokens = [float((valid & (bits == b)).sum()) for b in (0, 4, 8)]
        q_bytes = float((q_bits * counted).sum()) * d / 8 * heads * share
        stored = (k_bits * valid)[:, None] * shared[..., None]
        k_bytes = v_bytes = float(stored.sum()) * d / 8
        if result.again is not None:
            again = result.again & counted[:, None, :].bool() & living[..., None]
            part = again.double().sum(1) / living.sum(1, keepdim=True)  # of the heads
            kept_keys = key_sum / torch.where(k_bits.amax() > 4, 8.0, 4.0)
            # All pairs in 4 bits, and the other three nibble products of the rows done again.
            scores = ((16 + 48 * part) * kept_keys * rows).sum(1)
            tally.rows += float(rows.sum()) * heads * share
            tally.rows_again += float(again.sum())
            moved = float((part * rows).sum())
            kept = (valid & (bits > 0)).double().sum(1)
            twice = float((part * rows * (bits[:, -n_q:] > 0)).sum())
            tokens = [tokens[0], float(kept.sum()) - twice, twice]
            low = again.unflatten(1, (kv_heads, -1)).any(-1).any(-1)
            q_bytes = float(rows.sum() + moved) * d / 2 * heads * share
            k_bytes = float((kept[:, None] * (shared.double() + low)).sum()) * d / 2
        if result.fetched is not None:
            # Pairs of each living head, then their mean: everything else is counted for one head.
            fetched = result.fetched & living[..., None]
            wide = rows[:, None] - narrow
            if visible is None or visible.shape[-2] == 1:
                columns, columns_narrow = (x.sum(-1, keepdim=True) for x in (wide, narrow))
            else:
                columns, columns_narrow = (x @ visible[:, 0].double() for x in (wide, narrow))
            each = columns * pv[:, None] + columns_narrow * pv_narrow[:, None]
            combine = (each * fetched).sum((1, 2)) / living.sum(1)
            v_bytes = float((stored * fetched.unflatten(1, (kv_heads, -1)).any(2)).sum()) * d / 8
        tally.bit_operations += float((scores + combine).sum()) * heads * share
        tally.bit_operations_all += float(pairs.sum()) * 128 * heads
        tally.bit_operations_most += float(pairs.sum()) * (64 + 32 * policy.p_planes) * heads
        gains = 0.0
        if policy.granularity is Granularity.TOKEN:
            gains = 2 * float(((bits > 0)[:, None] & shared[..., None]).sum())
            gains += float(counted.sum()) * heads * share
        tally.bytes += q_bytes + k_bytes + v_bytes + gains
        tally.bytes_all += (float(real.sum()) * heads + 2 * float(valid.sum()) * kv_heads) * d
        for i in range(3):
            tally.tokens[i] += tokens[i]


def _roomy(x: Tensor, keep: Tensor | None, held: Quantized | None) -> Tensor:
    """Scales of a cache: those held where the new tokens fit, else the new tokens' with room.

    A head that held only zeros or padding has the least scale, so that it grows with the first
    token.
    """
    largest = x.detach().abs().amax(-1)
    if keep is not None:
        largest = largest * keep[:, None, :]
    head = largest.amax(-1)
    made = (head * (HEADROOM / CODE_LIMIT)).clamp_min(least_scale(x.dtype))
    if held is None:
        return made
    scale = held.scale.to(x.device)
    return torch.where(head > scale * CODE_LIMIT, made.to(scale), scale)


def _working(x: Quantized, like: Tensor, exact: bool) -> Quantized:
    """Codes of a cache as numbers to compute with."""
    kind = torch.float32 if exact else like.dtype
    return Quantized(x.codes.to(kind), x.scale, None if x.gains is None else x.gains.to(kind))


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
    """Attention function that transformers calls in place of its own."""
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


def _layers(model: Any) -> list[nn.Module]:
    """Layers of a model in the order they run; shared ones (ALBERT's) several times."""
    name, config = type(model).__name__, model.config
    if getattr(config, "is_encoder_decoder", False) or getattr(
        config, "add_cross_attention", False
    ):
        raise ModelError(
            f"{name} has cross-attention, which is not quantized: use an encoder or a decoder alone"
        )
    number: int = getattr(config, "num_hidden_layers", 0)
    groups = getattr(config, "num_hidden_groups", number)
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == groups]
    inner = {part for held in lists for layer in held for part in layer.modules()}
    found = [held for held in lists if held not in inner]
    if len(found) != 1:
        raise ModelError(
            f"{name} has {len(found)} lists of {groups} layers (config.num_hidden_layers): use a "
            "model with one"
        )
    (layers,) = found
    return [layers[i * len(layers) // number] for i in range(number)]


def _check_support(model: Any) -> None:
    """Refuse a model that would not call the attention function, or might call another way."""
    if not transformers.__version__.startswith(TRANSFORMERS + "."):
        raise ModelError(
            f"transformers {transformers.__version__} is installed, but attention is tested with "
            f"{TRANSFORMERS} only: pip install 'transformers=={TRANSFORMERS}.*'"
        )
    attends = getattr(model.config, "num_attention_heads", None)
    if not (attends and model._can_set_attn_implementation()):
        raise ModelError(
            f"{type(model).__name__} does not attend by transformers' AttentionInterface, so that "
            "nothing would be quantized: use a model that does, such as BERT or Llama"
        )


def _bound(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a forward pass by name."""
    signature = inspect.signature(module.forward)
    try:
        named = signature.bind_partial(*args).arguments
    except TypeError:  # the module itself will say what is wrong
        named = {}
    return {**named, **kwargs}


def _followed(module: nn.Module, given: dict[str, Any]) -> None:
    """Refuse a forward pass whose results would not be what was asked for."""
    wanted = given.get("output_attentions")
    if wanted is None:
        wanted = getattr(getattr(module, "config", None), "output_attentions", False)
    if wanted:
        raise SessionError(
            "output_attentions is True, and a block keeps no probabilities: leave it out, or "
            "attach with record=True, which keeps what each token drew (LayerRecord.importance)"
        )
    if torch.is_grad_enabled() and any(
        m.training and getattr(m, "gradient_checkpointing", False) for m in module.modules()
    ):
        raise SessionError(
            "gradient checkpointing computes each layer again in the backward pass, when what the "
            "forward pass knew of its tokens is gone: call model.gradient_checkpointing_disable()"
        )


def _holders(model: nn.Module, layer: nn.Module) -> list[nn.Module]:
    """Modules on the way from a model to one of its layers, the model first."""
    path = next(name for name, module in model.named_modules() if module is layer).split(".")
    return [model.get_submodule(".".join(path[:i])) for i in range(len(path))]


@contextmanager
def _claimed(model: nn.Module) -> Iterator[None]:
    """Keep a model from being attached twice, also by another thread."""
    modules = list(model.modules())
    with _attaching:
        if any(module in _attached for module in modules):
            raise ValueError("the model is attached already: leave the other context first")
        _attached.update(modules)
    try:
        yield
    finally:
        with _attaching:
            _attached.difference_update(modules)


@contextmanager
def _dispatched(
    model: Any, layers: Sequence[nn.Module], targets: "Sequence[Session | Probe]"
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


@contextmanager
def _running(model: Any, layers: Sequence[nn.Module], session: Session) -> Iterator[None]:
    """Run a model's forward passes under a session."""

    def end(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        return session.end_layer(args[0] if args else kwargs["hidden_states"], output)

    # Functions, not methods: a copy of the model would copy a method's session.
    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        session.enter(module, args, kwargs)

    def finish(module: nn.Module, *_: Any) -> None:
        session.finish(module)

    def leave(module: nn.Module, *_: Any) -> None:
        session.leave(module)

    def enter_layer(places: Sequence[int], *_: Any) -> None:
        session.begin_layer(places)

    with ExitStack() as stack:
        stack.enter_context(_dispatched(model, layers, [session] * len(layers)))
        for holder in _holders(model, layers[0]):
            hook = holder.register_forward_pre_hook(enter, with_kwargs=True)
            stack.callback(hook.remove)
            stack.callback(holder.register_forward_hook(finish).remove)
            stack.callback(holder.register_forward_hook(leave, always_call=True).remove)
        for layer in set(layers):
            places = [i for i, other in enumerate(layers) if other is layer]
            hook = layer.register_forward_pre_hook(partial(enter_layer, places))
            stack.callback(hook.remove)
            stack.callback(layer.register_forward_hook(end, with_kwargs=True).remove)
        yield


@contextmanager
def attached(
    model: Any,
    policy: Policy,
    mode: Mode | str = Mode.FAKE_QUANT,
    *,
    special_ids: Sequence[int] = (),
    calibration: Sequence[Calibration] | None = None,
    fold: bool = True,
    record: bool = False,
) -> Iterator[Session]:
    """Run a model's attention under a policy while the context lasts.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Encoder or decoder.
    policy : Policy
        One layer policy a layer of the model.
    mode : Mode
        ``integer``, ``fake-quant`` or ``float``.
    special_ids : sequence of int
        Special tokens, for policies that protect them.
    calibration : sequence of Calibration, optional
        From :func:`calibrate`, for policies that smooth or center.
    fold : bool
        Put rotations and factors into the weights where a proof shows that to be exact
        (:func:`dtqatten.algorithm.folding.folded`). False conditions at run time.
    record : bool
        Keep what each layer did in :attr:`Session.records`.

    Yields
    ------
    Session
        State and statistics.

    Raises
    ------
    ModelError
        If the model does not attend by transformers' AttentionInterface, or not by self-attention
        once in each layer of one list; in a forward pass, if an argument or mask is not honoured.
    PolicyError
        If policy, mode and model do not fit.
    FoldingError
        If V's rotation cannot be folded; a :class:`PolicyError`.
    ValueError
        If a calibration is missing or of another model, or the model is attached already.
    """
    _check_support(model)
    layers = _layers(model)
    mode = Mode(mode)
    if len(policy.layers) != len(layers):
        raise PolicyError(
            f"the policy has {len(policy.layers)} layers, {type(model).__name__} has "
            f"{len(layers)}: use a policy made for this model"
        )
    if Protect.SPECIAL in policy.protect and not special_ids:
        raise PolicyError("the policy protects special tokens: pass their ids as special_ids")
    if mode is Mode.FLOAT and any(x.values < 1 for x in policy.layers):
        raise PolicyError(
            "the policy prunes V by head (values below 1), which mode float leaves out: use "
            "fake-quant or integer"
        )
    measured = [None] * len(layers) if calibration is None else list(calibration)
    if len(measured) != len(layers):
        raise ValueError(
            f"the calibration has {len(measured)} layers, {type(model).__name__} has "
            f"{len(layers)}: calibrate this model"
        )
    conditioners = [
        Conditioner.make(policy.rotate, policy.smooth, policy.center, m) for m in measured
    ]

    def floating(conditioned: Sequence[Conditioner]) -> AbstractContextManager[None]:
        flat = Policy.flat(len(layers))
        return _running(model, layers, Session(flat, Mode.FLOAT, conditioned))

    with ExitStack() as stack:
        stack.enter_context(_claimed(model))
        shared = len(set(layers)) < len(layers)
        if fold and not shared:  # shared weights cannot hold what differs from layer to layer
            conditioners = stack.enter_context(
                folded(model, layers, conditioners, partial(_dispatched, model, layers), floating)
            )
        name = type(model).__name__
        session = Session(policy, mode, conditioners, special_ids, record, name)
        stack.enter_context(_running(model, layers, session))
        yield session


def calibrate(model: Any, batches: Sequence[dict[str, Tensor]]) -> list[Calibration]:
    """Measure each layer's Q, K and V on batches of the unquantized model.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Encoder or decoder.
    batches : sequence of dict
        Arguments of the model's forward pass.

    Raises
    ------
    ValueError
        If there is no batch.
    """
    layers = len(_layers(model))
    with torch.no_grad(), attached(model, Policy.flat(layers), Mode.FLOAT) as session:
        session.observers = [Observer() for _ in range(layers)]
        for batch in batches:
            model(**batch)
        return [observer.result() for observer in session.observers]
