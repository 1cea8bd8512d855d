"""What is read from a placer's reports."""

import json
from pathlib import Path
from typing import Any

import pytest

from dtqatten.synth import fpga


def path(start: str, end: str, clock: str, other: str = "") -> dict[str, Any]:
    """Return a path as nextpnr reports it, from a clock to itself or another one."""
    hops = [{"from": {"cell": start}, "to": {"cell": "lut"}}]
    hops.append({"from": {"cell": "lut"}, "to": {"cell": end}})
    return {"from": f"posedge {clock}", "to": f"posedge {other or clock}", "path": hops}


@pytest.mark.parametrize("slow", ["clk", "late"])
def test_the_longest_path_is_of_the_slowest_clock(
    slow: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"clk": 200.0, "late": 300.0} | {slow: 54.7}
    report = {
        "fmax": {clock: {"achieved": rate, "constraint": 62.5} for clock, rate in rates.items()},
        "critical_paths": [
            path("a", "b", "late", "clk"),
            path("c", "d", "late"),
            path("e", "f", "clk"),
        ],
    }

    def placer(_: str, arguments: list[str], folder: Path, log: str) -> None:
        (folder / log).write_text("Info: \t TRELLIS_COMB: 12/ 83640     0%\n")
        (folder / "report.json").write_text(json.dumps(report))

    monkeypatch.setattr(fpga, "module", placer)
    found = fpga.placed(fpga.DEVICES["ecp5"], tmp_path, mhz=50, seed=3)
    assert found["fmax_mhz"] == 54.7
    assert found["critical_path"] == {"clk": ["e", "f"], "late": ["c", "d"]}[slow]
    assert (found["fits"], found["seed"], found["used"]["lut"]) == (True, 3, 12)
