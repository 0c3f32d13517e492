"""What the page may send."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from leaven.labels.correction_fields import LONGEST_NAME, LONGEST_SIDE, LONGEST_TOKEN, MOST_BOXES

Corner = Annotated[float, Field(ge=-LONGEST_SIDE, le=LONGEST_SIDE, allow_inf_nan=False)]


class SaidBox(BaseModel):
    """A box that a person wants.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the picture as it was found; cut at its rim.
        name: of its class.
        origin: the place of the box it was made of in what was shown; None for a new one.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    box: Annotated[list[Corner], Field(min_length=4, max_length=4)]
    name: Annotated[str, Field(max_length=LONGEST_NAME, alias="class")]
    origin: Annotated[int | None, Field(alias="from")] = None


class Said(BaseModel):
    """What a person says of an item.

    Attributes:
        action: see ``Correction``.
        version: of the item as the page showed it.
        round: of the labels that the page showed.
        token: unique for this request; the same request may be sent again with it.
        label: the class, where the action is ``relabel``.
        boxes: all boxes of the picture, where it has some.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    action: Literal["accept", "reject", "relabel", "skip", "undo"]
    version: Annotated[int, Field(ge=0)]
    round: Annotated[int, Field(ge=0)]
    token: Annotated[str, Field(min_length=8, max_length=LONGEST_TOKEN)]
    label: Annotated[str | None, Field(max_length=LONGEST_NAME)] = None
    boxes: Annotated[list[SaidBox] | None, Field(max_length=MOST_BOXES)] = None
