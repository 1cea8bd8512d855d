"""Inputs: missing and damaged ones are named."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from command_table import HEAVY, INPUTS, MADE, arguments, files, refused, replaced, run


def wrong_inputs() -> Iterator[Any]:
    for command, options in INPUTS.items():
        for option in options:
            for content in (None, b"{", b'{"a": 1}', b"\x80\x00junk", "folder"):
                if content is not None or (command, option) not in MADE:
                    yield pytest.param(command, option, content, id=f"{command} {option} {content}")


@pytest.mark.parametrize(("command", "option", "content"), list(wrong_inputs()))
def test_missing_and_damaged_inputs_are_named(
    command: str,
    option: str,
    content: object,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = folder / "given.x"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    before = files(folder)
    if command == "search":
        # The template is of the model, which is loaded first.
        loaded = SimpleNamespace(layers=2, causal=False)
        monkeypatch.setattr(HEAVY[command][1], lambda *_: (None, loaded))
    elif not command.startswith("config"):
        replaced(monkeypatch, command, AssertionError("it computes"))
    args = arguments(command) if option.startswith("--") else command.split()
    refused(run(*args, *option.format(path).split()), path)
    assert files(folder) == before


def test_results_of_synthesis_that_are_damaged_are_named(folder: Path) -> None:
    path = folder / "synth" / "asic-base-pe.json"
    for content in ("{", "[]"):
        path.write_text(content)
        refused(run("results", "--synth", "synth"), path.relative_to(folder), "remove it")


def test_a_policy_is_a_file_or_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.algorithm.packaged import find_policy, packaged_policy

    asked = []

    def find(text: str) -> object:
        asked.append(text)
        raise KeyboardInterrupt

    packaged_policy("minilm-sst2").save("mine.json")
    assert find_policy("mine.json") == find_policy("minilm-sst2")
    packaged_policy("minilm-stsb").save("minilm-sst2")
    assert find_policy("minilm-sst2") == packaged_policy("minilm-stsb")
    monkeypatch.setattr("dtqatten.algorithm.packaged.find_policy", find)
    monkeypatch.setattr("dtqatten.commands.evaluate.find_policy", find)
    for command in (arguments("compare"), arguments("eval"), ["run", "--model", "minilm"]):
        assert run(*command, "--policy", "minilm-sst2").exit_code == 130
    assert asked == ["minilm-sst2"] * 3
