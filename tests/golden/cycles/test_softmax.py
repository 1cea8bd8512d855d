"""The cycle model of the softmax unit: what it streams is what the golden functions compute."""

import numpy as np
import pytest

from dtqatten.configuration.core import Config
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.codes import apply_gain
from dtqatten.golden.numerics.masks import causal_mask
from dtqatten.golden.numerics.narrowing import narrow
from dtqatten.golden.numerics.weights import WeightCode
from dtqatten.sim.lockstep.softmax import SoftmaxLockstep, random_softmax_head

CONFIG = Config(rows=3, cols=4, depth=8, d_head=16, n_max=30)


@pytest.mark.parametrize("v_gains", [False, True])
@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("planes", [2, 3])
def test_streams_whole_heads_bit_for_bit(planes: int, unsigned: bool, v_gains: bool) -> None:
    rng = np.random.default_rng(planes)
    config = CONFIG.replace(planes=planes, unsigned_weights=unsigned, v_gains=v_gains)
    code = WeightCode(planes, unsigned)
    heads = [random_softmax_head(CONFIG, rng) for _ in range(30)]
    bench = SoftmaxLockstep(config, heads, stall=0.3)
    while not bench.done:
        bench.check(bench.expected())
        bench.clock()
    streams = {name: iter([b for _, b in beats]) for name, beats in bench.taken.items()}
    for head in heads:
        n_q, n_k = head.scores.shape
        got = {name: np.zeros((n_q, n_k), dtype=int) for name in ("weights", "probabilities")}
        for name, matrix in got.items():
            for top in range(0, n_q, CONFIG.rows):
                for left in range(0, n_k, CONFIG.cols):
                    keys = min(CONFIG.cols, n_k - left)
                    for r in range(top, min(top + CONFIG.rows, n_q)):
                        row = next(streams[name])
                        matrix[r, left : left + keys] = row.values[:keys]
                        assert row.keys == keys
                        assert not row.values[keys:].any()
                        assert row.last_row == (r + 1 in (n_q, top + CONFIG.rows))
                        assert row.last_tile == (left + CONFIG.cols >= n_k)
                        assert row.last_block == (top + CONFIG.rows >= n_q)
        records = [next(streams["records"]) for _ in range(n_q)]

        gains = np.array([key.gain for key in head.keys])
        ids = [np.array([token.id for token in side]) for side in (head.queries, head.keys)]
        seen = causal_mask(*ids) if head.factor.causal else np.ones((n_q, n_k), bool)
        factor = softmax.Multiplier(np.array([head.factor.multiplier]), np.array([0]))
        queries = np.array([[query.gain for query in head.queries]])
        t, _ = softmax.exponent(
            apply_gain(head.scores, gains)[None],
            softmax.row_multiplier(factor, queries, n_q),
            np.array([head.factor.shift]),
            seen,
        )
        e16 = softmax.exponential(t, seen)
        values = np.array([[key.value_gain for key in head.keys]]) if v_gains else None
        bits = np.array([4 if key.narrow else 8 for key in head.keys])
        query_bits = np.array([4 if query.narrow else 8 for query in head.queries])
        narrowed = narrow(e16, values, code=code, bits=bits, query_bits=query_bits)
        mantissa, exponent = softmax.reciprocal(narrowed.divisor)
        assert (got["weights"] == narrowed.p[0]).all()
        assert (got["probabilities"] == softmax.normalized(e16)[0]).all()
        assert [r.divisor for r in records] == narrowed.divisor[0].tolist()
        assert [r.lead for r in records] == narrowed.lead[0].tolist()
        assert [r.mantissa for r in records] == mantissa[0].tolist()
        assert [r.exponent for r in records] == exponent[0].tolist()
        assert {r.output for r in records} == {head.factor.output}
