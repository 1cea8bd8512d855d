"""The commands on a tiny model and random sentences."""

import dataclasses
import importlib
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from dtqatten.algorithm.policy import Policy
from dtqatten.cli import app


def test_search_then_eval(folder, data, tmp_path, run):
    path = tmp_path / "p.json"
    given = ("--model", folder, "--task", "stsb", "--data", data)
    code, text = run("search", *given, "-o", path, "--trials", 3, "--groups", 2, "--limit", 12)
    assert code == 0, text
    assert "of 3" in text
    policy = Policy.load(path)
    assert policy.task == "stsb"
    assert policy.record["trials"] == 3
    code, text = run("search", *given, "-o", path, "--trials", 4, "--groups", 2, "--limit", 12)
    assert code == 0
    assert Policy.load(path).record["trials"] == 4
    code, text = run("search", *given, "-o", path, "--trials", 4, "--groups", 2, "--limit", 11)
    assert code == 2
    assert "another limit" in re.sub(r"\s+", " ", text)
    front = tmp_path / "front.json"
    options = ("-o", front, "--trials", 4, "--groups", 1, "--limit", 12, "--pareto")
    code, text = run("search", *given, *options)
    assert code == 0, text
    assert "of the Pareto front" in text
    assert "front" in front.with_suffix(".svg").read_text()
    told = CliRunner().invoke(app, [str(a) for a in ("search", *given, *options, "--json")])
    found = json.loads(told.stdout)
    assert found["policy"] == str(front)
    assert found["trials"] == 4
    assert found["front"]
    assert found["front"] == sorted(found["front"], key=lambda point: point["cost"])
    for objective in ("cycles", "energy", "bytes"):
        priced = tmp_path / f"{objective}.json"
        options = ("-o", priced, "--trials", 2, "--groups", 1, "--limit", 12)
        code, text = run("search", *given, *options, "--objective", objective)
        assert code == 0, text
        record = Policy.load(priced).record
        assert 0 < record["train_cost"] <= 1
        assert (record["train_cost"] == record["train_bytes_ratio"]) == (objective == "bytes")
    code, text = run("search", *given, *options, "--objective", "bytes", "--preset", "tiny")
    assert code == 2
    told = "energy, and a policy with local V pruning, progressive layers or block exponents, only"
    assert f"--preset: for --objective cycles and {told}" in re.sub(r"\s+", " ", text)
    for tried in (("--method", "spatten", "--progressive"), ("--vary", "prune_queries")):
        asked = ("-o", priced, "--trials", 2, "--limit", 12, *tried, "--objective", "cycles")
        code, text = run("search", *given, *asked)
        assert code == 2
        assert "does not know what progressive layers" in re.sub(r"\s+", " ", text)
    for tried in ("unsigned_weights", "block_exponents", "center_queries"):
        asked = ("-o", priced, "--trials", 2, "--limit", 12, "--vary", tried)
        code, text = run("search", *given, *asked, "--objective", "energy")
        assert code == 2
        assert f"--vary {tried} would try machines with" in re.sub(r"\s+", " ", text)
    asked = ("-o", tmp_path / "schedule.json", "--trials", 2, "--limit", 12, "--method", "spatten")
    code, text = run("search", *given, *asked, "--objective", "bytes", "--tokens", 64)
    assert code == 2
    assert "--tokens: for --objective cycles and energy only" in re.sub(r"\s+", " ", text)
    code, text = run("search", *given, *asked, "--objective", "cycles", "--tokens", 64,
                     "--shape", "bert-base")  # fmt: skip
    assert code == 0, text
    schedule = Policy.load(asked[1])
    assert (schedule.record["tokens"], schedule.record["shape"]) == (64, "bert-base")
    assert all(layer.threshold is None for layer in schedule.layers)
    assert schedule.record["progressive"] is False
    code, text = run("search", *given, *options, "--objective", "energy", "--preset", "tiny")
    assert code == 2
    assert "power of this machine is not known" in re.sub(r"\s+", " ", text)
    out = tmp_path / "row.json"
    code, text = run(
        "eval", *given, "--policy", path, "-o", out, "--pictures", tmp_path / "pictures"
    )  # fmt: skip
    assert code == 0, text
    row = json.loads(out.read_text())
    assert f"{row['metric']:.4f}" in text
    assert f"{row['bops_ratio']:.4f} of 8-bit" in text
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [p.name.rpartition("-")[2] for p in pictures] == ["pareto.svg", "tokens.svg"]
    drawn = pictures[1].read_text()
    assert drawn.startswith("<?xml")
    assert "[CLS]" in drawn
    assert "pruned" in drawn


def test_local_values_are_searched_and_measured_on_the_arrays_of_a_machine(
    folder, data, tmp_path, run
):
    path = tmp_path / "local.json"
    given = ("--model", folder, "--task", "stsb", "--data", data)
    options = ("-o", path, "--trials", 3, "--groups", 1, "--limit", 12)
    code, text = run("search", *given, *options, "--min-values", 0.25, "--preset", "tiny")
    assert code == 0, text
    found = Policy.load(path)
    assert found.record["min_values"] == 0.25
    assert "rows=4" in found.record["machine"]
    assert all(0.25 <= layer.values <= 1 for layer in found.layers)
    halves = tuple(dataclasses.replace(layer, values=0.3) for layer in found.layers)
    local = tmp_path / "halves.json"
    found.replace(layers=halves).save(local)
    rows = []
    for preset in ("base", "tiny"):
        out = tmp_path / f"{preset}.json"
        code, text = run("eval", *given, "--policy", local, "--preset", preset, "-o", out)
        assert code == 0, text
        rows.append(json.loads(out.read_text()))
    # Groups of tokens are of another length.
    assert rows[0]["loss"] != rows[1]["loss"]
    code, text = run("search", *given, *options, "--method", "spatten", "--min-values", 0.5)
    assert code == 2
    assert "--min-values: for --method dtq only" in re.sub(r"\s+", " ", text)
    code, text = run("eval", *given, "--preset", "tiny")
    assert code == 2
    assert (
        "for a policy with local V pruning, progressive layers or block exponents only"
        in re.sub(r"\s+", " ", text)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("eval", "--model", "x", "--task", "glue"), "choose one of stsb"),
        (("eval", "--model", "x", "--task", "stsb", "--policy", "none.json"), "cannot read"),
        (("eval", "--model", "x", "--task", "stsb", "--mode", "fast"), "fast"),
        (
            ("search", "--model", "x", "--task", "stsb", "--method", "y"),
            "choose dtq, spatten or local",
        ),
        (("search", "--model", "./x", "--task", "stsb"), "cannot load the model"),
        (("accuracy", "minilm"), "no MODEL:TASK"),
    ],
)
def test_commands_refuse(arguments, message, tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    code, text = run(*arguments)
    assert code == 2, text
    assert message in re.sub(r"\s+", " ", text)


def test_accuracy_prints_what_it_measured_as_json(tmp_path, monkeypatch):
    rows = [{"method": name, "data": "d", "metric": 0.5} for name in ("float", "int8")]
    command = importlib.import_module("dtqatten.commands.accuracy")
    monkeypatch.setattr(command, "opened", lambda *_: (SimpleNamespace(steps=0), None))
    monkeypatch.setattr(command, "measure", lambda *_: (rows, None))
    monkeypatch.setattr(command, "page_of", lambda *_: "")
    paths = ("--results", tmp_path / "rows.json", "-o", tmp_path / "page.md")
    told = CliRunner().invoke(app, ["accuracy", "m:stsb", *map(str, paths), "--json"])
    assert json.loads(told.stdout) == rows
    assert json.loads((tmp_path / "accuracy" / "rows.json").read_text()) == []


def test_the_begin_of_an_encoders_text_is_no_choice(folder, data, run):
    for given in ("--bos", "--no-bos"):
        for command in ("eval", "search"):
            code, text = run(command, "--model", folder, "--task", "stsb", "--data", data, given)
            assert code == 2
            assert f"{given}: for decoders only" in re.sub(r"\s+", " ", text)


def test_accuracy_measures_some_rows_and_keeps_the_others(folder, data, tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    pair = f"{folder}:stsb"
    given = ("accuracy", pair, "--data", data, "--limit", 4, "--steps", 0)

    def rows():
        found = json.loads(Path("build/accuracy.json").read_text())
        assert found == json.loads(Path("docs/accuracy/rows.json").read_text())
        return {(row["method"], row["part"]): row for row in found}

    code, text = run(*given)
    assert code == 0, text
    whole = rows()
    assert {part for _, part in whole} == {"dev", "test"}
    assert {row["numbers"] for row in whole.values()} == {"signed weights"}
    assert all(row["version"] and row["examples"] == 4 for row in whole.values())
    marked = [{**row, "seconds": 7.0, "commit": "before"} for row in whole.values()]
    Path("build/accuracy.json").write_text(json.dumps(marked))
    code, text = run(*given, "--method", "int*", "--part", "test")
    assert code == 0, text
    assert {row["commit"] for row in rows().values()} == {"before"}, "measured already"
    code, text = run(*given, "--method", "int*", "--part", "test", "--renew")
    assert code == 0, text
    fresh = [name for name, row in rows().items() if row["commit"] != "before"]
    assert fresh == [("int8", "test")]
    assert list(rows()) == list(whole), "in the order of the methods"
    page = Path("docs/accuracy.md").read_text()
    assert page.count("|before|") == len(whole) - 1
    # Without the file, rows are those of the page.
    Path("build/accuracy.json").unlink()
    code, text = run(*given, "--method", "int8")
    assert code == 0, text
    assert len(rows()) == len(whole)
    code, text = run(*given, "--method", "no such")
    assert code == 2
    assert "no method of" in text
    code, text = run("accuracy", pair, "--data", data, "--limit", 4, "--study", "numbers")
    assert code == 2
    assert "is no task of a decoder" in re.sub(r"\s+", " ", text)
