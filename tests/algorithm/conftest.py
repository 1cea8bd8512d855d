"""Tiny models with random weights: nothing is downloaded."""

import importlib.util
import warnings

import pytest

ABSENT = [m for m in ("torch", "transformers", "optuna") if importlib.util.find_spec(m) is None]

if ABSENT:
    collect_ignore = [
        *("block", "session"),
        *(
            f"test_{name}.py"
            for name in (
                *("families", "folding", "masks", "models", "padding", "runtime"),
                *("search", "tasks"),
            )
        ),
    ]


def pytest_report_header():
    if ABSENT:
        return (
            f"algorithm on models: not tested, {', '.join(ABSENT)} not installed "
            "(pip install 'dtqatten[algorithm]')"
        )
    return []


@pytest.fixture(autouse=True)
def _foreign_warnings():
    """Warnings of transformers and Optuna about themselves are not ours to fail on."""
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        if not ABSENT:
            from optuna.exceptions import ExperimentalWarning

            warnings.simplefilter("ignore", ExperimentalWarning)
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    if not ABSENT:
        import torch

        torch.set_num_threads(1)


def bert_of(layers=3, heads=4, d=8, seed=0, positions=64):
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=50,
        hidden_size=heads * d,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=64,
        max_position_embeddings=positions,
        initializer_range=0.3,
    )
    return BertModel(config).eval()


def llama_of(layers=3, heads=4, kv=2, d=8, seed=0):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=heads * d,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def gpt2_of(layers=2, heads=4, d=8, seed=0):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=50,
        n_embd=heads * d,
        n_layer=layers,
        n_head=heads,
        n_positions=64,
        initializer_range=0.2,
    )
    return GPT2LMHeadModel(config).eval()


@pytest.fixture
def make_bert():
    return bert_of


@pytest.fixture
def bert():
    return bert_of()


@pytest.fixture
def make_llama():
    return llama_of


@pytest.fixture
def llama():
    return llama_of()


@pytest.fixture
def gpt2():
    return gpt2_of()


@pytest.fixture
def batch():
    """Two sequences of 12 tokens, the second padded from 8 on."""
    import torch

    torch.manual_seed(1)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 8:] = 0
    return {"input_ids": torch.randint(3, 50, (2, 12)) * mask, "attention_mask": mask}
