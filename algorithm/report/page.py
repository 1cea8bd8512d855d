"""The text of docs/accuracy.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dtqatten.algorithm.report.methods import SEARCHED
from dtqatten.algorithm.report.results import METHODS, Results, set_of
from dtqatten.algorithm.report.sections import (
    chosen_and_reported,
    loss,
    made_by,
    number_sections,
    ranking_sections,
    text_section,
    title,
)

__all__ = ["PAPER_BOPS", "render"]

#: Searched policies from few to many bit operations.
_CURVE = ("", "-450", "-600", "-accurate")
#: Searched policies in other formats of numbers.
FORMATS = (
    *("-unsigned", "-exponents", "-centered", "-centered-exponents"),
    *("-signed", "-signed-first", "-signed-4-bit"),
)
#: Bit operations that the paper's average shares imply, P at 8 bits: encoder and decoder.
PAPER_BOPS = {False: 0.316, True: 0.340}


def render(
    results: Results,
    versions: dict[str, str],
    pictures: Sequence[str] = (),
    noise: Sequence[dict[str, Any]] = (),
    texts: Sequence[dict[str, Any]] = (),
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
    texts : sequence of dict
        What decoders say after a text, of
        :func:`dtqatten.algorithm.report.continuation.continuations`.
    """
    lines = [_HEAD.format(versions=", ".join(f"{k} {v}" for k, v in versions.items()))]
    rows: dict[tuple[str, str, str, str | None], list[dict[str, Any]]] = {}
    for row in results.rows:
        rows.setdefault(set_of(row), []).append(row)
    methods = {one: found for one, found in rows.items() if one[0] == METHODS}
    lines += chosen_and_reported(list(methods.values()))
    for found in methods.values():
        lines += _section(found)
    lines += number_sections([found for one, found in rows.items() if one[0] == "numbers"])
    lines += ranking_sections([found for one, found in rows.items() if one[0] == "importance"])
    for each in texts:
        lines += text_section(each)
    if noise:
        lines += _noise_section(noise)
    if pictures:
        lines.append("## Pictures\nOf the part that was measured last with all methods.\n")
    for path in pictures:
        lines.append(f"![{Path(path).stem}]({path})")
    return "\n".join(lines).rstrip() + "\n"


_HEAD = """# Accuracy of dynamic token quantization on real models

Written by `dtqatten accuracy`; do not edit. {versions}.
On one machine all figures but times come out the same again; with other vector instructions sums
round differently, values fall to the other side of a 4-bit step, and a metric moves in its fourth
digit or its third.
One thread; seeds are in the rows ([rows.json](accuracy/rows.json)), trials and options of a search
in the `record` of its policy file (`algorithm/policies/`).

**Parts.** Policies are searched on training texts, chosen on *dev*, and reported on *test*, which
chose nothing:

|task|searched on|dev|test|
|---|---|---|---|
|stsb|three quarters of the training pairs, shuffled|the dev set|the last quarter|
|sst2|the last 600 training sentences|the dev set|the 1000 before those 600|
|bbc, bbc512|200 articles|600 others|the last 625, those that the corpus holds once|
|ppl-bbc|the last 40 articles|the first 120|120 others, those that the corpus holds once|
|ppl-wikitext2|the last quarter of the validation set|the first|the third|

What calibrates, trains a probe or fine-tunes is in none of them, but for STS-B's training pairs,
which a search may see. BBC's articles are cut to 128 tokens, in *bbc512* to 512, there without
integer mode and fine-tuning, because these take long; decoders are scored on 512-token windows
without overlap, as many as each table says.

Tables of *dev before the split* are older: on STS-B and SST-2 the same texts as dev, with a probe
and fine-tuning that had the test texts, too; on BBC dev and test together. Policies of that time
were reported on these and may have been preferred by them: BBC's test part is not unseen for them,
all other test parts are. *Groups in the text's order* are those of local V as golden model and
policies chose them then; the machine's list has 4-bit tokens first, and so have all other rows.

**Numbers** are the format: weights of P signed or unsigned, queries centered or not, tiles of keys
with exponents or not, gains by the largest magnitude or of least error with a sign
([numerics.md](numerics.md)). **Commit** is the one that a row was measured
by; `dtqatten accuracy --method NAME --renew` measures some again, and the others stay. Rows of the
commits bc622ee, 637ca6c and fc15298 are taken from the page of their time, to its digits.

Nothing is fine-tuned but the rows that say so, all weights, through the straight-through estimator
under the searched policy; *float32, fine-tuned* is the same training without quantization.

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
- *local V pruning*: each row block of queries leaves out V of the groups of keys that weigh least
  in it, on the arrays of preset `base`; bytes are those of all V.
- *SpAtten's method*: cascade token and head pruning, local V pruning, progressive quantization,
  layer-wise 4 or 8 bits, on the same conditioned operands and with the same treatment of pruned
  tokens; its schedule was searched in the same way, at the same BOPs, on the decoder with P's width
  and in few trials (`trials` in the policy's `record`). *At equal metric*, where shown: its least
  BOPs for the loss of *searched* on the search's own text.
- *drift* in the rows: divergence from the plain model's predictions, nats. A policy
  may be searched by it (`--fidelity`): counts of right answers are too noisy a goal.
- *time*: processor time in the model relative to the plain one.
"""


def _section(rows: list[dict[str, Any]]) -> list[str]:
    first = rows[0]
    causal = first["metric_name"] == "perplexity"
    plain = 1e3 * first["float_seconds"] / first["sequences"]
    lines = [
        f"## {title(first)}",
        f"{first['metric_name'].capitalize()} of the plain model "
        f"**{first['float_metric']:.4f}**, {plain:.0f} ms each.\n",
        f"|method|numbers|{first['metric_name']}|loss|0/4/8 %|BOPs|bytes|time|commit|",
        "|---" * 9 + "|",
        f"|float32|float32|{first['float_metric']:.4f}|0||||1.00x||",
    ]
    for row in rows:
        costs = "||"
        if not row["method"].startswith("float32"):
            shares = "/".join(f"{100 * row[f'share_{b}']:.1f}" for b in (0, 4, 8))
            costs = f"{shares}|{row['bops_ratio']:.3f}|{row['bytes_ratio']:.3f}"
        lines.append(
            f"|{row['method']}|{row.get('numbers', '')}|{row['metric']:.4f}|"
            f"{100 * loss(row):+.2f} %|{costs}|{_slower(row):.2f}x|{made_by(row)}|"
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
    local = SEARCHED["-values"]
    fast = SEARCHED["-fast"]
    formats = [SEARCHED[x] for x in FORMATS] if causal else []
    for name in (
        "searched",
        *formats,
        fast,
        "searched, fine-tuned",
        local,
        f"{local}, P at 8 bit",
    ):
        if name in named:
            row = named[name]
            good = loss(row) <= 0.01 and row["bops_ratio"] <= goal + 5e-4
            lines.append(
                f"- Goal for *{name}*: loss at most 1 %, BOPs at most {goal:.3f}: "
                f"{'**reached**' if good else '**not reached**'} "
                f"({100 * loss(row):+.2f} %, {row['bops_ratio']:.3f})."
            )
    four, control = named.get("all 4 bit, conditioned"), named.get("float32, fine-tuned")
    if control is not None:
        lines.append(
            f"- The same fine-tuning without quantization: {100 * loss(control):+.2f} %; what the "
            f"policy costs a fine-tuned model is the difference, "
            f"{100 * (loss(named['searched, fine-tuned']) - loss(control)):+.2f} %."
        )
    if four is not None and loss(four) > 0.01 and four["bops_ratio"] > goal:
        lines.append(
            f"- In the way: 4-bit tokens alone, with conditioning and nothing pruned, lose "
            f"{100 * loss(four):.2f} % at {four['bops_ratio']:.3f}, more than either goal allows."
        )
    curve = [named[n] for n in map(SEARCHED.__getitem__, _CURVE) if n in named]
    if causal and len(curve) > 1:
        points = ", ".join(f"{100 * loss(r):+.2f} % at {r['bops_ratio']:.3f}" for r in curve)
        lines.append(f"- Loss against BOPs of the searched policies: {points}.")
    own = named.get("searched")
    for other in (named.get(SEARCHED[x]) for x in ("-spatten", "-spatten-metric")):
        if own is None or other is None:
            continue
        shares = [row["share_0"] + row["share_4"] for row in (own, other)]
        verdict = "more than" if shares[0] > shares[1] + 5e-3 else "not more than"
        lines.append(
            f"- Tokens of 0 or 4 bits: {100 * shares[0]:.1f} % at {100 * loss(own):+.2f} %, "
            f"**{verdict}** *{other['method']}* with {100 * shares[1]:.1f} % at "
            f"{100 * loss(other):+.2f} %; BOPs {own['bops_ratio']:.3f} against "
            f"{other['bops_ratio']:.3f}."
        )
    timed = [row for row in rows if "integer" not in row["method"]]
    if not timed:
        return lines
    slowest = max(timed, key=_slower)
    lines.append(
        f"- Slowest fake-quant method: *{slowest['method']}*, {_slower(slowest):.2f} times the "
        f"plain model; goal: at most 2, "
        f"{'**reached**' if _slower(slowest) <= 2 else '**not reached**'}."
    )
    return lines


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
