"""Numbers and configurations on the command line."""

from pathlib import Path

import pytest

from command_line import invoke
from dtqatten.commands.options import real, whole
from dtqatten.files.errors import UsageError
from dtqatten.synth.design import Design


@pytest.mark.parametrize("text", ["4.0", "4e0", " 4", "4 ", "0x4", "4_0", "\u0664", "", "four"])
@pytest.mark.parametrize(
    "option",
    [
        ["verilog", "--rows"],
        ["stalls", "--cols"],
        ["faults", "--count"],
        ["trace", "--text", "x", "--layer"],
        ["compare", "--tokens"],
    ],
)
def test_numbers_are_decimal_digits(option: list[str], text: str) -> None:
    code, output = invoke(*option, text)
    assert code == 2
    assert f"Invalid value for '{option[-1]}': {text!r} is no integer" in output


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4), ("+4", 4), ("004", 4), ("-4", -4)],
)
def test_whole_numbers(text: str, value: int) -> None:
    assert whole(text) == value


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", " 1", "1_0", "0x1p3", "", "1,5"])
def test_real_numbers_are_finite_decimal_fractions(text: str) -> None:
    assert [real(good) for good in ("1", "-.5", "2.", "1e-3", "+1E3")] == [1, -0.5, 2, 1e-3, 1e3]
    with pytest.raises(ValueError, match=r"no number|too large"):
        real(text)


def test_a_depth_changed_alone_says_what_follows(tmp_path: Path) -> None:
    args = ["verilog", "--block", "pe", "--preset", "base", "-o", tmp_path]
    code, output = invoke(*args, "--depth", 16)
    assert code == 0
    assert "value_depth follows depth = 16, in place of base's 11" in output
    assert "value_depth=None" in output
    code, output = invoke(*args, "--depth", 16, "--value-depth", 11)
    assert (code, "follows" in output, "value_depth=11" in output) == (0, False, True)


def test_a_changed_preset_has_a_result_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``compare`` and ``results`` take what is named after a preset for the preset's."""
    from dtqatten.synth.flow import Flow

    def run(self: Flow, target: str, design: Design, **said: object) -> dict[str, object]:
        raise UsageError(f"{target} of {design.name}")

    monkeypatch.setattr(Flow, "run", run)
    args = ["synth", "--target", "ice40", "--preset", "tiny", "--block", "pe", "-o", tmp_path]
    assert "ice40 of tiny-pe\n" in invoke(*args)[1]
    assert "ice40 of tiny-rows-2-depth-8-pe\n" in invoke(*args, "--rows", 2, "--depth", 8)[1]
