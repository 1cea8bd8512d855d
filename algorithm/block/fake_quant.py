"""The integer block's steps in PyTorch: fast, batched and differentiable.

Codes, gains and narrowed weights are rounded like the machine's; exponentials are real ones, not a
table's. Everything stays on the operands' device; half precision is for the caller to widen first.
"""

import torch
from torch import Tensor

from dtqatten.algorithm.block.local_values import chosen, tiles_of
from dtqatten.algorithm.block.operands import Operands, Result, narrow_rows, rows_multiplied
from dtqatten.algorithm.block.rounding import four_bit, highest, rounded
from dtqatten.algorithm.block.steps import (
    combine,
    drawn,
    exponentials,
    largest,
    positive,
    scores,
    spread,
)
from dtqatten.configuration.limits import EXPONENT_MAX
from dtqatten.golden.numerics.codes import GAIN_MAX, GAIN_ONE
from dtqatten.golden.numerics.progressive import flat_with_block

__all__ = ["fake_quant"]

#: Scores that are computed at a time: as many as stay in a core's cache from step to step.
_CHUNK = 1 << 20


def fake_quant(op: Operands, *, ranked: bool = True) -> Result:
    """Compute a block in PyTorch as the integer block would.

    Every rounding passes gradients straight through. Heads are independent, so that they are
    computed few at a time, which is faster than all at once where sequences are long.

    Parameters
    ----------
    op : Operands
        Operands.
    ranked : bool
        Whether importance is wanted.
    """
    rows = ([_part(part, ranked) for part in heads] for heads in op.parts(_CHUNK))
    return Result.join([Result.join(row, 1) for row in rows], 0)


def _part(op: Operands, ranked: bool) -> Result:
    """Compute some heads of some sequences."""
    heads = op.q.codes.shape[1]
    e, again, share = _unnormalized(op)
    total = e.sum(-1, keepdim=True)
    if share is not None:
        total = total + share
    column = drawn(e, total, op.queries) if ranked else None
    p, divisor = _weights(op, e, total)
    if share is not None and op.v.gains is None:
        divisor = divisor + share * op.weight_code.top
    some = chosen(p, op)
    if some is not None:
        p = p * some
    unit = op.v.scale if op.v.gains is None else op.v.scale * (GAIN_ONE / GAIN_MAX)
    factor = spread(unit.to(p.dtype), heads)[..., None, None] / positive(divisor)
    output = combine(p, op.v.worth(op.v_bits)) * factor
    return Result(output, column, again, None if some is None else rows_multiplied(op, some))


def _unnormalized(op: Operands) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Exponentials; the rows ``[batch, heads, n_q]`` of a progressive block computed again; sinks.

    Sinks are ``[batch, heads, n_q, 1]``, relative to the rows' maxima. A progressive block has
    scores without terms of the model (:func:`dtqatten.algorithm.session.blocks.compute`).
    """
    # Scores carry the steps as row and column factors of the operands.
    qs, ks = op.q.step * op.scaling, op.k.step
    if op.threshold is None:
        own = op.terms.applied(scores(op.q.worth(op.q_bits) * qs, op.k.worth(op.k_bits) * ks))
        share = None
        if op.terms.sinks is not None:
            share = op.terms.share(largest(own.detach(), op.visible))
        return exponentials(own, op.visible), None, share
    q = op.q.worth(op.q_bits) * qs
    e = exponentials(op.terms.applied(scores(q, four_bit(op.k.codes) * ks)), op.visible)
    flat = (e.detach().sum(-1) * op.threshold > 1).cpu().numpy()  # the row maximum has e = 1
    again = torch.from_numpy(flat_with_block(flat, tiles_of(op).blocks)).to(e.device)
    if again.any():
        fine = exponentials(op.terms.applied(scores(q, op.k.codes * ks)), op.visible)
        e = torch.where(again[..., None], fine, e)
    return e, again, None


def _weights(op: Operands, e: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of P x V as whole numbers, with fraction bits if there are, and each row's divisor.

    Parameters
    ----------
    op : Operands
        Operands.
    e : tensor ``[batch, heads, n_q, n_k]``
        Exponentials.
    total : tensor ``[batch, heads, n_q, 1]``
        Their sums.
    """
    code = op.weight_code
    top = code.top
    if op.v.gains is None:
        weights = e
    else:
        weights = e * (spread(op.v.gains, e.shape[1]) / GAIN_ONE)[:, :, None, :]
        # The machine's lead: the power of two that brings the row's largest weight to 24 bits.
        lead = -torch.frexp(positive(weights.detach().amax(-1, keepdim=True)))[1]
        lead = torch.ldexp(torch.ones_like(total), lead.clamp_(0, 8))
        weights = weights.mul_(lead)
    raised = _raised(op, weights.detach()) if code.exponents else None
    p = rounded(weights * (top if raised is None else raised * top))
    low = torch.zeros((), dtype=torch.bool, device=p.device)
    if op.p_follows_token:
        low = low | (op.v_bits == 4)[:, None, None, :]
    if op.p_follows_query:
        low = low | narrow_rows(op)[..., None]
    if low.any():
        narrow = highest(p, code)
        p = narrow if low.all() else torch.where(low, narrow, p)
    one = 1 << code.fraction
    if raised is not None:
        p = p * (one / raised)
    return p, p.sum(-1, keepdim=True) if op.v.gains is None else total * lead * (top * one)


def _raised(op: Operands, weights: Tensor) -> Tensor:
    """Powers of two that the exponents of tiles scale weights up by, for each weight.

    Parameters
    ----------
    op : Operands
        Operands.
    weights : tensor ``[batch, heads, n_q, n_k]``
        0 to 1, a row's largest at least 1/2.
    """
    numbers = torch.from_numpy(tiles_of(op).tiles).to(weights.device)
    # Keys of no tile are seen by no query that counts: they have one of their own.
    at = (numbers + 1)[:, None, None].expand_as(weights)
    largest = weights.new_zeros((*weights.shape[:-1], int(numbers.max()) + 2))
    largest = largest.scatter_reduce_(-1, at, weights, "amax")
    zeros = (-torch.frexp(positive(largest))[1]).clamp_(0, EXPONENT_MAX)
    return torch.ldexp(torch.ones_like(largest), zeros).gather(-1, at)
