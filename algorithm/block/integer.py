"""The golden block on tensors, bit for bit."""

import numpy as np
import torch
from torch import Tensor

from dtqatten.algorithm.block.fetching import fetched
from dtqatten.algorithm.block.operands import Operands, Result
from dtqatten.golden.numerics import attention as golden
from dtqatten.golden.numerics.codes import Codes

__all__ = ["integer"]


def integer(op: Operands, *, ranked: bool = True) -> Result:
    """Compute a block with :func:`dtqatten.golden.numerics.attention.attention`, bit for bit.

    Parameters
    ----------
    op : Operands
        Operands.
    ranked : bool
        Taken for symmetry; importance is always computed.
    """
    del ranked
    device = op.q.codes.device
    block = _Golden(op)
    v_bits = block.v_bits
    fine = again = None
    # A progressive block: first all in 4 bits, then all in 8. Rows are independent, so that either
    # can be taken.
    first = None if op.threshold is None else 4
    out = block.run(v_bits, first)
    probability = out.probability[:, :, 0]
    if op.threshold is not None:
        fine = block.run(v_bits, 8)
        again = probability.max(-1) < op.threshold * 2**16
        probability = np.where(again[..., None], fine.probability[:, :, 0], probability)
    queries = op.queries.cpu().numpy()[:, None, :, None] > 0
    drawn = torch.from_numpy((probability * queries).sum(-2) / 2**16).to(device)
    kept = None
    if op.values < 1:
        kept = fetched(drawn, op)
        v_bits = np.where(kept.cpu().numpy(), v_bits, 0)
        out = block.run(v_bits, first)
        fine = None if again is None else block.run(v_bits, 8)
    values = out.values[:, :, 0]
    if again is not None and fine is not None:
        values = np.where(again[..., None], fine.values[:, :, 0], values)
    return Result(
        torch.from_numpy(values).to(device),
        drawn,
        None if again is None else torch.from_numpy(again).to(device),
        kept,
    )


class _Golden:
    """The golden block on some operands.

    Heads become part of the batch, because local V pruning gives each its own keys.

    Parameters
    ----------
    op : Operands
        Operands.

    Attributes
    ----------
    q_bits, k_bits, v_bits : uint8 array ``[batch, heads, n]``
        Precisions, the same for all heads.
    """

    def __init__(self, op: Operands) -> None:
        batch, self._heads, n_q = op.q.codes.shape[:3]
        n_k = op.k.codes.shape[2]
        self._operands = [_single(x.numpy(self._heads)) for x in (op.q, op.k, op.v)]
        seen = torch.ones((), dtype=torch.bool, device="cpu") if op.visible is None else op.visible
        self._mask = seen.expand(batch, self._heads, n_q, n_k).cpu().numpy()
        self._options = golden.Options(
            p_planes=op.p_planes,
            p_follows_token=op.p_follows_token,
            p_follows_query=op.p_follows_query,
            softmax_scale=op.scaling,
        )
        self.q_bits, self.k_bits, self.v_bits = map(
            self._per_head, (op.q_bits, op.k_bits, op.v_bits)
        )

    def _per_head(self, bits: Tensor) -> np.ndarray:
        return np.repeat(bits.cpu().numpy().astype(np.uint8)[:, None], self._heads, axis=1)

    def run(self, v_bits: np.ndarray, bits: int | None) -> golden.Outputs:
        """Compute with queries and keys all in ``bits``, or each in its own where it is None."""
        q_bits, k_bits = self.q_bits, self.k_bits
        if bits is not None:
            q_bits, k_bits = np.full_like(q_bits, bits), np.full_like(k_bits, bits)
        q, k, v = self._operands
        inputs = golden.Inputs(q, k, v, q_bits, k_bits, v_bits, self._mask)
        return golden.attention(inputs, self._options)


def _single(codes: Codes) -> Codes:
    """Make every head a batch element of one head."""
    return Codes(
        codes.codes[:, :, None],
        codes.scale[:, :, None],
        None if codes.gains is None else codes.gains[:, :, None],
    )
