"""The table of docs/algorithm.md: what each family of models does, found by running it.

Run this file to write the table anew; `tests/algorithm/test_families.py` compares the two.
"""

import re
from pathlib import Path
from typing import Any

import torch

from dtqatten import Config
from dtqatten.algorithm.block.integer import integer
from dtqatten.algorithm.block.operands import Operands, Result
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached
from dtqatten.files.errors import UsageError
from dtqatten.files.whole import write_text
from dtqatten.sim.machine.decoder_blocks import TiledBlocks
from dtqatten.sim.machine.refused_blocks import refuse_block
from families import CROSSING, DECODERS, FAMILIES, inputs, layers, made, mixed, ran, relative

DOCS = Path(__file__).parents[2] / "docs" / "algorithm.md"
HEAD = "|models|`float`|8 bits|mixed|with a cache|machine|"

#: Largest difference to the model itself in mode float, of its largest output.
EQUAL = 1e-5
#: Relative rms: modes integer and fake-quant; either, in 8 bits, and the model itself.
AGREE, NEAR = 0.05, 0.05

#: What a refusal says, and the same in short.
_SHORT = {
    r"(?:does not attend|has not attended) by transformers' (\w+)": r"no `\1`",
    r"to tokens of (no encoder of its own)": r"\1",
    r"has (\d stacks of layers)": r"\1",
    r"layer \d has (soft-capping|biases of scores)": r"\1",
    r"layer \d has a (mask of a row for each query)": r"\1",
}


def refusal(error: UsageError) -> str:
    """What a refusal says, in short."""
    for pattern, short in _SHORT.items():
        if found := re.search(pattern, str(error)):
            return f"refused: {found.expand(short)}"
    raise AssertionError(f"no short form of this refusal: {error}")


def cells(name: str) -> list[str]:
    """Return what is found of a family, column by column."""
    model = made(name)
    batch, real = inputs(name)
    with torch.no_grad():
        expected = model(**batch)[0][real]
    try:
        got = ran(model, batch)[0][real]
    except UsageError as error:
        return [refusal(error), *["-"] * 4]
    error = float((got - expected).abs().max() / expected.abs().max())
    flat = Policy.flat(layers(model), granularity="token", p_planes=3)
    found = [
        [ran(model, batch, policy, mode)[0][real] for mode in ("integer", "fake-quant")]
        for policy in (flat, mixed(model, prune_queries=name not in DECODERS))
    ]
    agree = [relative(fast, exact) for exact, fast in found]
    near = max(relative(each, expected) for each in found[0])
    return [
        "equal" if error <= EQUAL else f"differs by {error:.1g}",
        "runs" if near < NEAR and agree[0] < AGREE else f"differs by {max(near, agree[0]):.1%}",
        "runs" if agree[1] < AGREE else f"differs by {agree[1]:.1%}",
        "-" if name not in DECODERS else cached(name),
        machine(name),
    ]


def in_steps(
    name: str, mode: str, policy: Policy, compute: Any = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a decoder gives for a prompt and then token by token, and at once by itself."""
    model = made(name)
    batch, _ = inputs(name, rows=1)
    with torch.no_grad():
        expected = model(**batch)[0]
    key = "decoder_input_ids" if name in CROSSING else "input_ids"
    ids = batch.pop(key)
    batch.pop("attention_mask", None)
    with torch.no_grad(), attached(model, policy, mode) as session:
        session.compute = compute
        cache = session.cache()
        if name in CROSSING:
            batch = {"encoder_outputs": model.get_encoder()(**batch)}
        parts = []
        first = 8 if FAMILIES[name].takes == "picture" else 4
        for part in ids.split([first, *[1] * (ids.shape[1] - first)], 1):
            parts.append(model(**{key: part}, **batch, past_key_values=cache)[0])
            batch.pop("pixel_values", None)  # the first part has the picture
    return torch.cat(parts, 1), expected


def cached(name: str) -> str:
    """Whether a decoder goes on with a cache of codes."""
    policy = Policy.flat(layers(made(name)), granularity="token", p_planes=3)
    error = max(relative(*in_steps(name, mode, policy)) for mode in ("integer", "fake-quant"))
    return "runs" if error < NEAR else f"differs by {error:.1%}"


def machine(name: str) -> str:
    """Whether the machine's drivers take a family's attention: calls of a decoder, or a chain.

    The blocks are golden, on the machine's tiles, behind the checks that the machine's own have.
    """
    batch, _ = inputs(name, rows=1)
    model = made(name)
    try:
        if name in DECODERS:
            core = Config(rows=4, cols=4, depth=4, d_head=8, n_max=16, capacity=16)
            in_steps(name, "integer", Policy.flat(layers(model)), TiledBlocks(core))
        else:
            with torch.no_grad(), attached(model, Policy.flat(layers(model)), "integer") as session:
                session.compute = _chained
                model(**batch)
    except UsageError as error:
        return refusal(error)
    return "runs"


def _chained(layer: int, op: Operands) -> Result:
    """Compute a block that a chain of layers has."""
    refuse_block(layer, op)
    return integer(op)


def table() -> str:
    """Return the table; families of which the same is found share a row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for name in FAMILIES:
        rows.setdefault(tuple(cells(name)), []).append(name)
    lines = [HEAD, "|---|---|---|---|---|---|"]
    lines += [f"|{'|'.join([', '.join(names), *found])}|" for found, names in rows.items()]
    return "\n".join(lines) + "\n"


def documented() -> str:
    """Return the table as the documentation has it."""
    text = DOCS.read_text("utf-8")
    found = re.search(rf"^{re.escape(HEAD)}\n(?:\|.*\n)+", text, re.M)
    assert found is not None, f"docs/algorithm.md has no table {HEAD}"
    return found[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    write_text(DOCS, DOCS.read_text("utf-8").replace(documented(), table()))
