"""What is measured once, compared, and said of it."""

import dataclasses
import json
import re
import shutil

import pytest

from dtqatten.algorithm.models import load
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.report import methods as methods_module
from dtqatten.algorithm.report.methods import POLICIES, Method, methods
from dtqatten.algorithm.report.page import render
from dtqatten.algorithm.report.results import Results
from dtqatten.algorithm.tasks.catalogue import open_task
from dtqatten.algorithm.tasks.similarity import STSB


def test_results_are_measured_once_and_the_report_states_the_goal(folder, data, tmp_path):
    loaded = load(str(folder), causal=False)
    task = open_task("stsb", data)
    kept = Results(tmp_path / "accuracy.json")
    calls = []

    def reference(part):
        calls.append(part)
        return task.evaluate(loaded, part=part)

    for _ in range(2):
        kept.measure(loaded, task, Method("int8", Policy.flat(3)), reference)
    assert calls == ["dev"]
    again = Results(tmp_path / "accuracy.json")
    again.measure(loaded, task, Method("int8", Policy.flat(3)), reference)
    assert len(calls) == 1
    again.measure(loaded, task, Method("searched", Policy.flat(3, (0, 1, 0))), reference)
    assert len(again.rows) == 2
    wanted = {
        "model", "task", "method", "metric", "float_metric", "share_0", "share_4", "share_8",
        "bops_ratio", "bytes_ratio", "seed",
    }  # fmt: skip
    assert all(wanted <= set(row) for row in json.loads((tmp_path / "accuracy.json").read_text()))
    text = render(again, {"torch": "1"})
    assert "BOPs at most 0.221: **not reached**" in text
    good = {**again.find(again.rows[1]["key"]), "metric": 0.995, "float_metric": 1.0}
    again.add({**good, "bops_ratio": 0.22})
    assert "BOPs at most 0.221: **reached**" in render(again, {"torch": "1"})
    model = good["model"]
    again.keep(model, "stsb", ["searched", "int8"])
    assert [r["method"] for r in Results(again.path).rows] == ["searched", "int8"]
    again.add({**good, "task": "sst2", "method": "int8"})
    again.keep(model, "stsb", ["int8", "searched"])
    assert [(r["task"], r["method"]) for r in again.rows] == [
        ("stsb", "int8"), ("stsb", "searched"), ("sst2", "int8"),
    ]  # fmt: skip
    again.keep(model, "sst2", [])
    again.keep(model, "stsb", ["searched"])
    assert [r["method"] for r in again.rows] == ["searched"]
    again.add({**good, "metric": 0.98, "bops_ratio": 0.22})
    assert "**not reached**" in render(again, {"torch": "1"})


def test_runs_that_share_a_file_keep_each_others_rows(folder, data, tmp_path):
    loaded = load(str(folder), causal=False)
    task = open_task("stsb", data, 6)
    one, other = (Results(tmp_path / "accuracy.json") for _ in range(2))

    def measure(kept, method):
        kept.measure(loaded, task, Method(method, Policy.flat(3)), lambda _: task.evaluate(loaded))

    measure(one, "int8")
    measure(other, "searched")
    measure(one, "random")
    rows = json.loads((tmp_path / "accuracy.json").read_text())
    assert [row["method"] for row in rows] == ["int8", "searched", "random"]
    other.keep(rows[0]["model"], "stsb", ["random", "searched"])
    assert [row["method"] for row in Results(one.path).rows] == ["random", "searched"]


def test_rows_of_other_texts_are_not_taken_for_the_same(folder, data, tmp_path, monkeypatch):
    """Number, length and content of texts; each set of them is a table of its own."""
    loaded = dataclasses.replace(load(str(folder), causal=False), name="tiny")
    kept = Results(tmp_path / "accuracy.json")
    few, other = tmp_path / "few", tmp_path / "other"
    for place in (few, other):
        shutil.copytree(data, place)
    for path in (few / "stsb").glob("sts-dev.csv"):
        path.write_text("\n".join(path.read_text().splitlines()[:-2]) + "\n")
    for path in (other / "stsb").glob("sts-train.csv"):
        path.write_text("\n".join(path.read_text().splitlines()[::-1]) + "\n")
    method = Method("int8", Policy.flat(3))

    def measure(task):
        (row,) = kept.measure(loaded, task, method, lambda _: task.evaluate(loaded))
        return row

    whole = measure(open_task("stsb", data))
    rows = [whole]
    for task in (open_task("stsb", data, 12), open_task("stsb", few), open_task("stsb", other)):
        rows.append(measure(task))
    monkeypatch.setattr(STSB, "length", 8)
    rows.append(measure(open_task("stsb", data)))
    assert len({row["key"] for row in rows}) == len(rows)
    assert kept.rows == rows
    assert [row["examples"] - whole["examples"] for row in rows[2:]] == [-2, 0, 0]
    assert {"part": "dev", "examples": 12, "length": 256}.items() <= rows[1].items()
    assert render(kept, {}).count("## tiny, stsb: dev, ") == len(rows)
    monkeypatch.undo()
    assert measure(open_task("stsb", data, 10**6)) is whole, "the same texts, however asked for"
    kept.keep(loaded.name, "stsb", [], rows[1]["data"])
    assert kept.rows == [rows[0], *rows[2:]]


def test_rows_that_do_not_say_their_texts_are_refused(tmp_path):
    path = tmp_path / "accuracy.json"
    path.write_text(json.dumps([{"model": "m", "task": "t", "method": "int8", "key": "1"}]))
    with pytest.raises(ValueError, match=r"accuracy\.json has rows that do not say how many texts"):
        Results(path)


def test_the_report_compares_methods(folder, data, tmp_path, monkeypatch):
    loaded = load(str(folder), causal=False)
    loaded = dataclasses.replace(loaded, name="tiny")
    task = open_task("stsb", data, 12)
    monkeypatch.setattr(methods_module, "POLICIES", tmp_path)
    four = Policy.flat(3, (0.0, 1.0, 0.0))
    assert [m.name for m in methods(loaded, task, 2)][-1] == "paper's shares, flat"
    Policy.flat(3, (0.2, 0.8, 0.0)).save(tmp_path / "tiny-stsb.json")
    four.save(tmp_path / "tiny-stsb-spatten.json")
    found = {m.name: m for m in methods(loaded, task, 2)}
    assert list(found)[5:] == [
        "searched", "searched, integer mode", "searched, random ranking",
        "SpAtten's method, searched", "searched, fine-tuned", "float32, fine-tuned",
    ]  # fmt: skip
    assert not any(m.steps for m in methods(loaded, task, 0))
    Policy.flat(3, (0.4, 0.6, 0.0)).save(tmp_path / "tiny-stsb-fast.json")
    speed = [m.name for m in methods(loaded, task, 0) if "speed" in m.name]
    assert speed == [
        "searched for speed", "searched for speed, integer mode",
        "searched for speed, random ranking",
    ]  # fmt: skip
    task.brief = True
    assert [m.name for m in methods(loaded, task, 0)] == [
        *list(found)[:5], "searched", "searched, random ranking",
        "searched for speed", "searched for speed, random ranking", "SpAtten's method, searched",
    ]  # fmt: skip
    kept = Results(tmp_path / "rows.json")
    plain = task.evaluate(loaded)
    for name in list(found)[5:]:
        kept.measure(loaded, task, found[name], lambda _: plain)
    tuned = kept.rows[-1]
    assert tuned["loss"] != plain.loss
    text = render(kept, {"torch": "1"})
    assert "Tokens of 0 or 4 bits: 100.0 %" in text
    assert "**not more than** *SpAtten's method, searched* with 100.0 %" in text
    gain = 100 * (tuned["metric"] / plain.metric - 1)
    assert f"The same fine-tuning without quantization: {-gain:+.2f} %" in text
    assert re.search(r"\|float32, fine-tuned\|float32\|[^|]+\|[^|]+\|\|\|\|", text)
    assert "Slowest fake-quant method" in text


def test_the_report_of_a_decoder_has_loss_against_bit_operations(tmp_path):
    kept = Results(tmp_path / "rows.json")
    same = {
        "model": "m", "task": "t", "metric_name": "perplexity", "float_metric": 20.0,
        "share_0": 0.0, "share_4": 0.8, "share_8": 0.2, "bytes_ratio": 0.6, "seconds": 1.5,
        "float_seconds": 1.0, "sequences": 8,
    }  # fmt: skip
    for name, metric, bops in (
        ("searched", 21.0, 0.33),
        ("searched at 0.45", 20.5, 0.44),
        ("SpAtten's method, searched", 22.0, 0.32),
        ("SpAtten's method, at equal metric", 21.0, 0.5),
    ):
        kept.add({**same, "method": name, "metric": metric, "bops_ratio": bops})
    text = render(kept, {"torch": "1"})
    assert "searched policies: +5.00 % at 0.330, +2.50 % at 0.440." in text
    assert "BOPs at most 0.340: **not reached** (+5.00 %, 0.330)" in text
    assert "*SpAtten's method, searched* with 80.0 % at +10.00 %; BOPs 0.330 against 0.320" in text
    assert "*SpAtten's method, at equal metric* with 80.0 % at +5.00 %" in text


def test_shipped_policies_can_be_read():
    paths = sorted(POLICIES.glob("*.json"))
    for path in paths:
        policy = Policy.load(path)
        assert path.name.startswith(f"{policy.model}-{policy.task}")


def test_policies_are_listed_with_what_the_test_part_says(tmp_path):
    """Of it what was measured on most texts; another study says nothing of a policy."""
    from dtqatten.commands.policies import _measured

    same = {"model": "minilm", "task": "sst2", "method": "searched", "float_metric": 1.0}
    rows = [
        {**same, "part": "test", "sequences": 900, "metric": 0.9, "bops_ratio": 0.2},
        {**same, "part": "test", "sequences": 60, "metric": 0.8, "bops_ratio": 0.2},
        {**same, "part": "dev", "sequences": 1000, "metric": 0.99, "bops_ratio": 0.2},
        {**same, "part": "test", "sequences": 999, "metric": 0.5, "bops_ratio": 0.2}
        | {"study": "numbers"},
        {**same, "method": "int8", "part": "test", "sequences": 9, "metric": 1, "bops_ratio": 1},
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    found = _measured(path)
    assert list(found) == ["minilm-sst2"]
    assert found["minilm-sst2"]["loss"] == pytest.approx(0.1)
