"""Sections of docs/accuracy.md beside the tables of methods."""

from collections.abc import Sequence
from typing import Any

__all__ = [
    "chosen_and_reported",
    "loss",
    "made_by",
    "number_sections",
    "ranking_sections",
    "text_section",
    "title",
]

Row = dict[str, Any]
#: Loss on test beyond that on dev from which a policy is said to be fitted to dev, points.
FITTED = 0.01


def loss(row: Row) -> float:
    """Relative loss of metric against the plain model."""
    change = float(row["metric"] / row["float_metric"] - 1)
    return change if row["metric_name"] == "perplexity" else -change


def title(row: Row) -> str:
    """Return what a row was measured on: model, task, part, number of texts."""
    texts = "windows" if row["metric_name"] == "perplexity" else "texts"
    part = f" {row['part']}," if "part" in row else ""
    return f"{row['model']}, {row['task']}:{part} {row['sequences']} {texts}"


def made_by(row: Row) -> str:
    """Return the commit that a row was measured by, or the version where there was none."""
    return str(row.get("commit") or row.get("version", ""))


def chosen_and_reported(tables: Sequence[Sequence[Row]]) -> list[str]:
    """Return a table of methods that were measured on dev and on test.

    Where dev was measured on several sets, the latest counts, as for test.
    """
    found: dict[tuple[str, str, str], dict[str, Row]] = {}
    for table in tables:
        for row in table:
            one = (row["model"], row["task"], row["method"])
            found.setdefault(one, {})[row.get("part", "")] = row
    both = {one: parts for one, parts in found.items() if {"dev", "test"} <= set(parts)}
    if not both:
        return []
    lines = [
        "## Chosen on dev, reported on test",
        "Loss on the part that policies are chosen on, and on the part that chose nothing. Losses "
        "of accuracy are coarse: of 1000 texts one is 0.1 points.\n",
        "|model, task|method|numbers|BOPs|dev|loss|test|loss|",
        "|---" * 8 + "|",
    ]
    fitted = []
    for (model, task, method), parts in both.items():
        dev, test = parts["dev"], parts["test"]
        lines.append(
            f"|{model}, {task}|{method}|{test.get('numbers', '')}|{test['bops_ratio']:.3f}|"
            f"{dev['sequences']}|{100 * loss(dev):+.2f} %|"
            f"{test['sequences']}|{100 * loss(test):+.2f} %|"
        )
        if loss(test) - loss(dev) > FITTED:
            fitted.append(
                f"- *{model}, {task}: {method}* loses {100 * (loss(test) - loss(dev)):.2f} points "
                "more on test than on dev."
            )
    return [*lines, "", *fitted, ""]


def number_sections(tables: Sequence[Sequence[Row]]) -> list[str]:
    """Return the ablation of the formats of numbers, a table for each set of texts."""
    if not tables:
        return []
    lines = [
        "## What each change of the numbers is worth",
        "The searched policy with changes of its format of numbers, those that are measured, by "
        "`dtqatten accuracy --study numbers --limit 16`. *Signed weights* are the plain format. "
        "*With overheads* adds, to bit operations of the products, those of the format: 16 for the "
        "bias of a score (a bit of an adder is one), for exponents 72 for a weight (the OR of a "
        "tile and two levels of a shifter, 24 bits each) and two levels of a shifter for each sum "
        "of products of the value array.\n",
    ]
    for table in tables:
        first = table[0]
        lines += [
            f"### Numbers: {title(first)}",
            f"Perplexity of the plain model **{first['float_metric']:.4f}**.\n",
            "|numbers|perplexity|loss|loss, integer mode|BOPs|with overheads|bytes|commit|",
            "|---" * 8 + "|",
        ]
        exact = {r["numbers"]: r for r in table if r["mode"] == "integer"}
        fast = {r["numbers"]: r for r in table if r["mode"] != "integer"}
        for numbers in dict.fromkeys(row["numbers"] for row in table):
            row = fast.get(numbers)
            integer = exact.get(numbers)
            some = row or integer
            assert some is not None
            cells = ("", "") if row is None else (f"{row['metric']:.4f}", f"{loss(row):+.2%}")
            lines.append(
                f"|{numbers}|{cells[0]}|{cells[1]}|"
                f"{'' if integer is None else f'{loss(integer):+.2%}'}|{some['bops_ratio']:.3f}|"
                f"{some['bops_ratio'] + some['overhead_ratio']:.3f}|{some['bytes_ratio']:.3f}|"
                f"{made_by(some)}|"
            )
        lines.append("")
    return lines


def ranking_sections(tables: Sequence[Sequence[Row]]) -> list[str]:
    """Return what importance is worth on decoders, a table for each set of texts."""
    if not tables:
        return []
    lines = [
        "## What importance is worth on a decoder",
        "Tokens of 8 bits chosen by importance, by chance and by place at equal bit operations, by "
        "`dtqatten accuracy --study importance --limit 16`; all others have 4 bits. *8 bits* is "
        "their share: an early token is a key of more queries and costs more.\n",
    ]
    for table in tables:
        lines += [
            f"### Importance: {title(table[0])}",
            f"{table[0]['numbers'].capitalize()}; perplexity of the plain model "
            f"**{table[0]['float_metric']:.4f}**.\n",
            "|tokens of 8 bits|8 bits|BOPs|perplexity|loss|commit|",
            "|---" * 6 + "|",
        ]
        for row in table:
            lines.append(
                f"|{row['method']}|{row['share_8']:.1%}|{row['bops_ratio']:.3f}|"
                f"{row['metric']:.4f}|{loss(row):+.2%}|{made_by(row)}|"
            )
        lines.append("")
    return lines


def text_section(found: dict[str, Any]) -> list[str]:
    """Return what a decoder says after a text."""
    lines = [
        f"## What {found['model']} says, {found['task']}",
        "Greedy, by `dtqatten accuracy --study continuation`; given the first tokens of the test "
        "part:\n",
        *_quoted(found["prompt"]),
    ]
    for each in found["texts"]:
        same = "" if each["name"] == "float" else f"; the first {each['same']} tokens as in float"
        lines += [f"\n**{each['name']}** ({each['numbers']}{same}):\n", *_quoted(each["text"])]
    return [*lines, ""]


def _quoted(text: str) -> list[str]:
    """Return a text as a block, letter by letter."""
    return ["```text", *text.strip("\n").splitlines(), "```"]
