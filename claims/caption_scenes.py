"""A captioner that learns from captions, and what it writes for pictures that have sparse ones.

A vision encoder with a text decoder of transformers, small, is trained on pictures of two real digits
with exact captions and saved as its library saves models. Then ``leaven caption`` itself writes the
captions of pictures of other digits, whose raw captions name one of the two.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from claims.harness import Claim, Gain, Level
from leaven.data.scenes.words import caption

SIDE, SIZE, PATCH = 8, 16, 4
SCENES, STEPS, BATCH, RATE = 8000, 1500, 64, 1e-3
TOLD, MORE_THAN = 300, 10
_CORNERS = torch.tensor([[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]])


@dataclass(frozen=True)
class Scenes:
    """Pictures (n, 3, 16, 16) uint8 with their exact captions."""

    images: Tensor
    captions: list[str]


_MARKS = ("<pad>", "<s>", "</s>", "<unk>")


def trained(folder: Path, seed: int, steps: int, count: int) -> None:
    """Trains a captioner on ``count`` scenes with their exact captions and saves it."""
    made = _scenes(seed, count, learnt=True)
    images, texts = made.images, made.captions
    words = _tokenizer(texts)
    model = _model(seed, len(words))
    tokens = words(texts, padding=True, return_tensors="pt")
    ids = tokens.input_ids
    target = ids.masked_fill(tokens.attention_mask == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    draws = torch.Generator().manual_seed(seed)
    model.train()
    for _ in range(steps):
        rows = torch.randint(count, (BATCH,), generator=draws)
        logits = model(
            pixel_values=_moved(images[rows], draws).float() / 127.5 - 1,
            decoder_input_ids=ids[rows, :-1],
            decoder_attention_mask=tokens.attention_mask[rows, :-1],
        ).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target[rows, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    _processor().save_pretrained(folder)


def told(seed: int, steps: int = STEPS, count: int = SCENES) -> dict[str, float]:
    """Captions of scenes by the trained captioner through ``leaven caption``, against the truth."""
    from leaven.job.caption import caption as write
    from leaven.job.caption_folder import CaptionOptions

    with tempfile.TemporaryDirectory() as place:
        base = Path(place)
        trained(base / "captioner", seed, steps, count)
        truth = _written(base / "pictures", seed)
        options = CaptionOptions(
            str(base / "pictures"), str(base / "captioner"), temperature=0.2, max_tokens=20,
            seed=seed, more_than=MORE_THAN, device="cpu",
        )  # fmt: skip
        result = write(options, out=base / "out")
        summary = json.loads((base / "out" / "captions.json").read_text("utf-8"))
    said = dict(zip(result.names, result.texts, strict=True))
    texts = [said[name] for name in truth]
    return {**_scores(texts, list(truth.values())), **_density(summary["density"]["written"])}


def raw(seed: int) -> dict[str, float]:
    """The sparse raw captions of the same scenes: one digit each."""
    from leaven.quality.concept_density import concept_density

    truth = _scenes(seed, TOLD, learnt=False).captions
    sparse = [_sparse(text) for text in truth]
    found = concept_density(sparse, more_than=MORE_THAN).as_dict()
    return {**_scores(sparse, truth), **_density(found)}


def _scenes(seed: int, count: int, *, learnt: bool) -> Scenes:
    """Two digits in two of the four corners; those that are told are others than those learnt from."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    draws = torch.Generator().manual_seed(2 * seed + learnt)
    order = torch.randperm(len(digits.images), generator=torch.Generator().manual_seed(seed))
    bank = order[TOLD:] if learnt else order[:TOLD]
    chosen = bank[torch.randint(len(bank), (count, 2), generator=draws)]
    corners = torch.rand(count, 4, generator=draws).argsort(1)[:, :2]
    drawn = torch.from_numpy(digits.images / 16 * 255).round().to(torch.uint8)
    images = torch.zeros(count, SIZE, SIZE, dtype=torch.uint8)
    captions = []
    for scene in range(count):
        places = _CORNERS[corners[scene]]
        for digit, (x, y) in zip(chosen[scene].tolist(), places.tolist(), strict=True):
            images[scene, y : y + SIDE, x : x + SIDE] = drawn[digit]
        boxes = torch.cat([places, places + SIDE], 1).float()
        captions.append(caption(digits.target[chosen[scene]].tolist(), boxes))
    return Scenes(images[:, None].repeat(1, 3, 1, 1), captions)


def _written(folder: Path, seed: int) -> dict[str, str]:
    """Scenes as pictures with sparse captions beside them; the exact caption of each by its name."""
    folder.mkdir()
    made, truth = _scenes(seed, TOLD, learnt=False), {}
    for number, (image, text) in enumerate(zip(made.images, made.captions, strict=True)):
        name = f"{number:04d}.png"
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / name)
        (folder / name).with_suffix(".txt").write_text(_sparse(text), "utf-8")
        truth[name] = text
    return truth


def _sparse(text: str) -> str:
    """The first digit that the caption names, and nothing else."""
    return " ".join(text.split()[:2])


def _scores(said: Sequence[str], truth: Sequence[str]) -> dict[str, float]:
    """The share of captions that are exact, and of the true words that are said in their place."""
    pairs = [(_words(one), _words(other)) for one, other in zip(said, truth, strict=True)]
    right = sum(sum(a == b for a, b in zip(one, other)) for one, other in pairs)
    return {
        "exact": sum(one == other for one, other in pairs) / len(pairs),
        "words": right / sum(len(other) for _, other in pairs),
    }


def _density(found: dict[str, Any]) -> dict[str, float]:
    # A claim's metrics are shares: nouns per picture are given as a share of ten.
    return {"nouns": found["per_picture"] / 10, "valid": found["valid_share"]}


def _words(text: str) -> list[str]:
    return text.replace(",", " , ").split()


def _moved(images: Tensor, draws: torch.Generator) -> Tensor:
    """Brightness and contrast changed a little, for each picture."""
    change = torch.rand(2, len(images), 1, 1, 1, generator=draws)
    shown = images.float()
    mean = shown.mean((1, 2, 3), keepdim=True)
    return ((shown - mean) * (0.8 + 0.4 * change[0]) + mean + 40 * (change[1] - 0.5)).clamp(0, 255)


def _tokenizer(texts: Sequence[str]) -> Any:
    """A tokenizer of the words that the captions have."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    vocabulary = sorted({word for text in texts for word in _words(text)})
    numbers = {word: number for number, word in enumerate([*_MARKS, *vocabulary])}
    made = Tokenizer(models.WordLevel(numbers, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", clean_up_tokenization_spaces=True,
    )  # fmt: skip


def _model(seed: int, vocabulary: int) -> Any:
    from transformers import (
        GPT2Config,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
    )

    torch.manual_seed(seed)
    encoder = ViTConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
        image_size=SIZE, patch_size=PATCH,
    )  # fmt: skip
    decoder = GPT2Config(
        vocab_size=vocabulary, n_embd=64, n_layer=2, n_head=4, n_positions=24, bos_token_id=1,
        eos_token_id=2, pad_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model = VisionEncoderDecoderModel(config)
    model.generation_config.decoder_start_token_id = 1
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    return model


def _processor() -> Any:
    from transformers import ViTImageProcessor

    return ViTImageProcessor(
        size={"height": SIZE, "width": SIZE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )


CLAIM = Claim(
    method="caption",
    statement="A captioner that was trained on exact captions writes captions that name more of what "
    "pictures show than their sparse raw captions.",
    setting=f"two digits of scikit-learn in 16x16 pixels; a ViT with a GPT-2 decoder, 0.3 M "
    f"parameters, {STEPS} steps of {BATCH} from {SCENES} pictures; {TOLD} pictures of other digits "
    "through `leaven caption`; `nouns` is nouns per picture over ten, `valid` VN/DN",
    variants={"written": told, "raw": raw},
    expect=(
        Gain("written", "raw", 50.0, metric="words"),
        Gain("written", "raw", 8.0, metric="nouns"),
        Level("written", 80.0, metric="exact"),
        Level("written", 90.0, metric="words"),
    ),
    note="The captioner sees no raw caption: a vision encoder with a decoder takes no words.",
    metric="words",
)
