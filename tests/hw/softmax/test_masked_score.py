"""One lane of the softmax's first pass: gain, rounding and mask."""

from itertools import product

import numpy as np
from amaranth.hdl import signed

from dtqatten import Config
from dtqatten.hw.payloads.softmax import GAIN_ONE, unseen
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
    for cycle in range(len(cases) + MaskedScore.LATENCY):
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
    assert got[MaskedScore.LATENCY :] == [
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
    for cycle in range(len(todo) + MaskedScore.LATENCY):
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
    assert got[MaskedScore.LATENCY :] == expected
