"""Measure every method on a model and a task, and write docs/accuracy.md from the results."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dtqatten.algorithm.evaluate import Evaluation, evaluate
from dtqatten.algorithm.finetune import finetuned
from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.policy import Policy, Ranking
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.algorithm.study import noise_study
from dtqatten.algorithm.tasks import Score, Task, open_task
from dtqatten.files.whole import write_text
from dtqatten.golden.numerics.select import PAPER_SHARES

__all__ = [
    "NOISE",
    "PAPER_BOPS",
    "POLICIES",
    "Method",
    "Results",
    "draw",
    "methods",
    "render",
    "template",
]

#: Where the policies that searches found are kept.
POLICIES = Path(__file__).with_name("policies")
#: Endings of the names of policy files, and the methods whose policies they are.
_SEARCHED = {
    "": "searched",
    "-fast": "searched for speed",
    "-450": "searched at 0.45",
    "-600": "searched at 0.60",
    "-accurate": "searched for a loss of 1 %",
    "-values": "all 4 bit, with local V pruning",
    "-p8": "all 4 bit, with local V pruning, P at 8 bit",
    "-spatten": "SpAtten's method, searched",
    "-spatten-metric": "SpAtten's method, at equal metric",
}
#: Searched policies from few to many bit operations.
_CURVE = ("", "-450", "-600", "-accurate")
#: Examples of the noise study, which evaluates 15 times.
NOISE = 300
#: Average shares of 0, 4 and 8-bit tokens on GPT-2 (DTQAtten, DATE 2022).
PAPER_SHARES_DECODER = (0.218, 0.52, 0.262)
#: Bit operations that the paper's average shares imply, P at 8 bits: encoder and decoder.
PAPER_BOPS = {False: 0.316, True: 0.340}


def template(layers: int, causal: bool) -> Policy:
    """Return 8 bits everywhere, with the options that a family of models needs.

    Decoders need scales per token and conditioning, and all their queries; on encoders pruned
    tokens go on through the feed-forward.
    """
    if causal:
        return Policy.flat(
            layers,
            granularity="token",
            rotate=True,
            smooth=0.5,
            center=True,
            count_normalize=True,
            prune_queries=False,
            protect=("first",),
        )
    return Policy.flat(layers, granularity="token", rotate=True, pruned="ffn", p_follows_token=True)


class Method(NamedTuple):
    """What is compared with others on a task.

    Parameters
    ----------
    name : str
    policy : Policy
    mode : Mode
    steps : int
        Of fine-tuning under the policy; 0 is none.
    """

    name: str
    policy: Policy
    mode: Mode = Mode.FAKE_QUANT
    steps: int = 0


class Results:
    """Rows measured so far, kept in a JSON file that is rewritten after each.

    Parameters
    ----------
    path : Path
        ``accuracy.json``: a list of rows. A row is not measured again while its policy and the
        texts, their number and length included, are the same.

    Raises
    ------
    ValueError
        If a row does not say which texts it was measured on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            self.rows = json.loads(path.read_text(encoding="utf-8"))
        if any("data" not in row for row in self.rows):
            raise ValueError(
                f"{path} has rows that do not say how many texts, and which, they were measured "
                "on: move it away to measure anew, or give another file with --results"
            )

    def find(self, key: str) -> dict[str, Any] | None:
        """Return the row with a key, None if it is not there."""
        return next((row for row in self.rows if row.get("key") == key), None)

    def add(self, row: dict[str, Any]) -> None:
        """Add a row in place of what the same method gave on the same texts before."""
        old = [
            i
            for i, r in enumerate(self.rows)
            if _set_of(r) == _set_of(row) and r["method"] == row["method"]
        ]
        if old:
            self.rows[old[0]] = row
        else:
            self.rows.append(row)
        write_text(self.path, json.dumps(self.rows, indent=1) + "\n")

    def keep(self, model: str, task: str, order: Sequence[str], data: str | None = None) -> None:
        """Put a model's and task's rows into an order, and drop methods that are not in it.

        ``data`` is that of the rows; None if they are all of the same.
        """
        own = [
            r
            for r in self.rows
            if (r["model"], r["task"]) == (model, task) and data in (None, r.get("data"))
        ]
        named = {row["method"]: row for row in own}
        # Tasks stay in the order in which they were first measured.
        place = min((i for i, r in enumerate(self.rows) if r in own), default=0)
        rest = [r for r in self.rows if r not in own]
        self.rows = rest[:place] + [named[name] for name in order if name in named] + rest[place:]
        write_text(self.path, json.dumps(self.rows, indent=1) + "\n")

    def measure(
        self,
        loaded: Loaded,
        task: Task,
        method: Method,
        reference: Callable[[], Score],
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, Any]:
        """Measure a method unless its row is there, and return the row."""
        name, policy, mode, steps = method
        what = policy.replace(record={}).to_json()
        data = task.data_of(loaded, "dev")
        text = json.dumps([what, mode, loaded.name, task.name, data, steps])
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        found = self.find(key)
        if found is not None and found["method"] == name:
            return found
        score = reference()
        if steps:
            loaded = finetuned(
                loaded, task, policy, steps, mode=mode, seed=policy.seed, progress=progress
            )
        result = evaluate(loaded, task, policy, mode, reference=score, progress=progress)
        row = {"method": name, **result.row(), "seed": policy.seed, **data, "key": key}
        self.add(row)
        return row


def methods(loaded: Loaded, task: Task, steps: int) -> Iterator[Method]:
    """Yield what is compared on a task.

    Searched policies are those of ``POLICIES`` that are named after model and task; what is
    fine-tuned, for ``steps``, is the model under the searched policy and, as control, in float.
    """
    layers, causal = loaded.layers, loaded.causal
    base = template(layers, causal).replace(p_follows_token=False)
    bare = Policy.flat(layers, count_normalize=causal, prune_queries=not causal)
    shares = PAPER_SHARES_DECODER if causal else PAPER_SHARES

    def flat(policy: Policy, chosen: tuple[float, float, float]) -> Policy:
        return policy.replace(layers=Policy.flat(layers, chosen).layers)

    yield Method("int8", bare)
    yield Method("all 4 bit, scales per head", flat(bare, (0.0, 1.0, 0.0)))
    yield Method("all 4 bit, conditioned", flat(base, (0.0, 1.0, 0.0)))
    narrow = base.replace(p_follows_token=True)
    yield Method("all 4 bit, P follows token", flat(narrow, (0.0, 1.0, 0.0)))
    yield Method("paper's shares, flat", flat(base, shares))
    stem = f"{loaded.name}-{task.name}"
    searched: Policy | None = None
    for suffix, name in _SEARCHED.items():
        path = POLICIES / f"{stem}{suffix}.json"
        if not path.is_file():
            continue
        policy = Policy.load(path)
        yield Method(name, policy)
        if not suffix:
            searched = policy
        if suffix in ("", "-fast"):
            if not causal and not task.brief:
                yield Method(f"{name}, integer mode", policy, Mode.INTEGER)
            if policy.ranks:
                control = policy.replace(ranking=Ranking.RANDOM)
                yield Method(f"{name}, random ranking", control)
    if searched is not None and steps:
        yield Method("searched, fine-tuned", searched, steps=steps)
        yield Method("float32, fine-tuned", Policy.flat(layers), Mode.FLOAT, steps)


def draw(
    loaded: Loaded,
    task: Task,
    policy: Policy,
    found: Evaluation,
    folder: Path,
    text: str,
    *,
    noise: bool = False,
    series: dict[str, Sequence[tuple[float, float]]] | None = None,
) -> list[Path]:
    """Draw a policy: tokens of a sentence by layer, metric against BOPs, the noise study.

    Parameters
    ----------
    loaded, task, policy : Loaded, Task, Policy
        What was evaluated.
    found : Evaluation
        The result.
    folder : Path
        Where to.
    text : str
        Sentence whose tokens are drawn.
    noise : bool
        Run and draw the noise study too; takes 15 evaluations.
    series : dict, optional
        Further ``(BOPs, metric)`` points of the Pareto plot by name.

    Returns
    -------
    list of Path
        Pictures written.
    """
    import torch

    from dtqatten.algorithm.evaluate import calibration_of
    from dtqatten.algorithm.pictures import (
        noise_figure,
        pareto_figure,
        save,
        tokens_figure,
    )

    stem = f"{loaded.name.rstrip('/').split('/')[-1]}-{task.name}"
    batch = loaded.tokenizer(text, return_tensors="pt")
    given = {k: batch[k] for k in ("input_ids", "attention_mask")}
    with (
        torch.no_grad(),
        attached(
            loaded.model,
            policy,
            special_ids=loaded.special_ids,
            calibration=calibration_of(loaded, task, policy),
            record=True,
        ) as session,
    ):
        loaded.model(**given)
    tokens = loaded.tokenizer.convert_ids_to_tokens(given["input_ids"][0].tolist())
    title = "precision by colour, importance by height"
    written = [folder / f"{stem}-tokens.svg", folder / f"{stem}-pareto.svg"]
    save(tokens_figure([t.replace("$", r"\$") for t in tokens], session.records, title), written[0])
    points = {"this policy": [(found.bops_ratio, found.metric)], **(series or {})}
    save(pareto_figure(points, found.metric_name, found.float_metric), written[1])
    if noise:
        path = folder / f"{stem}-noise.svg"
        few = open_task(task.name, task.data, min(task.limit or NOISE, NOISE))
        study = noise_study(loaded, few)
        save(noise_figure(study, found.metric_name, found.float_metric), path)
        values = [
            {"which": p.which, "kind": p.kind, "strength": p.strength, "metric": p.metric}
            for p in study
        ]
        write_text(path.with_suffix(".json"), json.dumps(values, indent=1) + "\n")
        written += [path, path.with_suffix(".json")]
    return written


def render(
    results: Results,
    versions: dict[str, str],
    pictures: Sequence[str] = (),
    noise: Sequence[dict[str, Any]] = (),
) -> str:
    """Return the text of docs/accuracy.md.

    Parameters
    ----------
    results : Results
        Rows of all models and tasks.
    versions : dict
        Versions of what was run.
    pictures : sequence of str
        Paths of pictures relative to the document.
    noise : sequence of dict
        Points of the noise study.
    """
    lines = [_HEAD.format(versions=", ".join(f"{k} {v}" for k, v in versions.items()))]
    for one in dict.fromkeys(map(_set_of, results.rows)):
        model, task, _ = one
        lines += _section(model, task, [row for row in results.rows if _set_of(row) == one])
    if noise:
        lines += _noise_section(noise)
    for path in pictures:
        lines.append(f"![{Path(path).stem}]({path})")
    return "\n".join(lines).rstrip() + "\n"


_HEAD = """# Accuracy of dynamic token quantization on real models

Written by `dtqatten accuracy`; do not edit. {versions}.
On one machine all figures but times come out the same again; with other vector instructions sums
round differently, values fall to the other side of a 4-bit step, and a metric moves in its fourth
digit or its third.
One thread; seeds are in the rows of `build/accuracy.json`, trials and options of a search in the
`record` of its policy file (`algorithm/policies/`).
Encoders are scored on the full dev sets, BBC on all articles that train neither probe nor search
(1191 different ones, of which the corpus repeats 47 in the other parts; cut to 128 tokens, in
*bbc512* to 512, there without integer mode and fine-tuning, because these take long), decoders on
512-token windows without overlap, as many as each table says. Nothing is fine-tuned but the rows
that say so, all weights, through the straight-through estimator under the searched policy;
*float32, fine-tuned* is the same training without quantization.

- *BOPs*: bits times bits of every pair that is computed in Q K^T and P V, relative to the same
  attention with all tokens and P in 8 bits. *Bytes*: Q, K and V fetched, gains included, relative
  to 8 bits. *0/4/8*: shares of the tokens, mean over layers.
- *loss*: relative loss of the metric against the plain float32 model; negative is better.
- *all 4 bit, conditioned* and all rows below it: a scale per token and rotated Q, K and V, on the
  decoder smoothed and centered as well. Encoders: pruned tokens go on through the feed-forward.
  Decoder: every position predicts, so pruned tokens stay as queries in 4 bits, and importance is
  that of the whole window, as in prefill: it includes queries after the predicted token.
- Searched policies, SpAtten's and *all 4 bit, with local V pruning* on encoders, *searched* and
  *for a loss of 1 %* on the decoder use `p_follows_token`: a weight of P keeps only its highest
  nibble where its token has 4 bits, and P V then costs 4 x 4. *4 bit, P follows token* shows what
  that alone does. In all others P has 8 bits.
- *searched for speed*: fewer bit operations than *searched*, all of it by pruning whole tokens,
  which is what the core runs; docs/performance.md has its speed.
- Decoder: *searched for a loss of 1 %* has the least BOPs a search found within 1 % on its own
  text; *searched at 0.45*, *0.60*, where shown, the least loss within these BOPs. docs/algorithm.md
  has the front on the search's text.
- *local V pruning*: each head leaves out the V of the tokens that draw least probability there.
- *SpAtten's method*: cascade token and head pruning, local V pruning, progressive quantization,
  layer-wise 4 or 8 bits, on the same conditioned operands and with the same treatment of pruned
  tokens; its schedule was searched in the same way, at the same BOPs, on the decoder with P's width
  and in few trials (`trials` in the policy's `record`). *At equal metric*, where shown: its least
  BOPs for the loss of *searched* on the search's own text.
- *drift* in `build/accuracy.json`: divergence from the plain model's predictions, nats. A policy
  may be searched by it (`--fidelity`): counts of right answers are too noisy a goal.
- *time*: processor time in the model relative to the plain one.
"""


def _set_of(row: dict[str, Any]) -> tuple[str, str, str | None]:
    """What rows have in common that can be compared: model, task and texts."""
    return row["model"], row["task"], row.get("data")


def _section(model: str, task: str, rows: list[dict[str, Any]]) -> list[str]:
    first = rows[0]
    causal = first["metric_name"] == "perplexity"
    plain = 1e3 * first["float_seconds"] / first["sequences"]
    lines = [
        f"## {model}, {task}",
        f"{first['sequences']} {'windows' if causal else 'texts'}; {first['metric_name']} of the "
        f"plain model **{first['float_metric']:.4f}**, {plain:.0f} ms each.\n",
        f"|method|{first['metric_name']}|loss|0/4/8 %|BOPs|bytes|time|",
        "|---|---|---|---|---|---|---|",
        f"|float32|{first['float_metric']:.4f}|0||||1.00x|",
    ]
    for row in rows:
        costs = "||"
        if not row["method"].startswith("float32"):
            shares = "/".join(f"{100 * row[f'share_{b}']:.1f}" for b in (0, 4, 8))
            costs = f"{shares}|{row['bops_ratio']:.3f}|{row['bytes_ratio']:.3f}"
        lines.append(
            f"|{row['method']}|{row['metric']:.4f}|{100 * _loss(row):+.2f} %|{costs}|"
            f"{_slower(row):.2f}x|"
        )
    return [*lines, "", *_findings(rows, causal), ""]


def _slower(row: dict[str, Any]) -> float:
    """Time relative to the plain model."""
    return float(row["seconds"] / max(row["float_seconds"], 1e-9))


def _findings(rows: list[dict[str, Any]], causal: bool) -> list[str]:
    """Say for a task whether the goals are reached, and how SpAtten's method compares."""
    named = {row["method"]: row for row in rows}
    goal = PAPER_BOPS[causal] * (1.0 if causal else 0.7)
    lines = []
    local = _SEARCHED["-values"]
    fast = _SEARCHED["-fast"]
    for name in ("searched", fast, "searched, fine-tuned", local, f"{local}, P at 8 bit"):
        if name in named:
            row = named[name]
            good = _loss(row) <= 0.01 and row["bops_ratio"] <= goal + 5e-4
            lines.append(
                f"- Goal for *{name}*: loss at most 1 %, BOPs at most {goal:.3f}: "
                f"{'**reached**' if good else '**not reached**'} "
                f"({100 * _loss(row):+.2f} %, {row['bops_ratio']:.3f})."
            )
    four, control = named.get("all 4 bit, conditioned"), named.get("float32, fine-tuned")
    if control is not None:
        lines.append(
            f"- The same fine-tuning without quantization: {100 * _loss(control):+.2f} %; what the "
            f"policy costs a fine-tuned model is the difference, "
            f"{100 * (_loss(named['searched, fine-tuned']) - _loss(control)):+.2f} %."
        )
    if four is not None and _loss(four) > 0.01 and four["bops_ratio"] > goal:
        lines.append(
            f"- In the way: 4-bit tokens alone, with conditioning and nothing pruned, lose "
            f"{100 * _loss(four):.2f} % at {four['bops_ratio']:.3f}, more than either goal allows."
        )
    curve = [named[n] for n in map(_SEARCHED.__getitem__, _CURVE) if n in named]
    if causal and len(curve) > 1:
        points = ", ".join(f"{100 * _loss(r):+.2f} % at {r['bops_ratio']:.3f}" for r in curve)
        lines.append(f"- Loss against BOPs of the searched policies: {points}.")
    own = named.get("searched")
    for other in (named.get(_SEARCHED[x]) for x in ("-spatten", "-spatten-metric")):
        if own is None or other is None:
            continue
        shares = [row["share_0"] + row["share_4"] for row in (own, other)]
        verdict = "more than" if shares[0] > shares[1] + 5e-3 else "not more than"
        lines.append(
            f"- Tokens of 0 or 4 bits: {100 * shares[0]:.1f} % at {100 * _loss(own):+.2f} %, "
            f"**{verdict}** *{other['method']}* with {100 * shares[1]:.1f} % at "
            f"{100 * _loss(other):+.2f} %; BOPs {own['bops_ratio']:.3f} against "
            f"{other['bops_ratio']:.3f}."
        )
    slowest = max((row for row in rows if "integer" not in row["method"]), key=_slower)
    lines.append(
        f"- Slowest fake-quant method: *{slowest['method']}*, {_slower(slowest):.2f} times the "
        f"plain model; goal: at most 2, "
        f"{'**reached**' if _slower(slowest) <= 2 else '**not reached**'}."
    )
    return lines


def _loss(row: dict[str, Any]) -> float:
    change = float(row["metric"] / row["float_metric"] - 1)
    return change if row["metric_name"] == "perplexity" else -change


def _noise_section(points: Sequence[dict[str, Any]]) -> list[str]:
    kinds = list(dict.fromkeys((p["kind"], p["strength"]) for p in points))
    lines = [
        "## What importance is worth",
        "Noise on Q, K and V, as a multiple of their rms, or pruning, of the most, middle and "
        "least important 15, 70 and 15 % of the tokens in every layer from the second on; floating "
        "point, MiniLM, first 300 pairs of STS-B dev, Spearman.\n",
        "|tokens|" + "|".join("pruned" if k == "prune" else f"noise {s:g}" for k, s in kinds) + "|",
        "|---" * (len(kinds) + 1) + "|",
    ]
    for which in dict.fromkeys(p["which"] for p in points):
        own = {(p["kind"], p["strength"]): p["metric"] for p in points if p["which"] == which}
        lines.append(f"|{which} important|" + "|".join(f"{own[k]:.4f}" for k in kinds) + "|")
    return [*lines, ""]
