"""A width that is too small turns the lockstep red: no expected value is cut to it."""

import sys

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.arrays.score_array import ScoreArray
from dtqatten.hw.arrays.value_array import ValueArray
from dtqatten.hw.ranking.score_accumulator import ScoreAccumulator
from dtqatten.hw.softmax.normalizer import Normalizer
from dtqatten.hw.softmax.softmax import Softmax
from dtqatten.sim.engines.bench import Bench, MismatchError
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.lockstep.normalizer import NormalizerLockstep, random_heads
from dtqatten.sim.lockstep.score_accumulator import AccumulatorLockstep, AccumulatorRun
from dtqatten.sim.lockstep.score_array import Head, Lockstep
from dtqatten.sim.lockstep.softmax import SoftmaxLockstep, random_softmax_head
from dtqatten.sim.lockstep.value_array import ValueHead, ValueLockstep

SMALL = Config(rows=2, cols=2, depth=4, d_head=16, n_max=8)
GAINED = SMALL.replace(v_gains=True)
COUNTED = SMALL.replace(count_normalize=True, heads=4)
#: What a lockstep says, and not what elaboration would.
RED = r"outside -?\d+\.\.\d+ of its|^cycle \d+: \w+ is 0x"


def narrow(monkeypatch: pytest.MonkeyPatch, name: str, bits: int) -> None:
    """Take bits from a width, of the configuration or of the gateware, wherever it is imported."""
    if hasattr(Config, name):
        full = getattr(Config, name).fget
        monkeypatch.setattr(Config, name, property(lambda config: full(config) - bits))
        return
    users = [
        module
        for path, module in sorted(sys.modules.items())
        if path.startswith("dtqatten.hw.") and name in vars(module)
    ]
    assert users
    for module in users:
        width = getattr(module, name)
        less = width - bits if isinstance(width, int) else lambda *of, w=width: w(*of) - bits
        monkeypatch.setattr(module, name, less)


def scores(config: Config) -> tuple[ScoreArray, Bench]:
    """Dot products at both ends of their range."""
    heads = [
        Head(np.full((2, 16), q), np.full((2, 16), -120), *np.ones((2, 2), bool))
        for q in (-120, 119)
    ]
    return ScoreArray(config, monitored=True), Lockstep(config, heads)


def sums(config: Config) -> tuple[ValueArray, Bench]:
    """As many keys as there can be, all of the largest weight and value."""
    n, yes = config.n_max, np.ones(config.n_max, bool)
    weights = np.full((2, n), 119)
    heads = [
        ValueHead(weights, np.full((n, 16), v), yes, False, np.zeros(2, bool)) for v in (-120, 119)
    ]
    return ValueArray(config, observed=True), ValueLockstep(config, heads)


def softmax(config: Config) -> tuple[Softmax, Bench]:
    """Rows of as many keys as there can be: equal scores, and scores of the whole range."""
    rng = np.random.default_rng(0)
    heads = [
        random_softmax_head(config, rng, queries=4, keys=config.n_max, spread=spread, causal=False)
        for spread in (0.0, 12.0) * 4
    ]
    return Softmax(config), SoftmaxLockstep(config, heads)


def outputs(config: Config) -> tuple[Normalizer, Bench]:
    """Sums and divisors at both ends of their range."""
    heads = random_heads(config, np.random.default_rng(0), 6)
    return Normalizer(config), NormalizerLockstep(config, heads)


def importances(config: Config) -> tuple[ScoreAccumulator, Bench]:
    """As many rows as there can be, all of the largest probability, every key seen."""
    heads, n = config.heads, config.n_max
    run = AccumulatorRun(np.full((heads, n, 2), 65535), np.ones((n, 2), int))
    return ScoreAccumulator(config), AccumulatorLockstep(config, [run])


#: By name what makes block and bench, and their configuration.
BLOCKS = {
    "score array": (scores, SMALL),
    "value array": (sums, SMALL),
    "softmax": (softmax, SMALL),
    "softmax with gains": (softmax, GAINED),
    "normalizer": (outputs, SMALL),
    "normalizer with gains": (outputs, GAINED),
    "accumulator": (importances, COUNTED),
}

#: Blocks, widths, and the bits that they have beyond what the block's extremes take.
CASES = [
    ("score array", "score_width", 0),
    ("value array", "sum_width", 0),
    ("softmax", "score_width", 0),
    ("softmax", "sum_bits", 0),
    ("softmax", "divisor_bits", 0),
    ("softmax", "EXPONENTIAL_BITS", 0),
    ("softmax with gains", "LEAD_BITS", 0),
    ("normalizer", "sum_width", 0),
    ("normalizer", "row_divisor_bits", 0),
    ("normalizer", "OUTPUT_BITS", 0),
    ("normalizer with gains", "LEAD_BITS", 0),
    # 4 heads by 8 rows of 65535 take 21 bits of 32.
    ("accumulator", "IMPORTANCE_BITS", 11),
]


@pytest.mark.parametrize("block", BLOCKS)
def test_full_widths_are_green(block: str) -> None:
    make, config = BLOCKS[block]
    run_lockstep(*make(config))


@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize(("block", "name", "spare"), CASES)
def test_a_narrowed_width_is_red(block, name, spare, bits, monkeypatch) -> None:
    make, config = BLOCKS[block]
    narrow(monkeypatch, name, spare + bits)
    with pytest.raises((MismatchError, ValueError), match=RED):
        run_lockstep(*make(config))
