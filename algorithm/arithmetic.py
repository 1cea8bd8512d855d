"""One attention block on batches of a model: exactly on integers, or fast in PyTorch.

:func:`integer` calls the golden block, :func:`fake_quant` computes the same steps in floating point
(exponentials are real ones, not a table's), and :func:`plain` leaves quantization out. Shapes are
those of transformers: ``[batch, heads, tokens, channels]``; K and V may have fewer heads than Q.
Everything stays on the operands' device; half precision is for the caller to widen first.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dtqatten.configuration.core import CODE_MAX
from dtqatten.golden.numerics import attention as golden
from dtqatten.golden.numerics import codes as golden_codes
from dtqatten.golden.numerics.codes import GAIN_MAX, GAIN_ONE, code_range

__all__ = [
    "Operands",
    "Quantized",
    "Result",
    "fake_quant",
    "integer",
    "least_scale",
    "plain",
    "quantize",
    "quantize_exactly",
    "rescaled",
]

#: Scores that are computed at a time: as many as stay in a core's cache from step to step.
_CHUNK = 1 << 20


class _Straight(torch.autograd.Function):
    """Forward ``exact``, backward to ``value`` as if nothing had been rounded."""

    @staticmethod
    def forward(ctx: object, value: Tensor, exact: Tensor) -> Tensor:
        del ctx, value
        return exact

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        del ctx
        return gradients[0], None


def _straight(value: Tensor, exact: Tensor) -> Tensor:
    """Return ``exact`` with the gradient of ``value`` (straight-through estimator)."""
    if value.requires_grad and torch.is_grad_enabled():
        result: Tensor = _Straight.apply(value, exact.detach())
        return result
    return exact


def _round(value: Tensor) -> Tensor:
    """Round a tensor that nothing else refers to: in its place where no gradient is wanted."""
    if value.requires_grad and torch.is_grad_enabled():
        return _straight(value, value.detach().round())
    return value.round_()


def _four(codes: Tensor, unit: int = 16) -> Tensor:
    """Worth of the highest nibble, as :func:`dtqatten.golden.numerics.codes.four_bit`."""
    half = {16: 8, 256: 136}[unit]
    return _straight(codes, (codes.detach() + half).div_(unit).floor_().mul_(unit))


@dataclass(frozen=True, eq=False)
class Quantized:
    """Balanced codes of Q, K or V.

    Parameters
    ----------
    codes : float tensor ``[batch, heads, n, d]``
        Whole numbers in [-120, 119].
    scale : tensor ``[batch, heads]``
        Worth of one code, at gain 255 where there are gains.
    gains : tensor ``[batch, heads, n]``, optional
        Gain of each token.
    """

    codes: Tensor
    scale: Tensor
    gains: Tensor | None

    @property
    def step(self) -> Tensor:
        """Worth of one code of each token, ``[batch, heads, n or 1, 1]``."""
        unit = self.scale.to(self.codes.dtype)[..., None, None]
        return unit if self.gains is None else unit * (self.gains[..., None] / GAIN_MAX)

    def worth(self, bits: Tensor | None) -> Tensor:
        """Codes at precision 4 or 8 (``[batch, n]``); None is 8 everywhere."""
        if bits is None:
            return self.codes
        eight = bits == 8
        if eight.all():
            return self.codes
        four = _four(self.codes)
        return four if not eight.any() else torch.where(eight[:, None, :, None], self.codes, four)

    def part(self, row: slice, heads: slice) -> "Quantized":
        """Codes of some sequences and heads."""
        gains = None if self.gains is None else self.gains[row, heads]
        return Quantized(self.codes[row, heads], self.scale[row, heads], gains)

    def numpy(self, heads: int) -> golden_codes.Codes:
        """Codes for the golden block, heads repeated to ``heads``."""

        def spread(x: Tensor) -> np.ndarray:
            return np.repeat(x.detach().cpu().numpy(), heads // x.shape[1], axis=1)

        return golden_codes.Codes(
            spread(self.codes).astype(np.int8),
            spread(self.scale).astype(np.float64),
            None if self.gains is None else spread(self.gains).astype(np.uint8),
        )


@dataclass(frozen=True, eq=False)
class Operands:
    """What a block computes on.

    Parameters
    ----------
    q, k, v : Quantized
        Operands, V and K with as many heads as divide Q's.
    q_bits, k_bits : tensor ``[batch, n_q]``, ``[batch, n_k]``
        4 or 8; what is pruned is left out by ``visible``.
    v_bits : tensor ``[batch, n_k]``
        The same for V.
    visible : bool tensor ``[batch, 1, n_q or 1, n_k]``, optional
        Which keys a query sees; None is all.
    scaling : float
        Factor of the scores.
    p_planes : int
    p_follows_token, p_follows_query : bool
        As in :class:`dtqatten.golden.numerics.attention.Options`.
    values : float
        Share of visible keys whose V each head fetches.
    threshold : float, optional
        Rows whose largest probability in 4 bits is below it are computed again in 8.
    queries : tensor ``[batch, n_q]``
        1 for queries that count for importance, 0 for pruned and padding ones.
    per_query : bool
        Choose V to fetch by probability per query that sees the key, not in all.
    """

    q: Quantized
    k: Quantized
    v: Quantized
    q_bits: Tensor
    k_bits: Tensor
    v_bits: Tensor
    visible: Tensor | None
    scaling: float
    queries: Tensor
    p_planes: int = 2
    p_follows_token: bool = False
    p_follows_query: bool = False
    values: float = 1.0
    threshold: float | None = None
    per_query: bool = False

    def part(self, row: slice, shared: slice) -> "Operands":
        """Operands of some sequences and some heads of K and V, with the heads of Q on them."""
        group = self.q.codes.shape[1] // self.k.codes.shape[1]
        heads = slice(shared.start * group, shared.stop * group)
        return dataclasses.replace(
            self,
            q=self.q.part(row, heads),
            k=self.k.part(row, shared),
            v=self.v.part(row, shared),
            q_bits=self.q_bits[row],
            k_bits=self.k_bits[row],
            v_bits=self.v_bits[row],
            visible=None if self.visible is None else self.visible[row],
            queries=self.queries[row],
        )

    def parts(self, most: int) -> Iterator[Iterator["Operands"]]:
        """Yield for each group of sequences its groups of heads, of at most ``most`` scores each.

        One head of K and V of one sequence, however large, stays whole.
        """
        batch, shared, n_k = self.k.codes.shape[:3]
        single = self.q.codes.shape[1] // shared * self.q.codes.shape[2] * n_k
        heads = min(max(most // single, 1), shared)
        rows = max(most // (single * shared), 1)
        for row in range(0, batch, rows):
            yield (
                self.part(slice(row, row + rows), slice(head, min(head + heads, shared)))
                for head in range(0, shared, heads)
            )


@dataclass(frozen=True, eq=False)
class Result:
    """What a block gives.

    Parameters
    ----------
    output : tensor ``[batch, heads, n_q, d]``
    importance : tensor ``[batch, heads, n_k]``, optional
        Probability that each key drew from the queries that count.
    again : bool tensor ``[batch, heads, n_q]``, optional
        Rows that were computed a second time, in 8 bits.
    fetched : bool tensor ``[batch, heads, n_k]``, optional
        Keys whose V was fetched; None is all visible ones.
    """

    output: Tensor
    importance: Tensor | None
    again: Tensor | None = None
    fetched: Tensor | None = None

    @classmethod
    def join(cls, parts: Sequence["Result"], axis: int) -> "Result":
        """Put parts together along an axis: 0 for sequences, 1 for heads."""
        if len(parts) == 1:
            return parts[0]

        def joined(name: str) -> Tensor | None:
            found = [getattr(part, name) for part in parts]
            return None if found[0] is None else torch.cat(found, axis)

        return cls(
            torch.cat([part.output for part in parts], axis),
            joined("importance"),
            joined("again"),
            joined("fetched"),
        )


def least_scale(dtype: torch.dtype) -> float:
    """Smallest scale: small enough to round nothing that matters, and its inverse is finite.

    A token's step is at least a 255th of it.
    """
    return torch.finfo(dtype).tiny * (GAIN_MAX + 1)


def quantize(
    x: Tensor, keep: Tensor | None, per_token: bool, scale: Tensor | None = None
) -> Quantized:
    """Quantize as :func:`dtqatten.golden.numerics.codes.quantize`, in the tensor's own precision.

    Parameters
    ----------
    x : tensor ``[batch, heads, n, d]``
        Values.
    keep : bool tensor ``[batch, n]``, optional
        Tokens that the scale must hold; the others' codes are clipped and without meaning.
    per_token : bool
        Give each token a gain.
    scale : tensor ``[batch, heads]``, optional
        Scale fixed beforehand; what does not fit is clipped.
    """
    with torch.no_grad():
        largest = x.abs().amax(-1)
        if keep is not None:
            largest = largest * keep[:, None, :]
        if scale is None:
            head = largest.amax(-1)
            least = least_scale(x.dtype)
            scale = torch.where(head > 0, (head / CODE_MAX).clamp_min(least), 1.0)
        gains = None
        step = scale[..., None]
        if per_token:
            limit = (scale * CODE_MAX)[..., None]
            # The quotient of equals is 1 exactly only up to rounding of the division by 119.
            gains = (largest / limit * (GAIN_MAX * (1 - 1e-6))).ceil().clamp_(1, GAIN_MAX)
            step = step * (gains / GAIN_MAX)
        inverse = step.reciprocal()[..., None]
    return Quantized(_round(x * inverse).clamp(-CODE_MAX, CODE_MAX), scale, gains)


def quantize_exactly(
    x: Tensor, keep: Tensor | None, per_token: bool, scale: Tensor | None = None
) -> Quantized:
    """Quantize with the golden model; the same contract as :func:`quantize`."""
    kind = golden_codes.Granularity.TOKEN if per_token else golden_codes.Granularity.HEAD
    values = x if keep is None else x * keep[:, None, :, None]
    if scale is not None:
        limit = (scale * CODE_MAX)[..., None, None]
        values = values.clamp(-limit, limit)
    made = golden_codes.quantize(
        values.detach().cpu().double().numpy(),
        kind,
        scale=None if scale is None else scale.cpu().double().numpy(),
    )
    return Quantized(
        torch.from_numpy(made.codes.astype(np.float32)).to(x.device),
        torch.from_numpy(np.array(made.scale)).to(x.device),
        None
        if made.gains is None
        else torch.from_numpy(made.gains.astype(np.float32)).to(x.device),
    )


def rescaled(held: Quantized, scale: Tensor) -> Quantized:
    """Codes at scales that are as large or larger, for a cache that a larger token joins.

    Gains become ``ceil(gain * old / new)``, codes ``round(code * old step / new step)``, ties to
    even: integers times one ratio a head or token, computed in float64 in either mode.

    Parameters
    ----------
    held : Quantized
        Codes of a cache.
    scale : tensor ``[batch, heads]``
        New scales, none below the old.
    """
    ratio = held.scale.double() / scale.double()
    if bool((ratio == 1).all()):
        return held
    gains, step = None, ratio[..., None]
    if held.gains is not None:
        old = held.gains.double()
        gains = (old * step).ceil().clamp(1, GAIN_MAX)
        step = step * old / gains
    codes = (held.codes.double() * step[..., None]).round()
    return Quantized(
        codes.to(held.codes.dtype),
        scale,
        None if gains is None or held.gains is None else gains.to(held.gains.dtype),
    )


def _scores(q: Tensor, k: Tensor) -> Tensor:
    """``Q K^T`` with K shared by groups of heads."""
    b, h, n, d = q.shape
    kv = k.shape[1]
    return (q.reshape(b, kv, h // kv * n, d) @ k.transpose(-1, -2)).view(b, h, n, k.shape[2])


def _combine(p: Tensor, v: Tensor) -> Tensor:
    b, h, n, keys = p.shape
    kv = v.shape[1]
    return (p.reshape(b, kv, h // kv * n, keys) @ v).view(b, h, n, v.shape[-1])


def _spread(x: Tensor, heads: int) -> Tensor:
    """Repeat the head axis (1) to ``heads``."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def _positive(x: Tensor) -> Tensor:
    """Keep a sum of a row that sees nothing away from a division by zero."""
    return x.clamp_min(torch.finfo(x.dtype).tiny)


def _exponentials(scores: Tensor, visible: Tensor | None) -> Tensor:
    """Exponentials relative to the row maximum, in the place of the scores."""
    if visible is not None:
        scores.masked_fill_(~visible, -torch.inf)
    top = scores.detach().amax(-1, keepdim=True)
    top = top.clamp_min(torch.finfo(scores.dtype).min)
    return scores.sub_(top).exp_()


def _drawn(e: Tensor, total: Tensor, queries: Tensor) -> Tensor:
    """Column sums of probabilities over the queries that count, ``[batch, heads, n_k]``."""
    with torch.no_grad():
        weights = queries[:, None, None, :] / _positive(total.transpose(-1, -2))
        return (weights @ e).squeeze(-2)


def _fetched(drawn: Tensor, op: Operands) -> Tensor:
    """Keys of largest probability in each head: ``ceil(values * visible keys)`` of them."""
    visible = op.visible
    if op.per_query and visible is not None and visible.shape[-2] > 1:
        rows = op.queries[:, None, :, None].to(drawn)
        drawn = drawn / (visible * rows).sum(-2).clamp_min(1)
    if visible is None:
        count = torch.full(drawn.shape[:1], drawn.shape[-1], device=drawn.device)
    else:
        count = visible.any(-2)[:, 0].sum(-1)
    keep = (count * op.values).ceil().clamp_min(1)[:, None, None]
    order = drawn.argsort(dim=-1, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank.scatter_(-1, order, torch.arange(drawn.shape[-1], device=drawn.device).expand_as(order))
    return rank < keep


def plain(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visible: Tensor | None,
    scaling: float,
    queries: Tensor,
) -> Result:
    """Attention in floating point, with importance; nothing is quantized."""
    e = _exponentials(_scores(q, k) * scaling, visible)
    total = e.sum(-1, keepdim=True)
    output = _combine(e, v) / _positive(total)
    return Result(output, _drawn(e, total, queries))


def fake_quant(op: Operands, *, ranked: bool = True) -> Result:
    """Compute a block in PyTorch as the integer block would.

    Codes, gains and narrowed weights are rounded like the machine's; exponentials are exact. Every
    rounding passes gradients straight through. Heads are independent, so that they are computed
    few at a time, which is faster than all at once where sequences are long.

    Parameters
    ----------
    op : Operands
        Operands.
    ranked : bool
        Whether importance is wanted.
    """
    rows = ([_fake_quant(part, ranked) for part in heads] for heads in op.parts(_CHUNK))
    return Result.join([Result.join(row, 1) for row in rows], 0)


def _fake_quant(op: Operands, ranked: bool) -> Result:
    """Compute some heads of some sequences."""
    heads = op.q.codes.shape[1]
    # Scores carry the steps as row and column factors of the operands.
    qs, ks = op.q.step * op.scaling, op.k.step
    again = None
    if op.threshold is not None:
        coarse = _scores(_four(op.q.codes) * qs, _four(op.k.codes) * ks)
        e = _exponentials(coarse, op.visible)
        again = e.sum(-1) * op.threshold > 1  # the row maximum has e = 1
        if again.any():
            fine = _scores(op.q.codes * qs, op.k.codes * ks)
            e = torch.where(again[..., None], _exponentials(fine, op.visible), e)
    else:
        scores = _scores(op.q.worth(op.q_bits) * qs, op.k.worth(op.k_bits) * ks)
        e = _exponentials(scores, op.visible)
    total = e.sum(-1, keepdim=True)
    drawn = _drawn(e, total, op.queries) if ranked or op.values < 1 else None

    top = code_range(op.p_planes)[1]
    if op.v.gains is None:
        p = _round(e * top)
    else:
        gained = e * (_spread(op.v.gains, heads) / GAIN_ONE)[:, :, None, :]
        # The machine's lead: the power of two that brings the row's largest weight to 24 bits.
        lead = -torch.frexp(_positive(gained.detach().amax(-1, keepdim=True)))[1]
        lead = torch.ldexp(torch.ones_like(total), lead.clamp_(0, 8))
        p = _round(gained.mul_(lead * top))
    low = torch.zeros((), dtype=torch.bool, device=p.device)
    if op.p_follows_token:
        low = low | (op.v_bits == 4)[:, None, None, :]
    if op.p_follows_query:
        low = low | ((op.q_bits == 4)[:, None] if again is None else ~again)[..., None]
    if low.any():
        narrow = _four(p, 16 if op.p_planes == 2 else 256)
        p = narrow if low.all() else torch.where(low, narrow, p)
    divisor = p.sum(-1, keepdim=True) if op.v.gains is None else total * lead * top

    fetched = None
    if op.values < 1 and drawn is not None:
        fetched = _fetched(drawn, op)
        p = p * fetched[:, :, None, :]
    unit = op.v.scale if op.v.gains is None else op.v.scale * (GAIN_ONE / GAIN_MAX)
    factor = _spread(unit.to(p.dtype), heads)[..., None, None] / _positive(divisor)
    output = _combine(p, op.v.worth(op.v_bits)) * factor
    return Result(output, drawn, again, fetched)


def integer(op: Operands, *, ranked: bool = True) -> Result:
    """Compute a block with :func:`dtqatten.golden.numerics.attention.attention`, bit for bit.

    Heads become part of the batch, because local V pruning gives each its own keys.

    Parameters
    ----------
    op : Operands
        Operands.
    ranked : bool
        Taken for symmetry; importance is always computed.
    """
    del ranked
    b, heads, n_q = op.q.codes.shape[:3]
    n_k = op.k.codes.shape[2]
    q, k, v = (_single(x.numpy(heads)) for x in (op.q, op.k, op.v))
    seen = torch.ones((), dtype=torch.bool, device="cpu") if op.visible is None else op.visible
    mask = seen.expand(b, heads, n_q, n_k).cpu().numpy()
    device = op.q.codes.device
    options = golden.Options(
        p_planes=op.p_planes,
        p_follows_token=op.p_follows_token,
        p_follows_query=op.p_follows_query,
        softmax_scale=op.scaling,
    )

    def per_head(bits: Tensor) -> np.ndarray:
        return np.repeat(bits.cpu().numpy().astype(np.uint8)[:, None], heads, axis=1)

    def run(q_bits: np.ndarray, k_bits: np.ndarray, v_bits: np.ndarray) -> golden.Outputs:
        return golden.attention(golden.Inputs(q, k, v, q_bits, k_bits, v_bits, mask), options)

    v_bits = per_head(op.v_bits)
    again = None
    q_bits, k_bits = per_head(op.q_bits), per_head(op.k_bits)
    if op.threshold is None:
        out = run(q_bits, k_bits, v_bits)
        probability = out.probability[:, :, 0]
    else:
        # First all in 4 bits, then all in 8: rows are independent, so either can be taken.
        out = run(np.full_like(q_bits, 4), np.full_like(k_bits, 4), v_bits)
        fine = run(np.full_like(q_bits, 8), np.full_like(k_bits, 8), v_bits)
        probability = out.probability[:, :, 0]
        again = probability.max(-1) < op.threshold * 2**16
        probability = np.where(again[..., None], fine.probability[:, :, 0], probability)
    queries = op.queries.cpu().numpy()[:, None, :, None] > 0
    drawn = torch.from_numpy((probability * queries).sum(-2) / 2**16).to(device)
    fetched = None
    if op.values < 1:
        fetched = _fetched(drawn, op)
        v_bits = np.where(fetched.cpu().numpy(), v_bits, 0)
        if again is None:
            out = run(q_bits, k_bits, v_bits)
        else:
            out = run(np.full_like(q_bits, 4), np.full_like(k_bits, 4), v_bits)
            fine = run(np.full_like(q_bits, 8), np.full_like(k_bits, 8), v_bits)
    values = out.values[:, :, 0]
    if again is not None:
        values = np.where(again[..., None], fine.values[:, :, 0], values)
    return Result(
        torch.from_numpy(values).to(device),
        drawn,
        None if again is None else torch.from_numpy(again).to(device),
        fetched,
    )


def _single(codes: golden_codes.Codes) -> golden_codes.Codes:
    """Make every head a batch element of one head."""
    return golden_codes.Codes(
        codes.codes[:, :, None],
        codes.scale[:, :, None],
        None if codes.gains is None else codes.gains[:, :, None],
    )
