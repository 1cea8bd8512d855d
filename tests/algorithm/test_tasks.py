"""Tasks, loaders, reports and commands, on a tiny model in a folder and made-up data."""

import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from dtqatten.algorithm import report, tasks
from dtqatten.algorithm.evaluate import evaluate
from dtqatten.algorithm.finetune import finetuned
from dtqatten.algorithm.models import Loaded, ModelError, load
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.report import Method, Results, methods, render
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.algorithm.study import noise_study
from dtqatten.algorithm.tasks import (
    TASKS,
    Example,
    Perplexity,
    TaskError,
    open_task,
    ranks,
)
from dtqatten.cli import app

NO_MODEL = Loaded("none", None, None, False)
WORDS = [
    *("the", "a", "cat", "dog", "man", "runs", "sleeps", "eats", "big", "small", "red", "house"),
    *("tree", "and", "or", "in", "on", "with"),
]


def sentence(rng, n):
    return " ".join(rng.choice(WORDS, n))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A tiny encoder with tokenizer, as `from_pretrained` reads it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("model")
    vocabulary = {t: i for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """STS-B and SST-2 of random sentences."""
    path = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("stsb", "sst2"):
        (path / name).mkdir()
    for part, n in (("train", 30), ("dev", 20)):
        rows = []
        for _ in range(n):
            words = rng.choice(WORDS, 6)
            share = rng.integers(0, 7)
            other = words.copy()
            other[:share] = rng.choice(WORDS, share)
            rows.append(
                f"g\tf\ty\t1\t{5 - share * 5 / 6:.3f}\t{' '.join(words)}\t{' '.join(other)}"
            )
        (path / "stsb" / f"sts-{part}.csv").write_text("\n".join(rows) + "\n")
    for part, n in (("train", 660), ("dev", 20)):
        rows = [(sentence(rng, 5), i % 2) for i in range(n)]
        text = "".join(f"{'cat' if y else 'dog'} {s}\t{y}\n" for s, y in rows)
        (path / "sst2" / f"{part}.tsv").write_text(text)
    return path


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.output + (result.stderr if result.stderr_bytes else "")


def test_ranks_share_ties():
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1, 3.5, 2]


def test_stsb_scores_what_it_says(folder, data):
    loaded = load(str(folder), causal=False)
    task = open_task("stsb", data)
    plain = task.evaluate(loaded)
    examples = task.examples(loaded, "dev")
    gold = np.array([example.label for example in examples])

    def vector(text):
        ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            return loaded.model(ids).last_hidden_state[0].mean(0)

    cosine = [
        torch.cosine_similarity(*map(vector, example.texts), dim=0).item() for example in examples
    ]
    expected = np.corrcoef(ranks(np.array(cosine)), ranks(gold))[0, 1]
    assert plain.metric == pytest.approx(expected, abs=1e-6)
    assert plain.metric > 0.3
    got = evaluate(loaded, task, Policy.flat(3))
    assert got.metric == pytest.approx(plain.metric, abs=0.02)
    assert got.float_metric == plain.metric
    assert got.bops_ratio == got.bytes_ratio == 1


def test_drift_is_the_divergence_from_the_plain_models_predictions(folder, data):
    loaded = load(str(folder), causal=False)
    for name in ("stsb", "sst2"):
        task = open_task(name, data)
        plain = task.evaluate(loaded)
        assert plain.predicted.exp().sum(-1).numpy() == pytest.approx(1)
        assert plain.drift(plain) == 0
        drifts = [
            evaluate(loaded, task, Policy.flat(3, shares), reference=plain).drift
            for shares in ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
        ]
        assert 0 < drifts[0] < drifts[1]
        assert plain._replace(predicted=None).drift(plain) is None


def test_the_probe_learns_and_is_trained_on_the_plain_model(folder, data):
    loaded = load(str(folder), causal=False)
    task = open_task("sst2", data)
    from dtqatten.algorithm.runtime import attached

    with attached(loaded.model, Policy.flat(3)) as session, pytest.raises(RuntimeError):
        task.evaluate(loaded, session)
    assert task.evaluate(loaded).metric >= 0.7
    # The parts do not overlap.
    fit, search = (task.examples(loaded, part) for part in ("fit", "train"))
    assert len(fit) == 60
    assert len(search) == 600
    assert len(set(fit) & set(search)) < 5


def test_the_news_in_two_lengths(folder, monkeypatch):
    """Same articles and parts; one task sees a quarter of what the other does."""
    made = [Example((f"{w} " * 600,), i % 5) for i, w in enumerate(WORDS * 60)]
    monkeypatch.setattr(tasks, "articles", lambda: made)
    loaded = load(str(folder), causal=False)
    for name, length in (("bbc", 128), ("bbc512", 512)):
        task = open_task(name)
        assert [len(task.examples(loaded, p)) for p in ("fit", "train", "dev")] == [800, 200, 80]
        (batch,) = task.inputs(loaded, made[:2])
        assert batch["input_ids"].shape == (2, length)


@pytest.mark.parametrize("name", ["stsb", "sst2"])
def test_fine_tuning_under_a_policy_lowers_the_loss_of_a_copy(folder, data, name):
    loaded = load(str(folder), causal=False)
    task = open_task(name, data)
    task.evaluate(loaded)  # trains the probe
    policy = Policy.flat(3, (0.0, 1.0, 0.0), rotate=True, pruned="ffn")
    before = {k: v.clone() for k, v in loaded.model.state_dict().items()}
    plain = evaluate(loaded, task, policy, part="train")
    trained = finetuned(loaded, task, policy, 30, rate=1e-3)
    assert all(torch.equal(v, before[k]) for k, v in loaded.model.state_dict().items())
    assert evaluate(trained, task, policy, part="train").loss < plain.loss - 0.005
    with pytest.raises(ValueError, match="at least 1"):
        finetuned(loaded, task, policy, 0)


@pytest.fixture
def counting():
    """A tiny decoder, and windows of 8 numbers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    class Text(Perplexity):
        name = "text"
        length = 8
        windows: ClassVar = {"fit": 6, "train": 2, "dev": 3}

        def text(self, part):
            return " ".join(str(i % 10 if part == "fit" else i) for i in range(60))

    class Tokenizer:
        all_special_ids = ()

        def __call__(self, text, add_special_tokens):
            return {"input_ids": [int(x) % 50 for x in text.split()]}

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=32, bos_token_id=0, eos_token_id=None,
    )  # fmt: skip
    return Loaded("tiny", LlamaForCausalLM(config).eval(), Tokenizer(), True), Text()


def test_perplexity_of_windows(counting):
    loaded, task = counting
    score = task.evaluate(loaded)
    total = 0.0
    for row in torch.arange(24).view(3, 8):
        with torch.no_grad():
            total += float(loaded.model(row[None], labels=row[None]).loss) * 7
    assert score.metric == pytest.approx(np.exp(total / 21), rel=1e-5)
    assert score.sequences == 3
    policy = Policy.flat(2, granularity="token", rotate=True, center=True, prune_queries=False)
    assert evaluate(loaded, task, policy).metric == pytest.approx(score.metric, rel=0.02)
    task.length = 80
    with pytest.raises(TaskError, match="60 tokens, less than a window of 80"):
        task.evaluate(loaded)


def test_fine_tuning_a_decoder_under_a_policy(counting):
    loaded, task = counting
    policy = Policy.flat(2, (0.0, 1.0, 0.0), granularity="token", rotate=True, prune_queries=False)
    for mode in ("fake-quant", "float"):
        trained = finetuned(loaded, task, policy, 20, mode=mode, rate=3e-3)
        learned = [
            evaluate(each, task, policy, mode, part="fit").loss for each in (loaded, trained)
        ]
        assert learned[1] < learned[0] - 0.1


@pytest.mark.parametrize("name", ["stsb", "sst2", "ppl-wikitext2"])
def test_absent_data_say_what_to_set(name, tmp_path, monkeypatch):
    monkeypatch.delenv("DTQATTEN_DATA", raising=False)
    with pytest.raises(TaskError, match="DTQATTEN_DATA"):
        open_task(name).examples(NO_MODEL, "dev")
    with pytest.raises(TaskError, match="is missing"):
        open_task(name, tmp_path).examples(NO_MODEL, "dev")


def test_unknown_names_are_refused():
    with pytest.raises(TaskError, match="choose one of stsb"):
        open_task("glue")
    with pytest.raises(TaskError, match="at least 1"):
        open_task("stsb", limit=0)
    with pytest.raises(ModelError, match="cannot load the model"):
        load("./no-such-folder", causal=False)
    assert all(t.metric for t in TASKS.values())


@pytest.fixture
def offline_hub(tmp_path, monkeypatch):
    """A cache of the hub, empty, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_model_is_found_by_its_hub_id(folder, data, offline_hub):
    """In the layout in which the hub's own client keeps what it fetched."""
    commit = "0" * 40
    kept = offline_hub / "hub" / "models--someone--tiny-bert"
    shutil.copytree(folder, kept / "snapshots" / commit)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(commit)
    out = offline_hub / "row.json"
    given = ("--task", "stsb", "--data", data, "--limit", 8, "-o", out)
    code, text = run("eval", "--model", "someone/tiny-bert", *given)
    assert code == 0, text
    row = json.loads(out.read_text())
    here = evaluate(load(str(folder), causal=False), open_task("stsb", data, 8), Policy.flat(3))
    assert row["model"] == "someone/tiny-bert"
    assert (row["metric"], row["float_metric"]) == (here.metric, here.float_metric)
    code, text = run("eval", "--model", "someone/other", *given)
    assert code == 2
    assert "cannot load the model someone/other" in re.sub(r"\s+", " ", text)


def test_glue_is_found_by_its_hub_id(folder, data, offline_hub, monkeypatch):
    """Files as GLUE has them; they give what the folder of the same sentences gives."""
    datasets = pytest.importorskip("datasets", reason="not installed: pip install 'dtqatten[hub]'")
    from datasets import config

    source, cache = offline_hub / "tiny-glue", offline_hub / "datasets"
    columns = {"stsb": ("sentence1", "sentence2", "label"), "sst2": ("sentence", "label")}
    card = ["---", "configs:"]
    for name, keys in columns.items():
        card += [f"- config_name: {name}", "  data_files:"]
        for split, part in (("train", "train"), ("validation", "dev")):
            card += [f"  - split: {split}", f"    path: {name}/{split}.jsonl"]
            if name == "stsb":
                lines = (data / "stsb" / f"sts-{part}.csv").read_text().splitlines()
                rows = [(*x[5:7], float(x[4])) for x in (line.split("\t") for line in lines)]
            else:
                lines = (data / "sst2" / f"{part}.tsv").read_text().splitlines()
                rows = [(x, int(y)) for x, y in (line.split("\t") for line in lines)]
            path = source / name / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                "".join(json.dumps(dict(zip(keys, r, strict=True))) + "\n" for r in rows)
            )
    (source / "README.md").write_text("\n".join([*card, "---", ""]))
    for name in columns:
        datasets.load_dataset(str(source), name, cache_dir=str(cache))
    # As if its owner were someone on the hub.
    (cache / "tiny-glue").rename(cache / "someone___tiny-glue")
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)
    for name in columns:
        hub, local = (open_task(name, x) for x in (Path("someone/tiny-glue"), data))
        for part in ("fit", "train", "dev"):
            found = hub.examples(NO_MODEL, part)
            assert found
            assert found == local.examples(NO_MODEL, part)
    code, text = run("eval", "--model", folder, "--task", "stsb", "--data", "someone/tiny-glue")
    assert code == 0, text
    with pytest.raises(TaskError, match="someone/else is no folder, and the hub gives no data set"):
        open_task("stsb", Path("someone/else")).examples(NO_MODEL, "dev")


def test_the_hub_needs_its_own_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        TaskError, match=r"datasets is not installed: pip install 'dtqatten\[hub\]'"
    ):
        open_task("sst2", Path("someone/tiny-glue")).examples(NO_MODEL, "dev")


def test_noise_study_tells_classes_apart(folder, data):
    loaded = load(str(folder), causal=False)
    task = open_task("stsb", data)
    points = noise_study(loaded, task, (0.0, 3.0))
    # Not the plain model: another order of its sums swaps ranks on some processors.
    with attached(loaded.model, Policy.flat(loaded.layers, pruned="ffn"), Mode.FLOAT) as session:
        undisturbed = task.evaluate(loaded, session).metric
    assert len(points) == 9
    for p in points:
        assert (p.metric == undisturbed) == (p.kind == "noise" and p.strength == 0)


def test_search_then_eval(folder, data, tmp_path):
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("eval", "--model", "x", "--task", "glue"), "choose one of stsb"),
        (("eval", "--model", "x", "--task", "stsb", "--policy", "none.json"), "cannot read"),
        (("eval", "--model", "x", "--task", "stsb", "--mode", "fast"), "fast"),
        (("search", "--model", "x", "--task", "stsb", "--method", "y"), "choose dtq or spatten"),
        (("search", "--model", "./x", "--task", "stsb"), "cannot load the model"),
        (("accuracy", "minilm"), "no MODEL:TASK"),
    ],
)
def test_commands_refuse(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text = run(*arguments)
    assert code == 2, text
    assert message in re.sub(r"\s+", " ", text)


def test_results_are_measured_once_and_the_report_states_the_goal(folder, data, tmp_path):
    loaded = load(str(folder), causal=False)
    task = open_task("stsb", data)
    kept = Results(tmp_path / "accuracy.json")
    calls = []

    def reference():
        calls.append(1)
        return task.evaluate(loaded)

    for _ in range(2):
        kept.measure(loaded, task, Method("int8", Policy.flat(3)), reference)
    assert len(calls) == 1
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


def test_rows_of_other_texts_are_not_taken_for_the_same(folder, data, tmp_path, monkeypatch):
    """Number, length and content of texts; each set of them is a table of its own."""
    loaded = load(str(folder), causal=False)
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
        return kept.measure(loaded, task, method, lambda: task.evaluate(loaded))

    whole = measure(open_task("stsb", data))
    rows = [whole]
    for task in (open_task("stsb", data, 12), open_task("stsb", few), open_task("stsb", other)):
        rows.append(measure(task))
    monkeypatch.setattr(tasks.STSB, "length", 8)
    rows.append(measure(open_task("stsb", data)))
    assert len({row["key"] for row in rows}) == len(rows)
    assert kept.rows == rows
    assert [row["examples"] - whole["examples"] for row in rows[2:]] == [-2, 0, 0]
    assert {"part": "dev", "examples": 12, "length": 256}.items() <= rows[1].items()
    assert render(kept, {}).count("## ") == len(rows)
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
    monkeypatch.setattr(report, "POLICIES", tmp_path)
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
        kept.measure(loaded, task, found[name], lambda: plain)
    tuned = kept.rows[-1]
    assert tuned["loss"] != plain.loss
    text = render(kept, {"torch": "1"})
    assert "Tokens of 0 or 4 bits: 100.0 %" in text
    assert "**not more than** *SpAtten's method, searched* with 100.0 %" in text
    gain = 100 * (tuned["metric"] / plain.metric - 1)
    assert f"The same fine-tuning without quantization: {-gain:+.2f} %" in text
    assert re.search(r"\|float32, fine-tuned\|[^|]+\|[^|]+\|\|\|\|", text)
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
    paths = sorted(report.POLICIES.glob("*.json"))
    for path in paths:
        policy = Policy.load(path)
        assert path.name.startswith(f"{policy.model}-{policy.task}")
