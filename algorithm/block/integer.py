"""The golden block on tensors, bit for bit."""

import numpy as np
import torch

from dtqatten.algorithm.block.local_values import tiles_of
from dtqatten.algorithm.block.operands import Operands, Result, rows_multiplied
from dtqatten.golden.numerics import attention as golden
from dtqatten.golden.numerics.local_values import SHARE_ALL, multiplied
from dtqatten.golden.numerics.narrowing import Narrowed
from dtqatten.golden.numerics.output import OUTPUT_FRACTION, normalize
from dtqatten.golden.numerics.products import weighted_sum
from dtqatten.golden.numerics.progressive import flat_sum
from dtqatten.golden.numerics.segments import equal_cuts

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
    out = block.run()
    weights, values = out.weights, out.values
    queries = op.queries.cpu().numpy()[:, None, :, None] > 0
    drawn = torch.from_numpy((out.probability * queries).sum(-2) / 2**16).to(device)
    again = None if out.trial is None else torch.from_numpy(out.trial.again).to(device)
    used = None
    if op.value_share < SHARE_ALL:
        some = multiplied(weights.p, op.value_share, tiles_of(op))
        values = block.output(weights.p * some, weights)
        used = rows_multiplied(op, torch.from_numpy(some).to(device))
    unit = torch.from_numpy(out.output_unit).to(device)
    return Result(torch.from_numpy(values).to(device), drawn, again, used, unit)


class _Golden:
    """The golden block on some operands.

    Parameters
    ----------
    op : Operands
        Operands.
    """

    def __init__(self, op: Operands) -> None:
        batch, heads, n_q = op.q.codes.shape[:3]
        n_k = op.k.codes.shape[2]
        self._q, self._k, self._v = (x.numpy(heads) for x in (op.q, op.k, op.v))
        seen = torch.ones((), dtype=torch.bool, device="cpu") if op.visible is None else op.visible
        self._mask = seen.expand(batch, 1, n_q, n_k)[:, 0].cpu().numpy()
        self._options = golden.Options(
            p_planes=op.p_planes,
            unsigned_weights=op.unsigned_weights,
            block_exponents=op.block_exponents,
            signed_gains=op.signed_gains,
            p_follows_token=op.p_follows_token,
            p_follows_query=op.p_follows_query,
            softmax_scale=op.scaling,
            flat_sum=None if op.threshold is None else flat_sum(op.threshold),
        )
        self._rest = op.terms.golden((batch, heads, n_q, n_k))
        # Row blocks and thresholds choose by the weights of a whole row.
        if op.value_share == SHARE_ALL and op.threshold is None:
            self._rest["cuts"] = equal_cuts(n_k)
        if op.threshold is not None or op.block_exponents:
            self._rest["tiling"] = tiles_of(op)
        self._bits = [x.cpu().numpy().astype(np.uint8) for x in (op.q_bits, op.k_bits, op.v_bits)]

    def run(self) -> golden.Outputs:
        """Compute the block."""
        q_bits, k_bits, v_bits = self._bits
        inputs = golden.Inputs(
            self._q, self._k, self._v, q_bits, k_bits, v_bits, self._mask, **self._rest
        )
        return golden.attention(inputs, self._options)

    def output(self, p: np.ndarray, weights: Narrowed) -> np.ndarray:
        """Return values of the output of some weights, divided as all of them are."""
        sums = weighted_sum(p, self._v.codes, self._bits[2])
        unit = self._v.unit / (1 << OUTPUT_FRACTION)
        return normalize(sums, weights) * unit[..., None, None]
