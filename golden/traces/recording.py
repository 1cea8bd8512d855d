"""Recorded Q, K and V of consecutive layers: what the machine is given to run."""

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

__all__ = ["Recording", "RecordingError", "example_recording"]


class RecordingError(UsageError):
    """A file that is missing or holds no Q, K and V; the message says what is wrong."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Recording:
    """Q, K and V of consecutive layers of a model on one text, all tokens unpruned.

    Parameters
    ----------
    q : float array ``[layers, heads, n, d]``
    k, v : float array ``[layers, kv_heads, n, d]``
    bits : int array ``[n]``, optional
        Precision of each token in the first layer, 0, 4 or 8.
    tokens : tuple of str
        Text of each token; their numbers if the file has none.
    text, model, source, license : str
        The text; the model; where both come from; their terms. Empty where not known.
    first_layer : int
        Number of the first layer in its model.
    """

    q: FloatArray
    k: FloatArray
    v: FloatArray
    bits: IntArray | None = None
    tokens: tuple[str, ...] = ()
    text: str = ""
    model: str = ""
    source: str = ""
    license: str = ""
    first_layer: int = 0

    @property
    def layers(self) -> int:
        """How many layers."""
        return self.q.shape[0]

    @property
    def n(self) -> int:
        """Tokens."""
        return self.q.shape[2]

    def arrays(self) -> dict[str, Any]:
        """Return what :meth:`load` reads, by name."""
        found = {
            name: np.array(getattr(self, name))
            for name in ("q", "k", "v", "tokens", "text", "model", "source", "license")
        }
        found["first_layer"] = np.array(self.first_layer)
        return found if self.bits is None else found | {"bits": self.bits}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Recording":
        """Read an ``.npz`` file with arrays ``q``, ``k`` and ``v``.

        They are ``[heads, n, d]`` for a layer or ``[layers, heads, n, d]`` for several. ``bits``,
        ``tokens`` (strings), ``text``, ``model``, ``source``, ``license`` and ``first_layer`` are
        optional; any other name is refused, so that none is overlooked.

        Raises
        ------
        RecordingError
            If the file is missing, is no ``.npz`` or holds anything else.
        """
        try:
            # Opened here, because np.load leaves its own file open when the content is bad.
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
                data = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as e:
            raise RecordingError(f"{path} is not a readable .npz file: {e}") from e
        texts = ("text", "model", "source", "license")
        wanted, known = {"q", "k", "v"}, {"bits", "tokens", "first_layer", *texts}
        if missing := sorted(wanted - data.keys()):
            raise RecordingError(
                f"{path} lacks {', '.join(missing)}: save arrays q, k and v, "
                "[heads, tokens, d] or [layers, heads, tokens, d]"
            )
        if unknown := sorted(data.keys() - wanted - known):
            raise RecordingError(
                f"{path} holds {', '.join(unknown)}, which nothing reads: leave it out, or use "
                f"{', '.join(sorted(known))}"
            )
        fields: dict[str, Any] = {name: str(data[name]) for name in texts if name in data}
        for name in ("q", "k", "v"):
            array = data[name]
            if array.ndim not in (3, 4) or not np.issubdtype(array.dtype, np.floating):
                raise RecordingError(
                    f"{path}: {name} is {array.dtype} {array.shape}: give real numbers, "
                    "[heads, tokens, d] or [layers, heads, tokens, d]"
                )
            fields[name] = array[None] if array.ndim == 3 else array
        n = fields["q"].shape[2]
        if "tokens" in data:
            if data["tokens"].dtype.kind != "U" or data["tokens"].shape != (n,):
                raise RecordingError(f"{path}: tokens must be {n} strings, one each")
            fields["tokens"] = tuple(map(str, data["tokens"]))
        if "bits" in data:
            fields["bits"] = data["bits"]
        if "first_layer" in data:
            fields["first_layer"] = int(data["first_layer"])
        return cls(**{"tokens": tuple(map(str, range(n))), **fields})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file that :meth:`load` reads, as a whole or not at all."""
        write_arrays(Path(path), self.arrays())


def example_recording() -> Recording:
    """Return the recording that comes with the package: two layers of a small encoder."""
    file = resources.files("dtqatten.golden.traces").joinpath("data", "minilm_layers.npz")
    with resources.as_file(file) as path:
        return Recording.load(path)
