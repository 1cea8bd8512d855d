"""Tasks and where their data are found, on a tiny model in a folder and made-up data."""

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

from dtqatten.algorithm.evaluate import evaluate
from dtqatten.algorithm.finetune import finetuned
from dtqatten.algorithm.models import Loaded, ModelError, load
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.algorithm.study import noise_study
from dtqatten.algorithm.tasks import news
from dtqatten.algorithm.tasks.catalogue import TASKS, open_task
from dtqatten.algorithm.tasks.embedded import Example
from dtqatten.algorithm.tasks.perplexity import Perplexity
from dtqatten.algorithm.tasks.similarity import ranks
from dtqatten.algorithm.tasks.task import TaskError

NO_MODEL = Loaded("none", None, None, False)


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
    report = task.examples(loaded, "test")
    assert len(report) == 1000
    lines = (data / "sst2" / "train.tsv").read_text().splitlines()
    joined = [f"{e.texts[0]}\t{int(e.label)}" for e in (*fit, *report, *search)]
    assert joined == lines


def test_the_news_in_two_lengths(folder, monkeypatch):
    """Same articles and parts; one task sees a quarter of what the other does."""
    made = [
        Example((f"{w} {i} {w} " * 300,), i % 5)
        for i, w in enumerate(["cat", "dog", "man", "house", "tree", "runs"] * 280)
    ]
    made[1670], made[1671] = made[3], made[1650]
    monkeypatch.setattr(news, "articles", lambda: made)
    loaded = load(str(folder), causal=False)
    for name, length in (("bbc", 128), ("bbc512", 512)):
        task = open_task(name)
        parts = [task.examples(loaded, part) for part in ("fit", "train", "dev", "test")]
        # Of the last 80, two texts are there twice, one of them in another part.
        assert [len(part) for part in parts] == [800, 200, 600, 77]
        assert len({example.texts for part in parts for example in part}) == 1677
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


def test_every_window_begins_as_a_text_does(counting):
    loaded, task = counting
    loaded = dataclasses.replace(loaded, begin=(49,))
    windows = task.examples(loaded, "dev")
    assert [each.tolist() for each in windows] == [[49, *range(7 * i, 7 * i + 7)] for i in range(3)]
    assert task.evaluate(loaded).sequences == 3
    task.length = 61
    assert len(task.examples(loaded, "dev")) == 1
    task.length = 62
    with pytest.raises(TaskError, match="60 tokens, less than a window of 61"):
        task.examples(loaded, "dev")


def test_fine_tuning_a_decoder_under_a_policy(counting):
    loaded, task = counting
    policy = Policy.flat(2, (0.0, 1.0, 0.0), granularity="token", rotate=True, prune_queries=False)
    for mode in ("fake-quant", "float"):
        trained = finetuned(loaded, task, policy, 20, mode=mode, rate=3e-3)
        learned = [
            evaluate(each, task, policy, mode, part="fit").loss for each in (loaded, trained)
        ]
        assert learned[1] < learned[0] - 0.1


def test_parts_of_pairs_share_nothing(data):
    task = open_task("stsb", data)
    train, report = (task.examples(NO_MODEL, part) for part in ("train", "test"))
    assert task.examples(NO_MODEL, "fit") == train
    assert (len(train), len(report)) == (23, 7)
    assert not set(train) & set(report)


def test_parts_of_texts_share_nothing(tmp_path, monkeypatch):
    """Of WikiText-2 a quarter each; of the news no article that is anywhere else."""
    (tmp_path / "wikitext2").mkdir()
    words = [f"w{i:05d}" for i in range(4003)]
    (tmp_path / "wikitext2" / "valid.txt").write_text(" ".join(words))
    task = open_task("ppl-wikitext2", tmp_path)
    joined = "".join(task.text(part) for part in ("dev", "fit", "test", "train"))
    assert joined == " ".join(words)
    made = [Example((f"article {i}",), 0) for i in range(700)]
    made[410], made[420] = made[3], made[399]
    monkeypatch.setattr(news, "articles", lambda: made)
    task = open_task("ppl-bbc")
    parts = {part: task.text(part).split("\n\n") for part in ("dev", "fit", "test", "train")}
    assert {k: len(v) for k, v in parts.items()} == {
        "dev": 120, "fit": 280, "test": 118, "train": 40,
    }  # fmt: skip
    for part in ("dev", "fit", "train"):
        assert not set(parts["test"]) & set(parts[part])


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


def test_a_model_is_found_by_its_hub_id(folder, data, offline_hub, run):
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


def test_glue_is_found_by_its_hub_id(folder, data, offline_hub, monkeypatch, run):
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
        for part in ("fit", "train", "dev", "test"):
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
