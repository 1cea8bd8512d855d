"""Families of transformers' models, tiny and with random weights, and inputs for them."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import Ranking
from dtqatten.algorithm.runtime import attached
from dtqatten.algorithm.session.support import stacks_of

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
SHARED = {**SIZES, "num_key_value_heads": 2, "head_dim": 8}
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
IMAGE = {
    **{k: v for k, v in SIZES.items() if k.startswith(("hidden", "num", "inter", "init"))},
    "image_size": 16,
    "patch_size": 8,
}
T5 = {
    "vocab_size": 50,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
ENCODER_DECODER = {
    "vocab_size": 50,
    "d_model": 32,
    "init_std": 0.2,
    "encoder_layers": 2,
    "decoder_layers": 3,
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 64 for part in ("encoder", "decoder")},
}
BART = {**ENCODER_DECODER, "max_position_embeddings": 64}
GPT2 = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
CLIP_TEXT = {**SIZES, "bos_token_id": 1, "eos_token_id": 2, "initializer_factor": 4.0}
CLIP_IMAGE = {**IMAGE, "initializer_factor": 4.0}
GEMMA2 = {**SHARED, "sliding_window": 4, "attn_logit_softcapping": 1.0}
GPT_OSS = {**SHARED, "sliding_window": 4, "num_local_experts": 2, "num_experts_per_tok": 1}


@dataclass(frozen=True)
class Family:
    """A class of models, and what it is made with.

    Parameters
    ----------
    kind : str
        Class.
    options : dict
        Of its configuration.
    takes : str
        ``text``, ``image``, ``both``, ``picture`` (in a text), ``pair`` (of texts) or ``sound``.
    refused : str, optional
        What a refusal names; None: accepted.
    config : str, optional
        Class of the configuration, if the model does not say.
    """

    kind: str
    options: dict[str, Any]
    takes: str = "text"
    refused: str | None = None
    config: str | None = None


INTERFACE = "AttentionInterface"

#: By their names in the documentation.
FAMILIES = {
    "BERT": Family("BertModel", SIZES),
    "RoBERTa": Family("RobertaModel", SIZES),
    "DistilBERT": Family(
        "DistilBertModel",
        {
            "vocab_size": 50,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 64,
            "max_position_embeddings": 64,
            "initializer_range": 0.2,
        },
    ),
    "ALBERT": Family(
        "AlbertModel",
        {**SIZES, "embedding_size": 16, "num_hidden_layers": 4, "num_hidden_groups": 2},
    ),
    "ELECTRA": Family("ElectraModel", {**SIZES, "embedding_size": 16}),
    "ModernBERT": Family(
        "ModernBertModel",
        {**SIZES, **SPECIAL, "local_attention": 4, "global_attn_every_n_layers": 2},
    ),
    "ViT": Family("ViTModel", IMAGE, "image"),
    "BEiT": Family("BeitModel", {**IMAGE, "use_relative_position_bias": True}, "image"),
    "CLIP's vision": Family("CLIPVisionModel", CLIP_IMAGE, "image"),
    "CLIP's text": Family("CLIPTextModel", CLIP_TEXT),
    "CLIP": Family(
        "CLIPModel",
        {
            "text_config": CLIP_TEXT,
            "vision_config": {**CLIP_IMAGE, "num_hidden_layers": 3},
            "projection_dim": 16,
        },
        "both",
    ),
    "T5's encoder": Family("T5EncoderModel", T5),
    "GPT-2": Family("GPT2LMHeadModel", {**GPT2, "initializer_range": 0.2}),
    "GPT-NeoX": Family("GPTNeoXForCausalLM", SIZES),
    "OPT": Family(
        "OPTForCausalLM",
        {
            "vocab_size": 50,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 64,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 32,
            "init_std": 0.2,
        },
    ),
    "BART's decoder": Family("BartForCausalLM", {**BART, "encoder_layers": 3}),
    "Llama": Family("LlamaForCausalLM", SHARED),
    "Mistral": Family("MistralForCausalLM", {**SHARED, "sliding_window": 4}),
    "Mixtral": Family("MixtralForCausalLM", {**SHARED, "num_local_experts": 2}),
    "Phi-3": Family("Phi3ForCausalLM", SHARED),
    "Qwen2": Family("Qwen2ForCausalLM", SHARED),
    "Qwen3": Family("Qwen3ForCausalLM", SHARED),
    "Gemma": Family("GemmaForCausalLM", SHARED),
    "Gemma 2": Family("Gemma2ForCausalLM", GEMMA2),
    "Gemma 3": Family(
        "Gemma3ForCausalLM",
        {
            **SHARED,
            "sliding_window": 4,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        config="Gemma3TextConfig",
    ),
    "gpt-oss": Family("GptOssForCausalLM", GPT_OSS),
    "LLaVA": Family(
        "LlavaForConditionalGeneration",
        {
            "text_config": {**SHARED, "model_type": "llama"},
            "vision_config": {**CLIP_IMAGE, "model_type": "clip_vision_model"},
            "image_token_index": 49,
            "vision_feature_layer": -1,
        },
        "picture",
    ),
    "T5": Family("T5ForConditionalGeneration", {**T5, "num_decoder_layers": 3}, "pair"),
    "UMT5": Family("UMT5ForConditionalGeneration", {**T5, "num_decoder_layers": 3}, "pair"),
    "T5Gemma": Family(
        "T5GemmaForConditionalGeneration",
        {
            "encoder": GEMMA2,
            "decoder": {**GEMMA2, "num_hidden_layers": 3, "cross_attention_hidden_size": 32},
            "vocab_size": 50,
            "initializer_range": 0.2,
        },
        "pair",
    ),
    "BART": Family("BartForConditionalGeneration", BART, "pair"),
    "Marian": Family(
        "MarianMTModel", {**BART, "pad_token_id": 0, "decoder_start_token_id": 0}, "pair"
    ),
    "Whisper": Family(
        "WhisperForConditionalGeneration",
        {
            **ENCODER_DECODER,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 1,
            "max_source_positions": 10,
            "max_target_positions": 64,
            "num_mel_bins": 8,
        },
        "sound",
    ),
    "MPNet": Family("MPNetModel", SIZES, refused=INTERFACE),
    "DeBERTa-v2": Family("DebertaV2Model", SIZES, refused=INTERFACE),
    "Bloom": Family(
        "BloomForCausalLM", {"vocab_size": 50, "hidden_size": 32, **GPT2}, refused=INTERFACE
    ),
    "MPT": Family(
        "MptForCausalLM",
        {"vocab_size": 50, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64},
        refused=INTERFACE,
    ),
    "Falcon": Family(
        "FalconForCausalLM",
        {k: v for k, v in SIZES.items() if k.startswith(("vocab", "hidden", "num"))},
        refused=INTERFACE,
    ),
    "XLNet": Family("XLNetModel", {**GPT2, "d_model": 32, "d_inner": 64}, refused=INTERFACE),
    "Longformer": Family("LongformerModel", {**SIZES, "attention_window": 4}, refused=INTERFACE),
    "Mamba": Family("MambaModel", {"hidden_size": 32, "num_hidden_layers": 2}, refused=INTERFACE),
    "LongT5": Family("LongT5ForConditionalGeneration", T5, "pair", refused=INTERFACE),
    "BERT with cross-attention": Family(
        "BertModel", {**SIZES, "is_decoder": True, "add_cross_attention": True}, refused="encoder"
    ),
}
ACCEPTED = [name for name, family in FAMILIES.items() if family.refused is None]
REFUSED = [name for name in FAMILIES if name not in ACCEPTED]
#: Families whose queries see no later token, which decode with a cache.
DECODERS = [
    name
    for name in ACCEPTED
    if FAMILIES[name].kind.endswith(("CausalLM", "LMHeadModel", "Generation", "MTModel"))
]
#: Families that attend to an encoder's tokens.
CROSSING = [name for name in ACCEPTED if FAMILIES[name].takes in ("pair", "sound")]


def made(name: str, **changes: Any) -> Any:
    """Return a family's model; biases and sinks that start at nothing are something."""
    family = FAMILIES[name]
    model = getattr(transformers, family.kind)
    config = getattr(transformers, family.config) if family.config else model.config_class
    torch.manual_seed(0)
    found = model(config(**{**family.options, **changes})).eval()
    for path, parameter in found.named_parameters():
        if path.endswith((".sinks", "position_bias_table")):
            torch.nn.init.normal_(parameter)
    return found


def inputs(name: str, side: str = "right", rows: int = 2) -> tuple[dict[str, Any], torch.Tensor]:
    """Return sequences of 12 tokens, the second with 4 of padding, and which outputs are real."""
    torch.manual_seed(1)
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 8:] = 0
    if side == "left":
        mask = mask.flip(1)
    ids = torch.randint(3, 50, (2, 12)) * mask
    image = {"pixel_values": torch.randn(2, 3, 16, 16)}
    text = {"input_ids": ids, "attention_mask": mask}
    takes = FAMILIES[name].takes
    answer = torch.randint(3, 49, (2, 7))
    shown = ids.clamp_max(48)
    shown[:, -8:-4] = 49  # of real tokens, on either side
    batch, real = {
        "text": (text, mask.bool()),
        "image": (image, torch.ones(2, 5, dtype=torch.bool)),
        "both": ({**text, **image}, torch.ones(2, dtype=torch.bool)),
        "picture": ({"input_ids": shown, "attention_mask": mask, **image}, mask.bool()),
        "pair": (
            {**text, "decoder_input_ids": answer},
            torch.ones(2, 7, dtype=torch.bool),
        ),
        "sound": (
            {"input_features": torch.randn(2, 8, 20), "decoder_input_ids": answer},
            torch.ones(2, 7, dtype=torch.bool),
        ),
    }[takes]
    return {k: v[:rows] for k, v in batch.items()}, real[:rows]


def layers(model: Any) -> int:
    """Layers of a model, those of all its stacks."""
    return stacks_of(model)[-1].places.stop


def mixed(model: Any, **options: Any) -> Policy:
    """Return a policy of 8, 4 and 0 bits, of tokens at random.

    So no nearly equal importances choose differently in two modes. Nothing is pruned in the first
    layer of a stack.
    """
    rest = LayerPolicy(share_0=0.25, share_4=0.25, share_8=0.5)
    whole = LayerPolicy(share_0=0, share_4=0, share_8=1)
    firsts = {stack.first for stack in stacks_of(model)}
    rules = tuple(whole if i in firsts else rest for i in range(layers(model)))
    return Policy(layers=rules, ranking=Ranking.RANDOM, **options)


def ran(
    model: Any,
    batch: dict[str, Any],
    policy: Policy | None = None,
    mode: str = "float",
    **options: Any,
) -> tuple[torch.Tensor, Any]:
    """Return what a model gives under a policy, all in 8 bits by default, and its session."""
    policy = policy or Policy.flat(layers(model))
    with torch.no_grad(), attached(model, policy, mode, **options) as session:
        return model(**batch)[0], session


def relative(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative rms difference."""
    a, b = got.double(), expected.double()
    return float(((a - b).square().mean() / b.square().mean()).sqrt())
