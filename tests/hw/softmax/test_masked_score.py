"""One lane of the softmax's first pass: gain, rounding and mask."""

from itertools import product

import numpy as np
from amaranth.hdl import signed

from dtqatten import Config
from dtqatten.golden.numerics.codes import apply_gain
from dtqatten.golden.numerics.score_terms import biased
from dtqatten.golden.numerics.segments import RowScale
from dtqatten.hw.payloads.octaves import compared_bits, unseen
from dtqatten.hw.payloads.softmax import GAIN_BITS, GAIN_ONE
from dtqatten.hw.softmax.masked_score import MaskedScore
from dtqatten.sim.engines.ports import pack
from dtqatten.sim.engines.verilated import VerilatedModel

CONFIG = Config(rows=1, cols=1, depth=8, d_head=64, n_max=64)


def test_a_window_hides_what_is_below_its_lowest_id() -> None:
    """The lowest id comes a cycle after the score, as the unit computes it."""
    config = CONFIG.replace(windows=True, capacity=1000)
    rtl = VerilatedModel(MaskedScore(config), "windowed_score")
    cases = list(product((0, 1), (0, 6, 7, 8, 999), (0, 7, 999), (7, 999)))
    got = []
    for cycle in range(len(cases) + MaskedScore.latency(CONFIG)):
        ports = {}
        if cycle < len(cases):
            causal, key, _, query = cases[cycle]
            ports = {
                "score": 5,
                "exists": 1,
                "causal": causal,
                "key": key | GAIN_ONE << config.position_bits,
                "query": query,
            }
        if 1 <= cycle <= len(cases):
            ports["lowest"] = cases[cycle - 1][2]
        got.append(rtl.step(ports, "masked")["masked"])
    hidden = pack([unseen(config)], signed(config.score_width))
    assert got[MaskedScore.latency(CONFIG) :] == [
        5 if lowest <= key and (not causal or key <= query) else hidden
        for causal, key, lowest, query in cases
    ]


def test_gains_and_masks_a_score_a_cycle() -> None:
    limit = CONFIG.d_head * 120 * 120
    rng = np.random.default_rng(0)
    scores = [-limit, -1, 0, 1, 127, 128, limit, *rng.integers(-limit, limit + 1, 40).tolist()]
    todo = [
        (score, gain, exists, causal, *ids)
        for score, gain, exists, causal, ids in product(
            scores, (0, 1, 255, GAIN_ONE), (0, 1), (0, 1), ((3, 2), (3, 3), (3, 4))
        )
    ]
    score_bits = signed(CONFIG.score_width)
    expected = [
        pack(
            [(score * gain + 128) >> 8]
            if exists and (not causal or key <= query)
            else [unseen(CONFIG)],
            score_bits,
        )
        for score, gain, exists, causal, key, query in todo
    ]
    rtl = VerilatedModel(MaskedScore(CONFIG), "masked_score")
    got = []
    for cycle in range(len(todo) + MaskedScore.latency(CONFIG)):
        ports = {}
        if cycle < len(todo):
            score, gain, exists, causal, key, query = todo[cycle]
            ports = {
                "score": pack([score], score_bits),
                "exists": exists,
                "causal": causal,
                "key": key | gain << (CONFIG.n_max - 1).bit_length(),
                "query": query,
            }
        got.append(rtl.step(ports, "masked")["masked"])
    assert got[MaskedScore.latency(CONFIG) :] == expected


def test_octaves_with_biases_are_those_of_the_golden_model() -> None:
    """Both ends of every range, shifts of every byte and rest, masked keys whatever their bias."""
    config = CONFIG.replace(bias_heads=1)
    limit = config.d_head * 120 * 120
    rng = np.random.default_rng(0)
    count = 4000
    scores = rng.choice([-limit, -1, 0, 1, limit, *rng.integers(-limit, limit + 1, 60)], count)
    gains = rng.choice([1, 255, GAIN_ONE, 77], count)
    factors = rng.choice([0, 1, 65535, 40000, 32768], count)
    shifts = rng.integers(0, 41, count)
    biases = rng.choice([-32768, 32767, 0, *rng.integers(-5000, 5001, 60)], count)
    exists = rng.random(count) < 0.9
    gained = apply_gain(scores, gains)
    scale = RowScale(factors[:, None], shifts)
    expected, _ = biased(gained[:, None, None], scale, biases[:, None])
    # Some are within the range, and are no end of it.
    assert 0.2 < np.mean(np.abs(expected) < 1 << 16) < 0.9
    rtl = VerilatedModel(MaskedScore(config), "biased_score")
    bits, octave_bits = signed(config.score_width), signed(compared_bits(config))
    wait = MaskedScore.latency(config)
    assert wait == 11
    got = []

    def of(values, cycle: int, due: int) -> int:
        return int(values[min(max(cycle - due, 0), count - 1)])

    for cycle in range(count + wait):
        ports = {
            "score": pack([of(scores, cycle, 0)], bits),
            "exists": of(exists, cycle, 0),
            "key": of(gains, cycle, 0) << config.position_bits,
            "multiplier": of(factors, cycle, MaskedScore.MULTIPLIED),
            "shift": of(shifts, cycle, MaskedScore.SHIFTED),
            "bias": pack([of(biases, cycle, MaskedScore.BIASED)], signed(16)),
        }
        got.append(rtl.step(ports, "masked")["masked"])
    wanted = np.where(exists, expected[:, 0, 0], unseen(config)).tolist()
    assert got[wait:] == [pack([each], octave_bits) for each in wanted]


def test_signs_of_key_and_query_negate_a_score() -> None:
    """After it is rounded."""
    config = CONFIG.replace(signed_gains=True)
    limit = config.d_head * 120 * 120
    rng = np.random.default_rng(1)
    scores = [-limit, -1, 0, 1, 64, 127, 128, limit, *rng.integers(-limit, limit + 1, 40).tolist()]
    todo = list(product(scores, (2, 128, 254, GAIN_ONE), (0, 1), (0, 1)))
    bits = (config.n_max - 1).bit_length()
    score_bits = signed(config.score_width)
    rtl = VerilatedModel(MaskedScore(config), "signed_score")
    got = []
    for cycle in range(len(todo) + MaskedScore.latency(config)):
        ports = {}
        if cycle < len(todo):
            score, gain, of_key, of_query = todo[cycle]
            ports = {
                "score": pack([score], score_bits),
                "exists": 1,
                "key": gain << bits | of_key << bits + GAIN_BITS,
                "negative": of_query,
            }
        got.append(rtl.step(ports, "masked")["masked"])
    assert got[MaskedScore.latency(config) :] == [
        pack([(score * gain + 128 >> 8) * (-1) ** (of_key + of_query)], score_bits)
        for score, gain, of_key, of_query in todo
    ]
