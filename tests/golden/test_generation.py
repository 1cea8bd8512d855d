"""What docs/numerics.md says of segments, sinks and importance over segments is what is measured.

``python -m pytest tests/golden/test_generation.py -s`` prints errors beside their bounds.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest

from dtqatten.golden import generation
from dtqatten.golden.generation import SEGMENTS, drifting, normal, segment_errors
from dtqatten.golden.numerics import segments
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import Granularity

DOCUMENT = Path(__file__).parents[2] / "docs" / "numerics.md"


@pytest.fixture(scope="module")
def data(trace):
    return {
        "trace": (trace.q, trace.k, trace.v),
        "random": normal(peaked=False),
        "peaked": normal(peaked=True),
    }


@pytest.mark.parametrize("name", ["trace", "random", "peaked"])
@pytest.mark.parametrize("scales", list(Granularity))
@pytest.mark.parametrize("planes", [2, 3])
def test_more_segments_have_no_more_error(data, name, scales, planes):
    """Weights are relative to their segment's largest, which resolves small ones better."""
    found = segment_errors(data[name], scales, Options(p_planes=planes), None)
    errors = [x for x in found if x is not None]
    print(name, scales, planes, [f"{x:.4f}" for x in errors])
    assert len(errors) == (4 if name == "trace" else len(SEGMENTS))
    for fewer, more in itertools.pairwise(errors):
        assert more <= fewer
    # Far less at the end, or this would say nothing.
    assert errors[-1] < 0.8 * errors[0]


@pytest.mark.parametrize("name", ["random", "peaked"])
def test_distances_of_five_fraction_bits_would_show(data, name, monkeypatch):
    """Why a merge has three bits more than an exponent: with 12-bit weights its error is seen."""
    chosen = segment_errors(data[name], Granularity.TOKEN, Options(p_planes=3), None)
    steps = np.arange(32)
    table = np.rint(np.exp2(16 - (steps + 0.5) / 32)).astype(np.int64)
    table[0] = 65536
    monkeypatch.setattr(segments, "MERGE_FRACTION", 5)
    monkeypatch.setattr(segments, "POWERS", table)
    coarse = segment_errors(data[name], Granularity.TOKEN, Options(p_planes=3), None)
    print(name, chosen, coarse)
    assert coarse[0] == chosen[0]
    assert coarse[-1] > 1.5 * chosen[-1]


def test_documentation_quotes_what_is_measured(capsys):
    generation.main()
    rows = [x for x in capsys.readouterr().out.splitlines() if x.startswith("|")]
    rows = [x for x in rows if not x.startswith("|---")]
    assert len(rows) == 3 + 18 + 5 + 8
    documented = DOCUMENT.read_text(encoding="utf-8")
    missing = [row for row in rows if f"\n{row}\n" not in documented]
    assert not missing, "run `python -m dtqatten.golden.generation` and update docs/numerics.md"


def test_recordings_are_ranked_too(tmp_path, capsys):
    """Two query heads share one of keys and values."""
    q, k, v = drifting(n=96, heads=2, d=8)
    path = tmp_path / "layer.npz"
    np.savez(path, q=q, k=k[:1], v=v[:1])
    generation.main([str(path)])
    first, second = capsys.readouterr().out.strip().split("\n\n")
    errors = first.splitlines()
    assert len(errors) == 2 + 4
    assert all(float(x) < 0.1 for row in errors[2:] for x in row.strip("|").split("|")[2:])
    head, _, *rows = second.splitlines()
    assert head.startswith("|queries that count|")
    assert len(rows) == 8
    # A prefix of 72 tokens is one segment: running sums are the final ones.
    assert rows[0].replace("final", "running") == rows[1]
