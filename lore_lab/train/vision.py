"""A vision tower before the embedded language model: transformers' LLaVA (2304.08485) around a SigLIP tower and the Qwen2 of stage `base`.

The tower's patches go through LLaVA's two-layer projector and stand in the prompt as image tokens. The language model begins with the weights it was
pretrained with, so that a text point and an image point stand on the same one, and learns along: LLaVA's first phase freezes it, which at this size learns to see several
times more slowly (docs/log.md). Sizes and schedule are `assumed`; no paper describes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from transformers import LlavaConfig, LlavaForConditionalGeneration, PreTrainedModel, PreTrainedTokenizerBase, SiglipVisionConfig

from lore_lab.prompts.images import IMAGE, ImagePrompt, image_tokens, raster
from lore_lab.train.sft import target_ids

if TYPE_CHECKING:
    from PIL.Image import Image

    from lore_lab.config.model import VisionConfig


def add_vision(config: VisionConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """`model` with a randomly initialised tower and projector before it; the caller seeds torch. `tokenizer` gets the image token."""
    tokenizer.add_special_tokens({"extra_special_tokens": [IMAGE]})
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    sizes = ("image_size", "patch_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    image_token: Any = tokenizer.convert_tokens_to_ids(IMAGE)
    attention = model.config._attn_implementation  # of a config that the whole takes over, and resets
    seeing: Any = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=SiglipVisionConfig(**{name: getattr(config, name) for name in sizes}, vision_use_head=False),
            text_config=model.config,
            image_token_index=image_token,
            image_seq_length=(config.image_size // config.patch_size) ** 2,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            projector_hidden_act="gelu",
            multimodal_projector_bias=True,
            tie_word_embeddings=model.config.tie_word_embeddings,
        )
    )
    seeing.set_attn_implementation(attention)
    language: Any = model
    seeing.model.language_model.load_state_dict(language.model.state_dict())
    seeing.generation_config = model.generation_config
    moved: PreTrainedModel = seeing.to(model.device)
    return moved


def caption_rows(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, captions: Iterable[tuple[Image, str]]
) -> tuple[list[list[int]], list[list[int]]]:
    """(prompts, targets): an image's tokens alone, and its caption under the head that item fields have."""
    side, tokens = model.config.vision_config.image_size, image_tokens(model.config)
    prompts, targets = [], []
    for image, caption in captions:
        prompts.append(ImagePrompt(tokens, raster(image, side)))
        targets.append(target_ids(tokenizer, f"caption: {caption}"))
    return list(prompts), targets
