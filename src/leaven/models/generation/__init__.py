"""Models that make pictures."""

from leaven.models.generation.class_transformer import ClassTransformer
from leaven.models.generation.latents import KlLatents, Latents, PictureLatents, latents_of
from leaven.models.generation.maker import GENERATION, PictureMaker
from leaven.models.generation.published import load_class_transformer, load_published
from leaven.models.generation.reparameterise import (
    copy_shared,
    hand_over,
    reparameterise,
    set_tables,
)
from leaven.models.generation.sampling import SAMPLERS, guided_noise, sample_latents
from leaven.models.generation.shape import (
    SHAPES,
    TransformerShape,
    count_parameters,
    forward_flops,
)
from leaven.models.generation.text_to_picture import TextToPicture, text_to_picture_spec
from leaven.models.generation.transformer import BlockwiseTextTransformer, TextTransformer
from leaven.models.generation.translator import UNet, UNetTranslator, small_normal, usual_depth
from leaven.models.generation.words import Encoded, T5Words, TableWords, Words, words_of

__all__ = [
    "GENERATION",
    "SAMPLERS",
    "SHAPES",
    "BlockwiseTextTransformer",
    "ClassTransformer",
    "Encoded",
    "KlLatents",
    "Latents",
    "PictureLatents",
    "PictureMaker",
    "T5Words",
    "TableWords",
    "TextToPicture",
    "TextTransformer",
    "TransformerShape",
    "UNet",
    "UNetTranslator",
    "Words",
    "copy_shared",
    "count_parameters",
    "forward_flops",
    "guided_noise",
    "hand_over",
    "latents_of",
    "load_class_transformer",
    "load_published",
    "reparameterise",
    "sample_latents",
    "set_tables",
    "small_normal",
    "text_to_picture_spec",
    "usual_depth",
    "words_of",
]
