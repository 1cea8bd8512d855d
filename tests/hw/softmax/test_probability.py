"""One lane of the probabilities, against the golden softmax."""

import numpy as np

from dtqatten import PRESETS
from dtqatten.golden.numerics import softmax
from dtqatten.hw.payloads.sums import EXPONENTIAL_BITS, sum_bits
from dtqatten.hw.softmax.probability import Probability
from dtqatten.sim.engines.verilated import VerilatedModel

CONFIG = PRESETS["base"]


def cases() -> list[tuple[int, int]]:
    """Exponentials and sums of their rows: ends, and what a row may hold."""
    rng = np.random.default_rng(0)
    largest = CONFIG.n_max * 65535
    ends = [(e, s) for s in (65535, 65536, 131071, 131072, largest) for e in (0, 1, 32768, 65535)]
    sums = np.exp(rng.uniform(np.log(65535), np.log(largest), 2000)).astype(int)
    return [(0, 0), *ends, *zip(rng.integers(0, 65536, 2000).tolist(), sums.tolist(), strict=True)]


def test_equals_golden_an_exponential_a_cycle() -> None:
    todo = cases()
    expected, records = [], []
    for e16, total in todo:
        mantissa, exponent = (int(x) for x in softmax.reciprocal(np.array(total)))
        records.append((e16, mantissa, max(exponent - Probability.LEAST, 0)))
        half = 1 << exponent >> 1
        expected.append(min((e16 * mantissa + half) >> exponent, 65535))
    assert max(y for *_, y in records) == sum_bits(CONFIG, EXPONENTIAL_BITS) - Probability.LEAST
    rtl = VerilatedModel(Probability(CONFIG), "probability")
    got = []
    for cycle in range(len(todo) + Probability.LATENCY):
        ports = {}
        if cycle < len(todo):
            ports = {"e16": records[cycle][0], "mantissa": records[cycle][1]}
        # Half comes three cycles, the shift four cycles behind the exponential.
        if 3 <= cycle < len(todo) + 3:
            ports["half"] = 1 << records[cycle - 3][2]
        if 4 <= cycle < len(todo) + 4:
            ports["shift"] = records[cycle - 4][2]
        got.append(rtl.step(ports, "probability")["probability"])
    assert got[Probability.LATENCY :] == expected
