"""Everything that defines a run, as one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from leaven.errors import ConfigError, expected_by, nearest
from leaven.plain import read_yaml

if TYPE_CHECKING:
    from leaven.train import Settings

DEFAULT_BUDGET = "2000"

EMBEDDED, DEFAULT = "embedded", "default"
"""What stands for the embedded data and for the usual method of a task."""

USUAL: dict[str, tuple[str, str]] = {
    "classification": ("digits", "fixmatch"),
    "segmentation": ("scenes", "csl"),
    "detection": ("scenes", "certainty-aware"),
    "instance": ("scenes", "pais"),
    "translation": ("scenes", "pix2pix"),
    "text-to-image": ("scenes", "pixart-alpha"),
}
"""The embedded data and the usual method of each task."""

USUAL_BUDGET = {"text-to-image": "3600"}
"""Of tasks that need more steps than others before there is something to see."""

LEAST_SIDE, MOST_SIDE = 8, 4096
"""The sides, in pixels, that pictures can be scaled to: a larger one is a slip of the pen and would
ask for more memory than there is."""

Task = Literal[
    "classification", "segmentation", "detection", "instance", "translation", "text-to-image"
]  # fmt: skip


class RunConfig(BaseModel):
    """The options of ``leaven run``; the field names are those of the YAML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Task = Field(
        "classification",
        description="what is learned: a class for each picture (classification) or for each pixel "
        "(segmentation), boxes (detection), or boxes with masks (instance); or to turn pictures into "
        "others (translation), or to make them of words (text-to-image)",
    )
    data: str = Field(
        EMBEDDED,
        description="folder, Parquet file, torchvision:NAME@ROOT; digits, or scenes for the other "
        "tasks, are built in",
    )
    annotations: Path | None = Field(
        None,
        description="COCO file for a folder of pictures; of translation the folder of the pictures "
        "that are to be made",
    )
    pairs: Literal["auto", "folders", "side-by-side", "maps", "grey", "edges"] = Field(
        "auto",
        description="translation: two folders, files that show both, label maps and photos, or of "
        "any pictures their greys or edges",
    )
    swap: bool = Field(
        False, description="translation: the other way, as from photos to label maps"
    )
    extractor: str | None = Field(
        None,
        description="translation and text-to-image: compare made pictures with real ones by features "
        "of this network (FID, KID, precision, recall): timm:NAME, torchvision:NAME, openclip:NAME, "
        "pixels, or the folder of a run",
    )
    labels: Path | None = Field(
        None,
        description="CSV file with the columns file and label; text-to-image: a file of captions, or "
        "the folder that `leaven caption` wrote",
    )
    label_column: str | None = Field(
        None,
        description="column of a Parquet or CSV file with the labels, which may be wrong, or with the "
        "captions",
    )
    truth_column: str | None = Field(
        None, description="column with the truth, to measure against and never to learn from"
    )
    labels_per_class: int | None = Field(
        None, ge=1, description="keep so many labels, hide the rest"
    )
    tags: str | None = Field(
        None,
        description="segmentation: table of the classes that each picture shows (columns file and "
        "tags, with ; between names), for methods that learn from these; maps takes them from label "
        "maps, hidden ones too",
    )
    labelled: int | None = Field(
        None,
        ge=1,
        description="keep the labels of so many pictures, hide the rest; tasks other than "
        "classification",
    )
    test_share: float | None = Field(
        None, ge=0, lt=1, description="share to hold out for measuring"
    )
    val_share: float = Field(0.0, ge=0, lt=1, description="share of the labels to make choices on")
    promise: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="accept only as many labels as keep this share of them right, for example 0.98; "
        "the rest needs a person",
    )
    confidence: float = Field(
        0.95, gt=0, lt=1, description="with which the promise is to hold, over what is held out"
    )
    calibration: int | None = Field(
        None,
        ge=1,
        description="labels (or labelled pictures) to hold out for the promise and for nothing "
        "else; when not set as many as it takes, at most a third of the labels",
    )
    promise_per_class: bool = Field(
        False, description="promise it of each class by itself, with a threshold for each"
    )
    estimate_by: Literal["auto", "held-out", "second-opinion"] = Field(
        "auto",
        description="classification: what the estimated accuracy of the labels rests on: held-out "
        "items; the second opinion of a copy adapted to the unlabelled pictures; auto takes that "
        "where these look unlike the held-out ones, or nothing is held out",
    )
    image_size: int | str | None = Field(
        None, description="side of the pictures, or HEIGHTxWIDTH such as 120x160"
    )
    flip: bool | None = Field(None, description="whether a mirrored picture shows the same class")
    max_unreadable: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of unreadable pictures to skip; when not set 1 %, and in small data one in "
        "ten up to three, but always one",
    )
    features: str | None = Field(
        None,
        description="learn from what a frozen backbone says of each picture, found once: pixels, "
        "timm:NAME, torchvision:NAME, openclip:NAME, a small net, or the folder of a run",
    )
    feature_dtype: Literal["float32", "float16"] = Field(
        "float32", description="what features are kept as; float16 takes half the disk"
    )
    features_to: Path | None = Field(
        None, description="folder of the feature files; features/ beside OUT when not set"
    )
    method: str = Field(DEFAULT, description="see `leaven methods`; by default the usual one")
    model: str = Field("auto", description="small net, timm:NAME, torchvision:NAME; linear or mlp")
    weights: str | None = Field(
        None, description="file, or published weights, to start from; with features the backbone's"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="further ones of the model")
    set: dict[str, Any] = Field(default_factory=dict, description="hyperparameters of the method")
    budget: str = Field(DEFAULT_BUDGET, description="steps (2000) or time (45s, 10m, 1h30m)")
    seed: int = Field(0, ge=0, description="of everything random")
    compare: bool = Field(False, description="also train the supervised baseline, same budget")
    device: str = Field("auto", description="auto, cpu, cuda, ...")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="of the computing")
    compile: bool = Field(
        False,
        description="compile the networks: up to minutes at the start, faster steps after them; for "
        "long runs on a GPU",
    )
    threads: int = Field(0, ge=0, description="CPU threads; 0 finds the fastest")
    checkpoint_seconds: float = Field(60.0, gt=0, description="time between checkpoints")
    out: Path | None = Field(None, description="the run folder; runs/DATA-METHOD-SEED when not set")

    @field_validator("budget", mode="before")
    @classmethod
    def _budget(cls, value: object) -> str:
        from leaven.train import Budget  # torch is loaded when a value is checked, not for --help

        Budget.parse(str(value))
        return str(value)

    @field_validator("image_size", mode="before")
    @classmethod
    def _image_size(cls, value: object) -> object:
        sides = str(value).lower().split("x")
        if value is None or isinstance(value, float) or not 1 <= len(sides) <= 2:
            if value is None:
                return None
            raise ValueError("a side or HEIGHTxWIDTH, for example 64 or 120x160")
        whole = all(side.isdecimal() and len(side) < 10 for side in sides)
        if not whole or not all(LEAST_SIDE <= int(side) <= MOST_SIDE for side in sides):
            raise ValueError(
                f"sides of {LEAST_SIDE} to {MOST_SIDE} pixels, for example 64 or 120x160"
            )
        return int(sides[0]) if len(sides) == 1 else "x".join(sides)

    @property
    def shape(self) -> int | tuple[int, int] | None:
        """``image_size`` as a side, or as height and width."""
        if not isinstance(self.image_size, str):
            return self.image_size
        height, width = map(int, self.image_size.split("x"))
        return height, width

    def settled(self) -> Self:
        """The same with the data and the method that are meant where none is named."""
        data, method = USUAL[self.task]
        return self.model_copy(
            update={
                "data": data if self.data == EMBEDDED else self.data,
                "method": method if self.method == DEFAULT else self.method,
                "budget": self.budget
                if "budget" in self.model_fields_set
                else USUAL_BUDGET.get(self.task, self.budget),
            }
        )

    @classmethod
    def make(cls, **values: Any) -> Self:
        """The configuration, or a ``ConfigError`` that names the first wrong field."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise ConfigError(
                    f"The configuration has no field {name!r}.",
                    nearest(name, cls.model_fields),
                    "see `leaven run --help`",
                ) from None
            raise ConfigError(
                f"{name} is {first['input']!r}.",
                expected_by(first["msg"]),
                f"change {name} ({cls.model_fields[str(first['loc'][0])].description})",
            ) from None

    @classmethod
    def read(cls, path: Path, **changes: Any) -> Self:
        """The configuration in a YAML file, with ``changes`` on top.

        Raises:
            ConfigError: no such file, not YAML, or a wrong field.
        """
        try:
            values = read_yaml(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(
                f"There is no configuration {path}.", "a YAML file", "check the path"
            ) from None
        except (ValueError, OSError) as error:
            raise ConfigError(
                f"{path} cannot be read as YAML: {error}", "a YAML mapping", "mend the file"
            ) from None
        if not isinstance(values or {}, dict):
            raise ConfigError(
                f"{path} holds a {type(values).__name__}.",
                "a YAML mapping such as `method: fixmatch`",
                "write one field a line",
            )
        named = {str(name): value for name, value in (values or {}).items()}
        return cls.make(**{**named, **changes})

    def to_yaml(self) -> str:
        """As YAML, every field written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def settings(self, *, show: bool) -> Settings:
        """How to compute."""
        from leaven.train import Budget, Settings

        return Settings(
            budget=Budget.parse(self.budget),
            seed=self.seed,
            model=self.model,
            weights=None if self.features else self.weights,
            options=self.options,
            device=self.device,
            precision=self.precision,
            compile=self.compile,
            threads=self.threads,
            checkpoint_seconds=self.checkpoint_seconds,
            show=show,
        )
