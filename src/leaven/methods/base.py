"""What every method is: a card, typed hyperparameters and a plain loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn
from typing_extensions import TypeVar

from leaven.errors import ConfigError, expected_by, nearest
from leaven.labels import BoxLabels, Captions, ClassLabels, PixelLabels
from leaven.models.classifier import Classifier
from leaven.quality.accuracy import HeldOut

N = TypeVar("N", bound=nn.Module, default=Classifier)
L = TypeVar("L", bound=ClassLabels | PixelLabels | BoxLabels | Captions | None, default=ClassLabels)

_LOCAL = "a name, or a local folder"
NameOrFolder = Annotated[str, _LOCAL]
"""The type of a hyperparameter that names something published, or a folder of this machine."""


@dataclass(frozen=True)
class Card:
    """What people should know about a method before they use it.

    Attributes:
        name: what it is called on the command line.
        title: of the paper, or the usual name.
        summary: one sentence: how it works.
        task: for example ``"classification"``.
        evidence: what it learns from, for example ``"few labels"``.
        year, venue, paper, code: where it comes from; no year for what is common knowledge.
        number: of the system sheet, None for a standard algorithm.
        parts: the parts of leaven it is made of.
        claim: what the paper says it gains.
        measured: what was measured here, with the setting; the claim file has the details.
    """

    name: str
    title: str
    summary: str
    task: str
    evidence: str
    year: int | None
    venue: str
    paper: str
    code: str = ""
    number: int | None = None
    parts: tuple[str, ...] = ()
    claim: str = ""
    measured: str = ""


@dataclass(frozen=True)
class Labeller:
    """What gave the labels of a run, where its model did not, asked for the held-out items.

    Attributes:
        held_out: what it says of items of ``data.held_out``, none of which it has learnt from.
        learnt: whether it has learnt from the labels that it gave: it is then surer of these than
            of held-out items for that reason alone.
    """

    held_out: HeldOut
    learnt: bool


@dataclass(frozen=True)
class Fitted(Generic[N, L]):
    """What a method hands back.

    Attributes:
        model: the model to use.
        labels: what is believed about ``data.unlabelled``, in its order; None of methods that make
            pictures from other pictures.
        given: what is believed about ``data.labelled``, in its order, by a method that doubts what
            people said (see ``ClassLabels.believed``); None where their labels stand.
        note: what the method wants people to know about this run, in a sentence.
        labeller: what gave the labels where that is not ``model``, for judging them; None where the
            labels are the model's own or nothing is held out.
    """

    model: N
    labels: L
    given: ClassLabels | None = None
    note: str = ""
    labeller: Labeller | None = None


class Method(BaseModel, ABC):
    """A published system: its fields are its hyperparameters, ``fit`` is its loop.

    A subclass with a ``card`` is found by its name. Fields are validated when the method is made:
    ``FixMatch(threshold=0.9)``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    card: ClassVar[Card]
    needs_labels: ClassVar[bool] = True
    """Whether it learns from labels of this data; one that does not starts from a trained model."""
    needs_unlabelled: ClassVar[bool] = True
    needs_views: ClassVar[bool] = False
    """Whether it learns from strong views of pictures, which feature rows do not have."""

    @property
    def needs_tags(self) -> bool:
        """Whether it learns from the classes that whole pictures show."""
        return False

    @abstractmethod
    def fit(self, data: Any, trainer: Any) -> Fitted[Any, Any]:
        """Learns from ``data`` (that is ``trainer.data``) with the services of ``trainer``, which
        are those of the task on the card."""

    @classmethod
    def configured(cls, values: dict[str, Any]) -> Self:
        """The method with hyperparameters by name; ``"recipe.lr"`` reaches into a group.

        Raises:
            ConfigError: an unknown name, or a value of the wrong type or range.
        """
        nested: dict[str, Any] = {}
        for name, value in values.items():
            group, _, rest = name.partition(".")
            if rest:
                base = nested.setdefault(group, _defaults(cls, group))
                base[rest] = value
            else:
                nested[name] = value
        try:
            return cls.model_validate(nested)
        except ValidationError as error:
            raise _explained(cls, error) from None

    @classmethod
    def whole_paths(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Hyperparameters by name with absolute paths, so that they hold in any working folder."""
        whole = dict(values)
        for name, field in cls.model_fields.items():
            path = values.get(name)
            always = Path in (field.annotation, *get_args(field.annotation))
            if path and (always or (_LOCAL in field.metadata and Path(path).exists())):
                whole[name] = str(Path(path).resolve())
        return whole

    @classmethod
    def hyperparameters(cls) -> list[tuple[str, str, Any, str]]:
        """(name, type, default, description) of every hyperparameter, groups written out."""
        return _fields(cls, "")


def _defaults(cls: type[BaseModel], group: str) -> dict[str, Any]:
    field = cls.model_fields.get(group)
    default = field.get_default(call_default_factory=True) if field else None
    return default.model_dump() if isinstance(default, BaseModel) else {}


def _fields(
    cls: type[BaseModel], prefix: str, values: Any = None
) -> list[tuple[str, str, Any, str]]:
    rows: list[tuple[str, str, Any, str]] = []
    for name, field in cls.model_fields.items():
        default = (
            getattr(values, name)
            if values is not None
            else field.get_default(call_default_factory=True)
        )
        if isinstance(default, BaseModel):
            rows += _fields(type(default), f"{prefix}{name}.", default)
            continue
        kind = getattr(field.annotation, "__name__", "") or str(field.annotation)
        if "[" in str(field.annotation) or "|" in str(field.annotation):
            kind = str(field.annotation).replace("typing.", "")
        rows.append((prefix + name, kind, default, field.description or ""))
    return rows


def _explained(cls: type[Method], error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    known = [row[0] for row in cls.hyperparameters()]
    if first["type"] == "extra_forbidden":
        return ConfigError(
            f"{cls.card.name} has no hyperparameter {name!r}.",
            nearest(name, known),
            f"see `leaven methods {cls.card.name}`",
        )
    return ConfigError(
        f"The hyperparameter {name} of {cls.card.name} is {first['input']!r}.",
        expected_by(first["msg"]),
        f"see `leaven methods {cls.card.name}` for types, ranges and defaults",
    )
