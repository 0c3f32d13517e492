"""Models that say in words what a picture shows."""

from leaven.models.captioners.base import Captioner, Instruct, Written
from leaven.models.captioners.families import (
    Beginning,
    ChatCaptioner,
    PictureOnly,
    QuestionCaptioner,
)
from leaven.models.captioners.loading import load_captioner
from leaven.models.captioners.sampling import OwnDraws

__all__ = [
    "Beginning",
    "Captioner",
    "ChatCaptioner",
    "Instruct",
    "OwnDraws",
    "PictureOnly",
    "QuestionCaptioner",
    "Written",
    "load_captioner",
]
