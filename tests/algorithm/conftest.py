"""Tiny models with random weights: nothing is downloaded."""

import importlib.util
import warnings

import pytest

ABSENT = [m for m in ("torch", "transformers", "optuna") if importlib.util.find_spec(m) is None]

if ABSENT:
    collect_ignore = [
        *("block", "report", "search", "session", "tasks"),
        *(
            f"test_{name}.py"
            for name in (
                *("caches", "commands", "conditioning", "decoding", "encoder_decoder", "families"),
                *(
                    "folding",
                    "formats",
                    "masks",
                    "models",
                    "operations",
                    "padding",
                    "pruning",
                    "runtime",
                ),
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


WORDS = [
    *("the", "a", "cat", "dog", "man", "runs", "sleeps", "eats", "big", "small", "red", "house"),
    *("tree", "and", "or", "in", "on", "with"),
]


def sentence(rng, n):
    return " ".join(rng.choice(WORDS, n))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A tiny encoder with tokenizer, as `from_pretrained` reads it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("model")
    vocabulary = {t: i for i, t in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """STS-B and SST-2 of random sentences."""
    import numpy as np

    path = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for name in ("stsb", "sst2"):
        (path / name).mkdir()
    for part, n in (("train", 30), ("dev", 20)):
        rows = []
        for _ in range(n):
            words = rng.choice(WORDS, 6)
            share = rng.integers(0, 7)
            other = words.copy()
            other[:share] = rng.choice(WORDS, share)
            rows.append(
                f"g\tf\ty\t1\t{5 - share * 5 / 6:.3f}\t{' '.join(words)}\t{' '.join(other)}"
            )
        (path / "stsb" / f"sts-{part}.csv").write_text("\n".join(rows) + "\n")
    reported = np.random.default_rng(1)
    for part, n in (("train", 660), ("dev", 20)):
        rows = [(sentence(rng, 5), i % 2) for i in range(n)]
        if part == "train":
            rows[60:60] = [(sentence(reported, 5), i % 2) for i in range(1000)]
        text = "".join(f"{'cat' if y else 'dog'} {s}\t{y}\n" for s, y in rows)
        (path / "sst2" / f"{part}.tsv").write_text(text)
    return path


@pytest.fixture
def run():
    """A command's exit code, and all that it says."""
    from typer.testing import CliRunner

    from dtqatten.cli import app

    def call(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        return result.exit_code, result.output + (result.stderr if result.stderr_bytes else "")

    return call
