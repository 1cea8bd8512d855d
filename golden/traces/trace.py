"""Recorded Q, K and V of a real layer, with the precision of each token."""

import os
import zipfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from dtqatten.files.errors import UsageError
from dtqatten.files.whole import write_arrays
from dtqatten.golden.numerics.codes import FloatArray, IntArray

__all__ = ["FORMAT", "Trace", "TraceError", "example"]

#: Version of the file format.
FORMAT = 1

_TEXTS = ("text", "model", "source", "license")


class TraceError(UsageError):
    """A trace that cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Trace:
    """Q, K and V of one layer for one text, and which tokens the layer computes on.

    Parameters
    ----------
    q, k, v : float16 or float32 array ``[heads, n, d]``
        Projections of all tokens, pruned ones included.
    tokens : tuple of str
        The ``n`` tokens.
    kept : int array ``[k0]``
        Ids of the tokens that remain, 4-bit class first, ascending in each class.
    bits : int array ``[k0]``
        Precision of each of ``kept``, 4 or 8.
    layer : int
        Layer, counted from 0.
    text, model, source, license : str
        The text; the model that made Q, K and V; where both come from; their terms.

    Raises
    ------
    TraceError
        If shapes or types disagree, a value is not finite, or ids are out of range, repeated or out
        of order.
    """

    q: FloatArray
    k: FloatArray
    v: FloatArray
    tokens: tuple[str, ...]
    kept: IntArray
    bits: IntArray
    layer: int
    text: str
    model: str
    source: str
    license: str

    def __post_init__(self) -> None:
        shape = self.q.shape
        if len(shape) != 3 or 0 in shape:
            raise TraceError(f"q must be a non-empty [heads, n, d], not of shape {shape}")
        for name in ("q", "k", "v"):
            array = getattr(self, name)
            if array.shape != shape:
                raise TraceError(f"{name} has shape {array.shape}, but q has {shape}")
            if array.dtype not in (np.float16, np.float32):
                raise TraceError(f"{name} is {array.dtype}: store float16 or float32")
            if not np.isfinite(array).all():
                raise TraceError(f"{name} holds NaN or infinite values")
        if len(self.tokens) != self.n:
            raise TraceError(f"{len(self.tokens)} token texts for {self.n} tokens")
        if self.layer < 0:
            raise TraceError(f"layer is {self.layer}: layers count from 0")
        for name in ("kept", "bits"):
            array = getattr(self, name)
            if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
                raise TraceError(f"{name} must be a vector of integers")
        if not 1 <= len(self.kept) <= self.n or len(self.kept) != len(self.bits):
            raise TraceError(
                f"{len(self.kept)} kept ids and {len(self.bits)} precisions of {self.n} tokens: "
                "keep at least one, with one precision each"
            )
        if not np.isin(self.bits, (4, 8)).all():
            raise TraceError("bits must be 4 or 8: pruned tokens are not among the kept")
        if self.kept.min() < 0 or self.kept.max() >= self.n:
            raise TraceError(f"kept ids must be in 0..{self.n - 1}")
        if len(np.unique(self.kept)) != len(self.kept):
            raise TraceError("a kept id is repeated")
        # One number that grows along the list exactly if classes and ids are in order.
        if (np.diff(self.bits.astype(np.int64) * self.n + self.kept) < 0).any():
            raise TraceError("kept ids must list the 4-bit class first, ascending in each class")

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.q.shape[0]

    @property
    def n(self) -> int:
        """Tokens, pruned ones included."""
        return self.q.shape[1]

    @property
    def d(self) -> int:
        """Channels of a head."""
        return self.q.shape[2]

    @property
    def precision(self) -> IntArray:
        """Precision, 0, 4 or 8, of each of the ``n`` tokens in the order of the text."""
        result = np.zeros(self.n, np.uint8)
        result[self.kept] = self.bits
        return result

    def gathered(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Q, K and V of the kept tokens, ``[heads, k0, d]``, in the order of ``kept``."""
        return self.q[:, self.kept], self.k[:, self.kept], self.v[:, self.kept]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as ``.npz``, as a whole or not at all; its folder is made.

        Raises
        ------
        OSError
            If the folder cannot be written to.
        """
        fields: dict[str, Any] = {name: np.array(getattr(self, name)) for name in _TEXTS}
        fields |= {
            "format": np.array(FORMAT),
            "q": self.q,
            "k": self.k,
            "v": self.v,
            "tokens": np.array(self.tokens),
            "kept": self.kept.astype(np.int32),
            "bits": self.bits.astype(np.uint8),
            "layer": np.array(self.layer),
        }
        write_arrays(Path(path), fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Trace":
        """Read and check a trace.

        Raises
        ------
        TraceError
            If the file is missing, is not a trace, is of another version or is inconsistent.
        """
        try:
            # Opened here, because np.load leaves its own file open when the content is bad.
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                data = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as e:
            raise TraceError(f"{path} is not a readable .npz file: {e}") from e
        wanted = {"format", "q", "k", "v", "tokens", "kept", "bits", "layer", *_TEXTS}
        if missing := sorted(wanted - data.keys()):
            raise TraceError(f"{path} is not a trace: it lacks {', '.join(missing)}")
        for name in ("format", "layer"):
            if data[name].shape or not np.issubdtype(data[name].dtype, np.integer):
                raise TraceError(f"{path}: {name} must be one integer")
        if data["format"] != FORMAT:
            raise TraceError(
                f"{path} has format {data['format']}, but this version reads {FORMAT}: "
                "make it again with `dtqatten trace`"
            )
        for name in ("tokens", *_TEXTS):
            if data[name].dtype.kind != "U" or data[name].ndim != (name == "tokens"):
                raise TraceError(f"{path}: {name} must be text")
        fields: dict[str, Any] = {name: data[name] for name in ("q", "k", "v", "kept", "bits")}
        fields |= {name: str(data[name]) for name in _TEXTS}
        try:
            return cls(**fields, tokens=tuple(map(str, data["tokens"])), layer=int(data["layer"]))
        except TraceError as e:
            raise TraceError(f"{path}: {e}") from e


def example() -> Trace:
    """Return the trace that ships with the package: layer 3 of a small encoder, one sentence."""
    file = resources.files("dtqatten.golden.traces").joinpath("data", "minilm_layer3.npz")
    with resources.as_file(file) as path:
        return Trace.load(path)
