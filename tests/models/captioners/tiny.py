"""Captioners of the published classes, small and with random weights, saved as their authors save
them: configuration, safetensors, tokenizer and processor in a folder."""

from pathlib import Path

import torch

WORDS = [
    "a",
    "an",
    "the",
    "of",
    "in",
    "on",
    "and",
    "with",
    "picture",
    "shows",
    "red",
    "blue",
    "green",
    "dog",
    "cat",
    "tree",
    "house",
    "sky",
    "somebody",
    "wrote",
    "describe",
    "this",
    "its",
    "style",
    "great",
    "detail",
    "question",
    "answer",
    "user",
    "assistant",
    "left",
    "above",
]
SIDE, PATCH = 32, 16
IMAGES = {"size": {"height": SIDE, "width": SIDE}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def tokenizer(**special):
    """A tokenizer of whole words, made here."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    marks = ["<pad>", "<s>", "</s>", "<unk>", "<image>"]
    vocabulary = {word: number for number, word in enumerate([*marks, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", additional_special_tokens=["<image>"], **special,
    )  # fmt: skip


def llama(context=256):
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=5 + len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=context, pad_token_id=0, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip


def vision(kind):
    return kind(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=SIDE, patch_size=PATCH,
    )  # fmt: skip


def llava(folder: Path, context=256, template=True) -> Path:
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    config = LlavaConfig(
        vision_config=vision(CLIPVisionConfig), text_config=llama(context), image_token_index=4,
        vision_feature_layer=-1, vision_feature_select_strategy="default",
    )  # fmt: skip
    chat = (
        "{% for m in messages %}USER: {% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} {% endif %}{% endfor %}"
        "{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}"
    )
    processor = LlavaProcessor(
        CLIPImageProcessor(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        ),
        tokenizer(), patch_size=PATCH, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=chat if template else None,
    )  # fmt: skip
    return saved(folder, LlavaForConditionalGeneration(config), processor)


def blip(folder: Path) -> Path:
    from transformers import (
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    torch.manual_seed(0)
    config = BlipConfig(
        text_config={
            "vocab_size": 5 + len(WORDS), "hidden_size": 16, "intermediate_size": 32,
            "num_hidden_layers": 1, "num_attention_heads": 2, "encoder_hidden_size": 16,
            "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2,
            "sep_token_id": 2, "pad_token_id": 0, "projection_dim": 16,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH,
        },
        projection_dim=16, image_text_hidden_size=16,
    )  # fmt: skip
    words = tokenizer()
    from tokenizers.processors import TemplateProcessing

    words.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return saved(
        folder,
        BlipForConditionalGeneration(config),
        BlipProcessor(BlipImageProcessor(**IMAGES), words),
    )


def blip2(folder: Path, instruct=False) -> Path:
    import transformers as t

    torch.manual_seed(0)
    text = t.OPTConfig(
        vocab_size=5 + len(WORDS), hidden_size=16, word_embed_proj_dim=16, ffn_dim=32,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=128, pad_token_id=0,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    name = "InstructBlip" if instruct else "Blip2"
    qformer = {
        "vocab_size": 5 + len(WORDS), "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "encoder_hidden_size": 16,
    }  # fmt: skip
    config = getattr(t, f"{name}Config")(
        vision_config=vision(getattr(t, f"{name}VisionConfig")).to_dict(),
        qformer_config=qformer, text_config=text.to_dict(), num_query_tokens=4,
        image_token_index=4,
    )  # fmt: skip
    images = t.BlipImageProcessor(**IMAGES)
    if instruct:
        processor = t.InstructBlipProcessor(images, tokenizer(), tokenizer(), num_query_tokens=4)
    else:
        processor = t.Blip2Processor(images, tokenizer(), num_query_tokens=4)
    return saved(folder, getattr(t, f"{name}ForConditionalGeneration")(config), processor)


def encoder_decoder(folder: Path) -> Path:
    from transformers import (
        GPT2Config,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTImageProcessor,
    )

    torch.manual_seed(0)
    decoder = GPT2Config(
        vocab_size=5 + len(WORDS), n_embd=16, n_layer=1, n_head=2, n_positions=48,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(vision(ViTConfig), decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    model = VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id = 1
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    tokenizer().save_pretrained(folder)
    return saved(folder, model, ViTImageProcessor(**IMAGES))


def git(folder: Path) -> Path:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    torch.manual_seed(0)
    config = GitConfig(
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH,
        },
        vocab_size=5 + len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=64, pad_token_id=0, bos_token_id=1,
        eos_token_id=2,
    )  # fmt: skip
    images = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return saved(folder, GitForCausalLM(config), GitProcessor(images, tokenizer()))


def saved(folder: Path, model, processor) -> Path:
    # Random weights of usual size say one word again and again: these are ten times as large.
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1 and "position" not in name:
                value.mul_(10)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
