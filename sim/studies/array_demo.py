"""The demo: a real layer's scores through the RTL, equal to the golden model in every cycle."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.agreement import Agreement, compare, rank_agreement
from dtqatten.golden.cycles.tile_costs import head_cycles, tile_costs
from dtqatten.golden.cycles.tiles import row_places
from dtqatten.golden.numerics.attention import Inputs, attention
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.order import Order
from dtqatten.golden.numerics.reference import reference
from dtqatten.golden.traces.trace import Trace
from dtqatten.sim.lockstep.runs import build_array
from dtqatten.sim.lockstep.score_array import Lockstep
from dtqatten.sim.regression.scenarios import trace_heads

__all__ = ["HeadResult", "block_accuracy", "run_trace"]


@dataclass(frozen=True, eq=False)
class HeadResult:
    """One head's scores from the RTL.

    Attributes
    ----------
    scores, exact : array of float64, [n, n]
        The RTL's scores in softmax units, and ``Q @ K.T / sqrt(d)`` of the unquantized operands.
    cycles : int
        From the first operands in the array to the last score, all tokens loaded.
    utilization : float
        Useful nibble products over those that the PEs could do in that time.
    """

    scores: NDArray[np.float64]
    exact: NDArray[np.float64]
    cycles: int
    utilization: float

    @property
    def cosine(self) -> float:
        """Cosine similarity of the scores with the exact ones."""
        norms = np.linalg.norm(self.scores) * np.linalg.norm(self.exact)
        return float((self.scores * self.exact).sum() / norms)

    @property
    def max_error(self) -> float:
        """Largest error of a score, softmax units."""
        return float(np.abs(self.scores - self.exact).max())


def run_trace(
    config: Config, trace: Trace, progress: Callable[[float], None]
) -> tuple[int, list[HeadResult]]:
    """Stream all heads of a trace, aligned, through the RTL beside the cycle model.

    Parameters
    ----------
    config : Config
    trace : Trace
    progress : callable
        Told the share done.

    Returns
    -------
    int
        Clock edges on which every output, accumulator and counter was equal to the model's.
    list of HeadResult

    Raises
    ------
    MismatchError
        If the RTL differs from the cycle model in any cycle.
    ValueError
        If the trace does not fit the configuration.
    """
    heads = trace_heads(config, trace, Order.ALIGNED)
    lockstep = Lockstep(config, heads)
    build_array(config).run(lockstep, lambda: progress(len(lockstep.rows) / lockstep.expected_rows))

    q, k, _ = (array.astype(np.float64) for array in trace.gathered())
    unit = quantize(q).unit * quantize(k).unit / math.sqrt(config.d_head)
    rows = iter(lockstep.rows)
    results = []
    for i, head in enumerate(heads):
        scores = np.zeros((len(head.q), len(head.k)))
        for row, tile in row_places(config, *scores.shape):
            taken = next(rows)
            scores[row, tile : tile + taken.keys] = taken.values[: taken.keys]
        cycles = head_cycles(config, head.q_wide, head.k_wide)
        busy = tile_costs(config, head.q_wide, head.k_wide).busy.sum()
        results.append(
            HeadResult(
                scores * unit[i],
                q[i] @ k[i].T / math.sqrt(config.d_head),
                cycles,
                float(busy / (config.rows * config.cols * cycles)),
            )
        )
    return lockstep.compared, results


def block_accuracy(trace: Trace) -> tuple[Agreement, dict[float, float]]:
    """Compare the integer block, at the trace's precisions, with float64 attention.

    Returns
    -------
    Agreement
        Of the outputs, head by head.
    dict of float
        By share of the tokens: how many of the most important ones are the same in both.
    """
    q, k, v = trace.gathered()
    bits = trace.bits
    inputs = Inputs(quantize(q), quantize(k), quantize(v), bits, bits, bits)
    out, exact = attention(inputs), reference(q, k, v)
    shares = {
        share: rank_agreement(out.importance, exact.importance, share) for share in (0.31, 0.72)
    }
    return compare(out, exact), shares
