"""Measure every method on a model and a task, and write docs/accuracy.md from the results."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dtqatten.golden.algorithm.evaluate import Evaluation, evaluate
from dtqatten.golden.algorithm.files import write_text
from dtqatten.golden.algorithm.finetune import finetuned
from dtqatten.golden.algorithm.models import Loaded
from dtqatten.golden.algorithm.policy import Policy, Ranking
from dtqatten.golden.algorithm.runtime import Mode, attached
from dtqatten.golden.algorithm.study import noise_study
from dtqatten.golden.algorithm.tasks import Score, Task, open_task
from dtqatten.golden.select import PAPER_SHARES

__all__ = ["PAPER_BOPS", "POLICIES", "Results", "draw", "methods", "render", "template"]

#: Where the policies that searches found are kept.
POLICIES = Path(__file__).with_name("policies")
#: Examples of the noise study, which evaluates 15 times.
_NOISE = 300
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


class Results:
    """Rows measured so far, kept in a JSON file that is rewritten after each.

    Parameters
    ----------
    path : Path
        ``accuracy.json``: a list of rows. Rows whose policy has not changed are not measured again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.is_file():
            self.rows = json.loads(path.read_text(encoding="utf-8"))

    def find(self, key: str) -> dict[str, Any] | None:
        """Return the row with a key, None if it is not there."""
        return next((row for row in self.rows if row.get("key") == key), None)

    def add(self, row: dict[str, Any]) -> None:
        """Add a row in place of what the same method gave on the same task before."""
        same = ("model", "task", "method")
        self.rows = [r for r in self.rows if any(r[k] != row[k] for k in same)]
        self.rows.append(row)
        write_text(self.path, json.dumps(self.rows, indent=1) + "\n")

    def keep(self, model: str, task: str, order: Sequence[str]) -> None:
        """Put a model's and task's rows into an order, and drop methods that are not in it."""
        own = [r for r in self.rows if (r["model"], r["task"]) == (model, task)]
        named = {row["method"]: row for row in own}
        self.rows = [r for r in self.rows if r not in own]
        self.rows += [named[name] for name in order if name in named]
        write_text(self.path, json.dumps(self.rows, indent=1) + "\n")

    def measure(
        self,
        loaded: Loaded,
        task: Task,
        method: str,
        policy: Policy,
        reference: Callable[[], Score],
        mode: Mode = Mode.FAKE_QUANT,
        progress: Callable[[int, int], None] | None = None,
        steps: int = 0,
    ) -> dict[str, Any]:
        """Measure a method unless its row is there, and return the row.

        With ``steps`` the model is fine-tuned under the policy for as many steps first.
        """
        what = policy.replace(record={}).to_json()
        text = json.dumps([what, mode, loaded.name, task.name, task.limit, steps])
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        found = self.find(key)
        if found is not None and found["method"] == method:
            return found
        score = reference()
        if steps:
            loaded = finetuned(loaded, task, policy, steps, seed=policy.seed, progress=progress)
        result = evaluate(loaded, task, policy, mode, reference=score, progress=progress)
        row = {"method": method, **result.row(), "seed": policy.seed, "key": key}
        self.add(row)
        return row


def methods(loaded: Loaded, task: Task) -> Iterator[tuple[str, Policy, Mode]]:
    """Yield what is compared on a task: name, policy and mode.

    Searched policies are those of ``POLICIES`` that are named after model and task.
    """
    layers, causal = loaded.layers, loaded.causal
    base = template(layers, causal).replace(p_follows_token=False)
    bare = Policy.flat(layers, count_normalize=causal, prune_queries=not causal)
    shares = PAPER_SHARES_DECODER if causal else PAPER_SHARES

    def flat(policy: Policy, chosen: tuple[float, float, float]) -> Policy:
        return policy.replace(layers=Policy.flat(layers, chosen).layers)

    yield "int8", bare, Mode.FAKE_QUANT
    yield "all 4 bit, scales per head", flat(bare, (0.0, 1.0, 0.0)), Mode.FAKE_QUANT
    yield "all 4 bit, conditioned", flat(base, (0.0, 1.0, 0.0)), Mode.FAKE_QUANT
    narrow = base.replace(p_follows_token=True)
    yield "all 4 bit, P follows token", flat(narrow, (0.0, 1.0, 0.0)), Mode.FAKE_QUANT
    yield "paper's shares, flat", flat(base, shares), Mode.FAKE_QUANT
    stem = f"{loaded.name}-{task.name}"
    for suffix, name in (
        ("", "searched"),
        ("-values", "all 4 bit, with local V pruning"),
        ("-p8", "all 4 bit, with local V pruning, P at 8 bit"),
        ("-spatten", "SpAtten's method, searched"),
    ):
        path = POLICIES / f"{stem}{suffix}.json"
        if not path.is_file():
            continue
        policy = Policy.load(path)
        yield name, policy, Mode.FAKE_QUANT
        if not suffix and not causal:
            yield f"{name}, integer mode", policy, Mode.INTEGER
        if not suffix and policy.ranks:
            yield f"{name}, random ranking", policy.replace(ranking=Ranking.RANDOM), Mode.FAKE_QUANT


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

    from dtqatten.golden.algorithm.evaluate import calibration_of
    from dtqatten.golden.algorithm.pictures import (
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
        few = open_task(task.name, task.data, min(task.limit or _NOISE, _NOISE))
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
    pairs = dict.fromkeys((row["model"], row["task"]) for row in results.rows)
    for model, task in pairs:
        rows = [r for r in results.rows if (r["model"], r["task"]) == (model, task)]
        lines += _section(model, task, rows)
    if noise:
        lines += _noise_section(noise)
    for path in pictures:
        lines.append(f"![{Path(path).stem}]({path})")
    return "\n".join(lines).rstrip() + "\n"


_HEAD = """# Accuracy of dynamic token quantization on real models

Written by `dtqatten accuracy`; do not edit. {versions}.
One thread; seeds are in the rows of `build/accuracy.json`, trials and options of a search in the
`record` of its policy file (`golden/algorithm/policies/`). Nothing is fine-tuned but the rows that
say so: a few steps of 16 training examples through the straight-through estimator, under the
searched policy.

- *BOPs*: bits times bits of every pair that is computed in Q K^T and P V, relative to the same
  attention with all tokens and P in 8 bits. *Bytes*: Q, K and V fetched, gains included, relative
  to 8 bits. *0/4/8*: shares of the tokens, mean over layers.
- *loss*: relative loss of the metric against the plain float32 model; negative is better.
- *all 4 bit, conditioned* and all rows below it: a scale per token and rotated Q, K and V, on the
  decoder smoothed and centered as well. Encoders: pruned tokens go on through the feed-forward.
  Decoder: every position predicts, so pruned tokens stay as queries in 4 bits, and importance is
  that of the whole window, as in prefill: it includes queries after the predicted token.
- Searched policies and SpAtten's use `p_follows_token`: a weight of P keeps only its highest nibble
  where its token has 4 bits, and P V then costs 4 x 4. In the rows above them P has 8 bits. *4 bit,
  P follows token* shows what that alone does.
- *local V pruning*: each head leaves out the V of the tokens that draw least probability there.
- *SpAtten's method*: cascade token and head pruning, local V pruning, progressive quantization,
  layer-wise 4 or 8 bits, on the same conditioned operands and with the same treatment of pruned
  tokens; its schedule was searched in the same way.
- *time*: processor time in the model relative to the plain one.
"""


def _section(model: str, task: str, rows: list[dict[str, Any]]) -> list[str]:
    first = rows[0]
    causal = first["metric_name"] == "perplexity"
    lines = [
        f"## {model}, {task}",
        f"{first['sequences']} {'windows' if causal else 'texts'}; {first['metric_name']} of the "
        f"plain model **{first['float_metric']:.4f}**.\n",
        f"|method|{first['metric_name']}|loss|0/4/8 %|BOPs|bytes|time|",
        "|---|---|---|---|---|---|---|",
        f"|float32|{first['float_metric']:.4f}|0||||1.00x|",
    ]
    for row in rows:
        shares = "/".join(f"{100 * row[f'share_{b}']:.1f}" for b in (0, 4, 8))
        slow = row["seconds"] / max(row["float_seconds"], 1e-9)
        lines.append(
            f"|{row['method']}|{row['metric']:.4f}|{100 * _loss(row):+.2f} %|{shares}|"
            f"{row['bops_ratio']:.3f}|{row['bytes_ratio']:.3f}|{slow:.2f}x|"
        )
    lines.append("")
    named = {row["method"]: row for row in rows}
    goal = PAPER_BOPS[causal] * (1.0 if causal else 0.7)
    local = "all 4 bit, with local V pruning"
    for name in ("searched", "searched, fine-tuned", local, f"{local}, P at 8 bit"):
        if name in named:
            row = named[name]
            good = _loss(row) <= 0.01 and row["bops_ratio"] <= goal + 5e-4
            lines.append(
                f"Goal for *{name}*: loss at most 1 %, BOPs at most {goal:.3f}: "
                f"{'**reached**' if good else '**not reached**'} "
                f"({100 * _loss(row):+.2f} %, {row['bops_ratio']:.3f})."
            )
    other = named.get("SpAtten's method, searched")
    if "searched" in named and other is not None:
        own = named["searched"]
        lines.append(
            f"Tokens of 0 or 4 bits: {100 * (own['share_0'] + own['share_4']):.1f} % at "
            f"{100 * _loss(own):+.2f} % loss, SpAtten's method "
            f"{100 * (other['share_0'] + other['share_4']):.1f} % at {100 * _loss(other):+.2f} %; "
            f"BOPs {own['bops_ratio']:.3f} against {other['bops_ratio']:.3f}."
        )
    return [*lines, ""]


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
