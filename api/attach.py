"""Token quantization inside a Hugging Face model."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from dtqatten.algorithm.packaged import find_policy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.session.blocks import Mode
from dtqatten.algorithm.session.session import Session

__all__ = ["attach"]


def attach(
    model: Any,
    policy: Policy | str | Path,
    *,
    mode: Mode | str = Mode.FAKE_QUANT,
    special_ids: Sequence[int] = (),
) -> AbstractContextManager[Session]:
    """Run a transformers model's attention under a policy while a ``with`` lasts.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Encoder, decoder, or both in one; its code runs unchanged.
    policy : Policy, str or Path
        A policy, its file, or the name of one that comes with the package (``minilm-bbc``).
    mode : str
        ``"integer"``: as the machine computes, bit for bit; ``"fake-quant"``: the same precisions
        in floating point, with gradients; ``"float"``: pruning only.
    special_ids : sequence of int
        Special tokens, for policies that protect them.

    Returns
    -------
    context manager
        Yields a :class:`~dtqatten.algorithm.session.session.Session` with what each layer did.

    Raises
    ------
    ModelError, PolicyError
        In the ``with``, if model and policy do not fit; see
        :func:`dtqatten.algorithm.runtime.attached`, which has options for calibration.

    Examples
    --------
    >>> import dtqatten, torch, transformers
    >>> config = transformers.BertConfig(
    ...     num_hidden_layers=6, num_attention_heads=2, hidden_size=64, intermediate_size=64
    ... )
    >>> bert = transformers.BertModel(config).eval()
    >>> with torch.no_grad(), dtqatten.attach(bert, "minilm-bbc") as session:
    ...     hidden = bert(torch.arange(16)[None]).last_hidden_state
    >>> hidden.shape
    torch.Size([1, 16, 64])
    """
    if not isinstance(policy, Policy):
        policy = find_policy(str(policy))
    return attached(model, policy, mode, special_ids=special_ids)
