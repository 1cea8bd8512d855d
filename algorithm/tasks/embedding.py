"""Mean-pooled embeddings of texts, in batches of similar length."""

import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dtqatten.algorithm.models import Loaded
from dtqatten.algorithm.session.session import Session
from dtqatten.algorithm.tasks.task import Progress

__all__ = ["batches", "embed", "encoded", "padded", "pool"]


def encoded(loaded: Loaded, texts: Sequence[str], length: int) -> list[list[int]]:
    """Token ids of texts, cut to a length."""
    ids: list[list[int]] = loaded.tokenizer(list(texts), truncation=True, max_length=length)[
        "input_ids"
    ]
    return ids


def padded(loaded: Loaded, ids: list[list[int]]) -> dict[str, Tensor]:
    """Return a batch of token ids, padded to the longest, with its attention mask."""
    batch = loaded.tokenizer.pad({"input_ids": ids}, return_tensors="pt")
    return {k: batch[k] for k in ("input_ids", "attention_mask")}


def batches(
    loaded: Loaded, texts: Sequence[str], size: int, length: int
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Yield ``(indices, encoded batch)``, texts of similar length together.

    Parameters
    ----------
    loaded : Loaded
        Its tokenizer encodes the texts.
    texts : sequence of str
    size : int
        Texts of a batch at most.
    length : int
        Tokens of a text at most.
    """
    ids = encoded(loaded, texts, length)
    order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
    for start in range(0, len(order), size):
        index = order[start : start + size]
        yield index, padded(loaded, [ids[i] for i in index])


def embed(
    loaded: Loaded,
    texts: Sequence[str],
    session: Session | None,
    length: int,
    progress: Progress | None = None,
    size: int = 32,
) -> tuple[Tensor, float]:
    """Return mean-pooled, normalized embeddings of texts and the seconds they took.

    Parameters
    ----------
    loaded : Loaded
        The model.
    texts : sequence of str
    session : Session, optional
        What is attached to the model; it tells which tokens to pool over.
    length : int
        Tokens of a text at most.
    progress : callable, optional
        Called with texts done and texts in all.
    size : int
        Texts of a batch at most. Long texts are faster few at a time, because what they fill stays
        in a cache.
    """
    result: list[Tensor | None] = [None] * len(texts)
    done, seconds = 0, 0.0
    for index, batch in batches(loaded, texts, size, length):
        start = time.process_time()
        with torch.no_grad():
            hidden = loaded.model(**batch).last_hidden_state
            pooled = pool(hidden, batch["attention_mask"], session)
        seconds += time.process_time() - start
        for i, row in zip(index, pooled, strict=True):
            result[i] = row
        done += len(index)
        if progress is not None:
            progress(done, len(texts))
    return torch.stack([x for x in result if x is not None]), seconds


def pool(hidden: Tensor, attention_mask: Tensor, session: Session | None) -> Tensor:
    """Mean over the tokens that count, normalized."""
    mask = attention_mask.bool() if session is None else session.pooled(attention_mask)
    weights = mask[..., None].to(hidden)
    mean = (hidden * weights).sum(1) / weights.sum(1).clamp_min(1)
    return torch.nn.functional.normalize(mean, dim=-1)
