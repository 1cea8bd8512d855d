"""Formats of numbers, importance on a decoder, and what a decoder says: on a tiny decoder."""

import dataclasses
import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.packaged import find_policy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import Ranking
from dtqatten.algorithm.report import numbers
from dtqatten.algorithm.report.continuation import continuations
from dtqatten.algorithm.report.importance import rankings, with_share
from dtqatten.algorithm.report.numbers import formats, numbers_of
from dtqatten.algorithm.report.page import render
from dtqatten.algorithm.report.results import Results
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.algorithm.tasks.perplexity import Perplexity
from dtqatten.files.errors import UsageError


class Text(Perplexity):
    """Windows of numbers."""

    name = "text"
    length = 64

    def text(self, part):
        seed = {"fit": 0, "train": 1, "dev": 2, "test": 3}[part]
        draw = torch.Generator().manual_seed(seed)
        return " ".join(map(str, torch.randint(3, 50, (160,), generator=draw).tolist()))


class Tokenizer:
    """A number is a token."""

    all_special_ids = ()

    def __call__(self, text, add_special_tokens):
        return {"input_ids": [int(x) for x in text.split()]}

    def decode(self, ids):
        return " ".join(str(int(x)) for x in ids)


@pytest.fixture
def decoder(tmp_path, monkeypatch):
    """A tiny decoder, its task, and policies of its own."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=32, bos_token_id=0, eos_token_id=None,
    )  # fmt: skip
    policy = Policy.flat(
        3, (0.0, 0.75, 0.25), granularity="token", rotate=True, smooth=0.5, center=True,
        count_normalize=True, prune_queries=False, protect=("first",), p_follows_token=True,
    )  # fmt: skip
    policies = tmp_path / "policies"
    policies.mkdir()
    policy.save(policies / "tiny-text.json")
    changes = {k: v for fields in numbers.CHANGES.values() for k, v in fields.items()}
    policy.replace(**changes).save(policies / "tiny-text-signed.json")
    monkeypatch.setattr(numbers, "POLICIES", policies)
    return Loaded("tiny", LlamaForCausalLM(config).eval(), Tokenizer(), True), Text()


def test_formats_have_names():
    plain = find_policy("smollm2-ppl-bbc")
    assert numbers_of(plain) == "signed weights"
    assert numbers_of(plain, Mode.FLOAT) == "float32"
    latest = find_policy("smollm2-ppl-bbc-centered-exponents")
    assert numbers_of(latest) == "unsigned weights + centered queries + tile exponents"
    assert numbers_of(find_policy("smollm2-ppl-bbc-unsigned")) == "unsigned weights"


def test_every_subset_of_the_changes_is_measured_in_both_modes():
    found = list(formats("smollm2", "ppl-wikitext2"))
    assert len({m.policy.to_json() for m in found}) == 2 ** len(numbers.CHANGES)
    assert len(found) == 2 * 2 ** len(numbers.CHANGES)
    for ending, name in (
        ("", "signed weights"),
        ("-unsigned", "unsigned weights"),
        ("-exponents", "unsigned weights + tile exponents"),
        ("-centered", "unsigned weights + centered queries"),
        ("-centered-exponents", "unsigned weights + centered queries + tile exponents"),
        ("-signed", "unsigned weights + centered queries + tile exponents + signed gains"),
    ):
        shipped = find_policy(f"smollm2-ppl-wikitext2{ending}").replace(record={})
        (fast, exact) = [m for m in found if m.policy == shipped]
        assert (fast.name, fast.mode) == (name, Mode.FAKE_QUANT)
        assert (exact.name, exact.mode) == (f"{name}, integer mode", Mode.INTEGER)
    with pytest.raises(UsageError, match="minilm-nothing is no policy of the project"):
        list(formats("minilm", "nothing"))


def test_rows_of_formats_make_a_table(decoder, tmp_path):
    """Overheads are shown beside the products; a study takes over what another measured."""
    loaded, task = decoder
    kept = Results(tmp_path / "rows.json")
    plain = task.evaluate(loaded, part="test")
    calls = []

    def reference(part):
        calls.append(part)
        return plain

    names = {"signed weights", "tile exponents"}
    chosen = [m for m in formats("tiny", "text") if m.name.removesuffix(", integer mode") in names]
    for method in chosen:
        kept.measure(loaded, task, method, reference, parts=("test",), study="numbers")
    assert len(calls) == len(chosen) == 4
    signed, tiles = kept.rows[:2]
    assert signed["overhead_ratio"] == 0 < tiles["overhead_ratio"]
    text = render(kept, {})
    assert "## What each change of the numbers is worth" in text
    line = next(x for x in text.splitlines() if x.startswith("|tile exponents|"))
    cells = line.split("|")[2:]
    exact = kept.rows[3]
    assert exact["mode"] == "integer"
    assert cells[1] == f"{tiles['metric'] / plain.metric - 1:+.2%}"
    assert cells[2] == f"{exact['metric'] / plain.metric - 1:+.2%}"
    assert float(cells[4]) - float(cells[3]) == pytest.approx(tiles["overhead_ratio"], abs=2e-3)
    # The same policy in a table of methods: the same figures, not measured again.
    searched = chosen[0]._replace(name="searched")
    (row,) = kept.measure(loaded, task, searched, reference, parts=("test",))
    assert len(calls) == 4
    assert {**signed, "study": "methods", "method": "searched"} == row
    (row,) = kept.measure(loaded, task, searched, reference, parts=("test",), renew=True)
    assert len(calls) == 5
    assert row["metric"] == signed["metric"]


def test_ways_to_choose_tokens_have_equal_bit_operations(decoder):
    loaded, task = decoder
    found = {m.name: m.policy for m in rankings(loaded, task)}
    assert list(found) == [
        "by importance", "at random", "the first ones", "the first token alone", "none",
    ]  # fmt: skip
    assert found["at random"].ranking is Ranking.RANDOM
    assert found["the first ones"].ranking is Ranking.FIRST
    assert found["none"].layers[1].share_4 == 1
    window = task.examples(loaded, "train")[0][None]

    def operations(policy):
        calibration = None
        if policy.calibrated:
            from dtqatten.algorithm.runtime import calibrate

            calibration = calibrate(loaded.model, task.calibration(loaded))
        with torch.no_grad(), attached(loaded.model, policy, calibration=calibration) as session:
            loaded.model(input_ids=window, use_cache=False)
        return session.tally.bops_ratio

    # A window has 64 tokens: one more of 8 bits is at most 0.5 / 64 of the bit operations.
    goal = operations(found["by importance"])
    for name in ("at random", "the first ones"):
        assert operations(found[name]) == pytest.approx(goal, abs=0.009)
    assert operations(found["none"]) == 0.25 < operations(found["the first token alone"]) < goal


def test_the_first_tokens_have_eight_bits(decoder):
    loaded, task = decoder
    policy = with_share(find_policy("smollm2-ppl-bbc"), 0.25)
    policy = policy.replace(
        layers=policy.layers[:3], ranking=Ranking.FIRST, smooth=None, center=False
    )
    ids = task.examples(loaded, "test")[0][None]
    padded = torch.cat([torch.zeros(1, 5, dtype=ids.dtype), ids], 1)
    mask = torch.ones_like(padded)
    mask[:, :5] = 0
    for given in ({"input_ids": ids}, {"input_ids": padded, "attention_mask": mask}):
        with torch.no_grad(), attached(loaded.model, policy, record=True) as session:
            loaded.model(**given, use_cache=False)
        for record in session.records:
            bits = record.bits[0, -64:]
            assert bits[:16].eq(8).all()
            assert bits[16:].eq(4).all()
    layers = [dataclasses.replace(layer, share_0=0.5, share_4=0.25) for layer in policy.layers[1:]]
    pruned = policy.replace(layers=(policy.layers[0], *layers))
    with torch.no_grad(), attached(loaded.model, pruned, record=True) as session:
        loaded.model(input_ids=ids, use_cache=False)
    assert session.records[2].bits[0].tolist() == [8] * 16 + [4] * 16 + [0] * 32


def test_a_decoder_goes_on_in_each_format(decoder, tmp_path):
    loaded, task = decoder
    found = continuations(loaded, task)
    assert found == json.loads(json.dumps(found))
    assert len(found["prompt"].split()) == 48
    plain, *others = found["texts"]
    ids = task.examples(loaded, "test")[0][None, :48]
    with torch.no_grad():
        for place in range(64):
            following = loaded.model(input_ids=ids).logits[0, -1].argmax()
            assert plain["text"].split()[place] == str(int(following))
            ids = torch.cat([ids, following[None, None]], 1)
    for other in others:
        said = other["text"].split()
        assert len(said) == 64
        pairs = zip(said, plain["text"].split(), strict=True)
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), 64)
        assert other["same"] == same
    assert [t["numbers"] for t in found["texts"]] == [
        "float32",
        "signed weights",
        "unsigned weights + centered queries + tile exponents + signed gains",
    ]
    text = render(Results(tmp_path / "rows.json"), {}, texts=[found])
    assert text.count("```text") == 4
    assert f"the first {others[0]['same']} tokens as in float" in text


def test_the_plain_score_is_that_of_a_row_of_the_same_texts(decoder, tmp_path):
    loaded, task = decoder
    kept = Results(tmp_path / "rows.json")
    data = {part: task.data_of(loaded, part) for part in ("dev", "test")}
    assert kept.plain(loaded, data["test"]) is None
    plain = task.evaluate(loaded, part="test")
    method = next(iter(formats("tiny", "text")))
    kept.measure(loaded, task, method, lambda _: plain, parts=("test",))
    known = kept.plain(loaded, data["test"])
    assert (known.metric, known.seconds, known.sequences) == (plain.metric, plain.seconds, 2)
    assert kept.plain(loaded, data["dev"]) is None
    assert kept.plain(dataclasses.replace(loaded, name="other"), data["test"]) is None
