"""Recordings of consecutive layers: written, read, refused."""

import numpy as np
import pytest

from dtqatten.golden.traces.recording import Recording, RecordingError, example_recording

X = np.ones((2, 3, 4), np.float32)


def test_the_example_is_two_layers_of_a_real_sentence() -> None:
    recorded = example_recording()
    assert recorded.q.shape == recorded.k.shape == recorded.v.shape == (2, 12, 37, 32)
    assert len(recorded.tokens) == recorded.n == 37
    assert recorded.text.startswith("The old lighthouse keeper")
    assert recorded.license == "text: CC0-1.0; model: Apache-2.0"


def test_saved_recordings_read_back(tmp_path) -> None:
    recorded = example_recording()
    recorded.save(tmp_path / "a.npz")
    again = Recording.load(tmp_path / "a.npz")
    for name, value in recorded.arrays().items():
        assert np.array_equal(again.arrays()[name], value), name


def test_three_arrays_are_enough(tmp_path) -> None:
    np.savez(tmp_path / "raw.npz", q=X, k=X, v=X, bits=np.array([8, 4, 0]))
    raw = Recording.load(tmp_path / "raw.npz")
    assert raw.q.shape == (1, 2, 3, 4)
    assert raw.tokens == ("0", "1", "2")
    assert raw.bits is not None
    assert raw.bits.tolist() == [8, 4, 0]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"q": X, "k": X}, "lacks v: save arrays q, k and v"),
        ({"q": X, "k": X, "v": X, "mask": X}, "holds mask, which nothing reads"),
        ({"q": X[0], "k": X, "v": X}, "q is float32 .3, 4.: give real numbers"),
        ({"q": X.astype(int), "k": X, "v": X}, "give real numbers"),
        ({"q": X, "k": X, "v": X, "tokens": np.array(["a"])}, "tokens must be 3 strings"),
    ],
)
def test_other_files_are_refused(tmp_path, arrays, says) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(RecordingError, match=says):
        Recording.load(tmp_path / "x.npz")


def test_missing_and_damaged_files_are_refused(tmp_path) -> None:
    with pytest.raises(RecordingError, match="is not a readable"):
        Recording.load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(RecordingError, match="is not a readable"):
        Recording.load(tmp_path / "bad.npz")
