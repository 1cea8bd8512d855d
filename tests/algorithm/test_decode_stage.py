"""``--stage decode`` of the commands that search and score, on a tiny decoder."""

import json
import re
from types import SimpleNamespace

import pytest
import torch

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.tasks.perplexity import Perplexity
from tiny_models import layer


class Windows(Perplexity):
    """Random windows."""

    name, length = "ppl-bbc", 32

    def text(self, part):
        raise NotImplementedError

    def examples(self, loaded, part):
        torch.manual_seed(len(part))
        return list(torch.randint(3, 50, (2, self.length)))


@pytest.fixture
def decoder(llama, monkeypatch, tmp_path):
    """Commands that open the tiny decoder; options that every call has."""
    loaded = Loaded("tiny", llama, SimpleNamespace(all_special_ids=[0]), causal=True)
    task = Windows(limit=2)
    for command in ("search", "evaluate"):
        monkeypatch.setattr(f"dtqatten.commands.{command}.opened", lambda *_: (task, loaded))
    four = Policy(layers=(layer(0, 1, 0),) * 3, granularity="token", prune_queries=False)
    four.save(tmp_path / "four.json")
    return ("--model", "tiny", "--task", "ppl-bbc")


def test_shares_of_v_are_searched_by_what_decode_steps_cost(decoder, tmp_path, run):
    bytes_of = {}
    for objective in ("bytes", "cycles"):
        path = tmp_path / f"{objective}.json"
        given = (*decoder, "--template", tmp_path / "four.json", "--stage", "decode", "-o", path)
        options = ("--method", "local", "--progressive", "--trials", 6, "--preset", "tiny")
        more = () if objective == "bytes" else ("--tokens", 64)
        code, text = run("search", *given, *options, "--objective", objective, "--pareto", *more)
        assert code == 0, text
        record = Policy.load(path).record
        assert (record["stage"], record["method"], record["progressive"]) == (
            "decode",
            "local",
            True,
        )
        assert (record["train_cost"] == record["train_bytes_ratio"]) == (objective == "bytes")
        assert 0 < record["train_cost"] < 1
        bytes_of[objective] = record["train_bytes_ratio"]
    assert all(0.3 < ratio < 0.9 for ratio in bytes_of.values())


def test_bytes_of_steps_are_those_of_the_chosen_groups(decoder, tmp_path, run):
    rows = {}
    for name, rules in (("all", {}), ("half", {"values": 0.5}), ("tried", {"threshold": 0.1})):
        path, out = tmp_path / f"{name}.json", tmp_path / f"{name}-row.json"
        four = Policy(layers=(layer(0, 1, 0, **rules),) * 3, prune_queries=False)
        four.save(path)
        for stage in ("prefill", "decode"):
            asked = ("--policy", path, "--stage", stage, "-o", out)
            code, text = run("eval", *decoder, *asked)
            assert code == 0, text
            rows[name, stage] = json.loads(out.read_text()) | {"text": text}
    assert rows["half", "prefill"]["bytes_ratio"] == rows["all", "prefill"]["bytes_ratio"]
    assert rows["half", "decode"]["bytes_ratio"] < rows["all", "decode"]["bytes_ratio"]
    assert rows["half", "decode"]["loss"] != rows["half", "prefill"]["loss"]
    assert 0 < rows["tried", "decode"]["flat"] <= 1
    assert "low planes of K read" in rows["tried", "decode"]["text"]
    assert "rows computed again" in rows["tried", "prefill"]["text"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--method", "local"), "--method local is for decode steps: add --stage decode"),
        (("--method", "local", "--groups", 2), "--groups: for --method dtq only"),
        (("--objective", "cycles"), "and tiny is causal: choose --stage decode, or bytes"),
        (
            ("--objective", "energy", "--stage", "decode", "--vary", "center_queries"),
            "--vary center_queries would try machines with bias_heads",
        ),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(decoder, tmp_path, run, asked, message):
    given = (*decoder, "--template", tmp_path / "four.json", "-o", tmp_path / "p.json")
    code, text = run("search", *given, *asked)
    assert code == 2
    assert message in re.sub(r"\s+", " ", text)


def test_an_encoder_does_not_decode(folder, data, run):
    given = ("--model", folder, "--task", "stsb", "--data", data, "--stage", "decode")
    for command in ("search", "eval"):
        code, text = run(command, *given)
        assert code == 2
        assert "--stage decode is for decoders" in re.sub(r"\s+", " ", text)
