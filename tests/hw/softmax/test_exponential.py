"""One exponential lane against the golden function."""

import numpy as np
from amaranth.hdl import signed

from dtqatten import Config
from dtqatten.golden.numerics import softmax
from dtqatten.hw.payloads.octaves import unseen
from dtqatten.hw.softmax.exponential import LUT32, Exponential
from dtqatten.sim.engines.ports import pack
from dtqatten.sim.engines.verilated import VerilatedModel

CONFIG = Config(rows=1, cols=1, depth=8, d_head=128)
SCORE = signed(CONFIG.score_width)


def test_table_is_the_golden_one() -> None:
    assert softmax.LUT32.tolist() == LUT32


def cases() -> list[tuple[int, int, int, int]]:
    """Score, maximum, multiplier, shift: every ``t`` up to 600, ends of all ranges, random."""
    limit = CONFIG.d_head * 120 * 120
    rng = np.random.default_rng(0)
    every_t = [(-t, 0, 65535, 16) for t in range(1, 601)] + [(-t, 0, 1, 0) for t in range(600)]
    ends = [
        (score, maximum, m, shift)
        for score in (-limit, -1, 0, limit)
        for maximum in (-limit, 0, limit)
        for m in (0, 1, 32768, 65535)
        for shift in (0, 1, 16, 39, 40)
        if score <= maximum
    ]
    scores = np.sort(rng.integers(-limit, limit + 1, (2000, 2)), axis=1)
    scores[::2, 0] = scores[::2, 1] - rng.integers(0, 3000, 1000)
    factors = rng.integers(32768, 65536, 2000)
    shifts = rng.integers(10, 41, 2000)
    return every_t + ends + list(zip(*scores.T.tolist(), factors.tolist(), shifts.tolist()))  # noqa: B905


def test_equals_golden_a_score_a_cycle() -> None:
    todo = [case for case in cases() if case[0] > unseen(CONFIG)]
    score, maximum, m, shift = (np.array(column) for column in zip(*todo, strict=True))
    t = ((maximum - score) * m) >> shift
    assert {511, 512, 513} <= set(t.tolist())
    expected = softmax.exponential(t, np.ones(len(t), dtype=bool)).tolist()
    rtl = VerilatedModel(Exponential(CONFIG), "exponential")
    got = []
    for cycle in range(len(todo) + Exponential.LATENCY):
        # The shift comes three cycles behind the score.
        ports = {}
        if cycle < len(todo):
            ports = {
                "score": pack([todo[cycle][0]], SCORE),
                "maximum": pack([todo[cycle][1]], SCORE),
                "multiplier": todo[cycle][2],
            }
        if 3 <= cycle <= len(todo) + 2:
            ports["shift"] = todo[cycle - 3][3]
        got.append(rtl.step(ports, "e16")["e16"])
    assert got[Exponential.LATENCY :] == expected


def test_a_masked_score_is_zero_even_at_the_maximum() -> None:
    rtl = VerilatedModel(Exponential(CONFIG), "exponential")
    masked = pack([unseen(CONFIG)], SCORE)
    for maximum in (masked, 0):
        for shift in (0, 40):
            ports = {"score": masked, "maximum": maximum, "multiplier": 1, "shift": shift}
            for _ in range(Exponential.LATENCY + 1):
                e16 = rtl.step(ports, "e16")["e16"]
            assert e16 == 0
