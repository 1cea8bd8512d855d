#!/usr/bin/env python3
"""Record Q, K and V of some layers of SmolLM2-135M on 2048 tokens of WikiText-2.

usage: .venv/bin/python tools/record_decoder.py RECORDING.npz

For the tables of `python -m dtqatten.golden.generation RECORDING.npz`. The text is in the folder
that DTQATTEN_DATA names (`wikitext2/valid.txt`); `make accuracy` installs the model. Q and K are
recorded behind their rotary embedding.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface

from dtqatten.algorithm.models import load
from dtqatten.files.errors import UsageError
from dtqatten.files.whole import write_arrays

LAYERS = (2, 10, 18, 26)
TOKENS = 2048

recorded: dict[int, list[np.ndarray]] = {}


def attend(
    module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: Any, **options: Any
) -> tuple[torch.Tensor, None]:
    """Causal attention that keeps its operands; all tokens of the text are visible."""
    if module.layer_idx in LAYERS:
        recorded[module.layer_idx] = [x[0].numpy().astype(np.float16) for x in (q, k, v)]
    output = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, is_causal=True, scale=options["scaling"], enable_gqa=True
    )
    return output.transpose(1, 2), None


def main() -> None:
    """Run the model once and write what its layers attend to."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    data = os.environ.get("DTQATTEN_DATA")
    if data is None:
        raise UsageError("DTQATTEN_DATA is not set: name the folder that has wikitext2/valid.txt")
    text = (Path(data) / "wikitext2" / "valid.txt").read_text("utf-8")
    loaded = load("smollm2", causal=True)
    AttentionInterface.register("recorded", attend)
    loaded.model.set_attn_implementation("recorded")
    # More text than the tokens take.
    ids = loaded.tokenizer(text[: 10 * TOKENS], return_tensors="pt").input_ids[:, :TOKENS]
    with torch.no_grad():
        loaded.model(ids)
    stacked = (np.stack(each) for each in zip(*(recorded[at] for at in LAYERS), strict=True))
    write_arrays(Path(sys.argv[1]), dict(zip("qkv", stacked, strict=True)))


if __name__ == "__main__":
    main()
