"""The step of FixMatch and its family, open at each of its places: propose, refine, select, learn."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self, TypeGuard, TypeVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from leaven.data import Data
from leaven.draws import Draws
from leaven.errors import ConfigError
from leaven.learn import cross_entropy
from leaven.methods.base import Fitted, Method
from leaven.methods.classification.few_labels import HeadedFewLabels
from leaven.models import Headed, capture
from leaven.models.classifier import Classifier
from leaven.select import fixed_threshold
from leaven.train import EMA, Trainer
from leaven.train.batch import Batch

Part = TypeVar("Part", bound=nn.Module)


class Seen(NamedTuple):
    """What the network says of a view: features (B, D) and logits (B, K), with gradients.

    ``maps`` is what the part named by ``WeakStrong.maps`` gave on the way, where one is named.
    """

    features: Tensor
    logits: Tensor
    maps: Tensor | None = None


@dataclass
class Step:
    """What is known in a step; it fills from top to bottom.

    Attributes:
        batch: pictures, targets, items, ``step`` and ``progress``.
        data, trainer: of the run.
        network: what learns: ``classifier`` and ``heads``.
        teacher: its averaged weights, without gradient.
        parts: the parts of the method with a state, by name.
        images: the views by name: ``labelled``, ``weak``, ``strong`` and what else a method makes.
        seen: what the network says of them, by the same names.
        probs: (B, K) the refined proposals for the unlabelled items, without gradient.
        target: (B,) classes or (B, K) distributions that the strong view learns.
        weight: (B,) trust in each of them.
    """

    batch: Batch
    data: Data
    trainer: Trainer
    network: Headed
    teacher: Headed
    parts: nn.ModuleDict
    images: dict[str, Tensor]
    seen: dict[str, Seen] = field(default_factory=dict)
    probs: Tensor = field(default_factory=lambda: torch.empty(0))
    target: Tensor = field(default_factory=lambda: torch.empty(0))
    weight: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def draws(self) -> Draws:
        return self.trainer.draws

    @property
    def items(self) -> Tensor:
        """(B,) the positions of the unlabelled pictures in ``data.unlabelled``."""
        return self.batch.unlabelled.items

    @property
    def targets(self) -> Tensor:
        """(b,) the classes of the labelled pictures."""
        return self.batch.labelled.targets

    @property
    def per_pass(self) -> int:
        """In how many steps the unlabelled pictures are seen once: an epoch of them."""
        return math.ceil(len(self.data.unlabelled) / (len(self.items) * self.trainer.world))

    def part(self, name: str, kind: type[Part]) -> Part:
        """The part called ``name``, known to be a ``kind``."""
        part = self.parts[name]
        assert isinstance(part, kind), f"{name} is a {type(part).__name__}"
        return part


class WeakStrong(HeadedFewLabels):
    """One step: weak views propose, strong views learn what is trusted.

    A method of this family is what it changes of::

        probs  = refine(propose(step))      softmax of the weak view
        weight = select(step, probs)        1[max p >= threshold]
        target = aim(step, probs)           argmax p
        losses = learn(step)                CE(labelled) + strength * mean w CE(strong, target)

    with ``strength(step)``, the unlabelled weight. All views of a step go through the network
    together and share batch statistics (``see``). Averaged weights predict. What has a state is made
    once, in ``parts`` and ``heads``, and lives in checkpoints.

    The codes of FixMatch and of the USB toolbox have the labelled pictures, without their labels, among
    the unlabelled ones too. Here they are not: with few labels that changes next to nothing, and where
    many pictures are labelled it is a difference. The strong view has a fixed magnitude, where those of
    FixMatch and USB are drawn for each operation (see ``Data.views``).
    """

    needs_views: ClassVar[bool] = True

    threshold: float = Field(0.95, ge=0, le=1, description="confidence that a label must reach")
    unlabelled_weight: float = Field(1.0, ge=0, description="weight of the unlabelled loss")
    joint: bool = Field(
        True,
        description="weak views share pass and batch statistics with the others; false: a pass of "
        "their own without gradient, which saves a third of the work",
    )

    # -- what a method may change -----------------------------------------------------------------

    def parts(self, data: Data, trainer: Trainer) -> dict[str, nn.Module]:
        """Parts with a state, by name; none by default."""
        return {}

    def attach(self, network: Headed, trainer: Trainer) -> dict[str, nn.Module]:
        """Parts with a state that need to know the network, by name; none by default."""
        return {}

    def maps(self, classifier: Classifier) -> str | None:
        """The name of a part of the classifier whose outputs are wanted too; none by default."""
        return None

    def views(self, batch: Batch, data: Data, draws: Draws) -> dict[str, Tensor]:
        """The views of a step by name; all go through the network."""
        weak, strong = data.views()
        return {
            "labelled": weak(batch.labelled.images, draws),
            "weak": weak(batch.unlabelled.images, draws),
            "strong": strong(batch.unlabelled.images, draws),
        }

    def see(self, step: Step, maps: str | None) -> dict[str, Seen]:
        """What the network says of the views, by the same names; ``maps`` as above."""
        return look(step.network, step.images, () if self.joint else ("weak",), maps)

    def propose(self, step: Step) -> Tensor:
        """(B, K) what each unlabelled item may be: ``softmax`` of the weak view."""
        return step.seen["weak"].logits.detach().softmax(1)

    def refine(self, step: Step, probs: Tensor) -> Tensor:
        """(B, K) the proposals made better; as they are by default."""
        return probs

    def select(self, step: Step, probs: Tensor) -> Tensor:
        """(B,) trust in each proposal: ``1[max p >= threshold]``."""
        return fixed_threshold(probs.max(1).values, self.threshold)

    def aim(self, step: Step, probs: Tensor) -> Tensor:
        """What the strong view learns: the most probable class."""
        return probs.argmax(1)

    def learn(self, step: Step) -> dict[str, Tensor]:
        """The terms of the loss by name, already weighted."""
        return {
            "supervised": cross_entropy(step.seen["labelled"].logits, step.targets),
            "unlabelled": self.strength(step)
            * cross_entropy(step.seen["strong"].logits, step.target, step.weight),
        }

    def strength(self, step: Step) -> float:
        """Weight of the unlabelled loss in this step."""
        return self.unlabelled_weight

    def notes(self, step: Step) -> dict[str, Any]:
        """What else the logs are told of a step, as scalars by name. ``threshold`` is the one
        confidence that decides, where there is one: the health of the run compares with it."""
        return {"threshold": self.threshold}

    def after(self, step: Step) -> None:
        """Called when the weights have moved, before they are averaged; nothing by default."""

    def final(self, network: Headed) -> Classifier:
        """What predicts, made from the averaged weights."""
        return network.classifier

    @property
    def acceptance(self) -> float:
        """The confidence from which a label is accepted at the end of the run."""
        return self.threshold

    # -- the loop ---------------------------------------------------------------------------------

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        network = self.train(data, trainer)
        return self.fitted(trainer, self.final(network), self.acceptance)

    def train(self, data: Data, trainer: Trainer, share: float = 1.0) -> Headed:
        """The averaged weights of a new network, trained for a ``share`` of the run."""
        network = self.network(trainer)
        average = EMA(network, self.ema)
        optimizer = trainer.optimizer(network, self.recipe)
        parts = nn.ModuleDict(self.parts(data, trainer) | self.attach(network, trainer))
        parts = parts.to(trainer.device)
        maps = self.maps(network.classifier)
        trainer.register(network=network, average=average, optimizer=optimizer, parts=parts)

        for batch in trainer.steps(
            share=share,
            labelled=data.labelled.batches(self.batch),
            unlabelled=data.unlabelled.batches(self.batch * self.ratio),
            watch=self.final(average.module),
        ):
            images = self.views(batch, data, trainer.draws)
            step = Step(batch, data, trainer, network, average.module, parts, images)
            step.seen = self.see(step, maps)
            step.probs = self.refine(step, self.propose(step))
            step.weight = self.select(step, step.probs)
            step.target = self.aim(step, step.probs)
            losses = self.learn(step)
            self._observe(step, losses)
            if trainer.update(torch.stack(list(losses.values())).sum(), optimizer):
                self.after(step)
                average.update(network)

        return average.module

    def _observe(self, step: Step, losses: dict[str, Tensor]) -> None:
        target, strong = step.target, step.seen.get("strong")
        step.trainer.observe(
            losses={name: loss.detach() for name, loss in losses.items()},
            weight=step.weight,
            proposed=target if target.ndim == 1 else target.argmax(1),
            confidence=step.probs.max(1).values,
            student=None if strong is None else strong.logits.argmax(1),
            items=step.items,
            **self.notes(step),
        )


class Plugin(WeakStrong):
    """A method that is put on another one of the family, its ``base``: every step is the base's
    unless the plug-in changes it (``self.host`` is the base; call it and go on from there).

    The fields of the family (``batch``, ``recipe``, ``ratio``, ``ema``, ``threshold``,
    ``unlabelled_weight``, ``joint``) are one for both. They are set on the plug-in; those that are
    not set have the default of the base. ``base_set`` is for what the base has besides.

    Raises:
        ConfigError: ``base`` cannot be a base of the plug-in, or ``base_set`` has a field of the
            family.
    """

    needs_strong: ClassVar[bool] = False
    """Whether the base has to learn on strong views."""

    base: str = Field(
        "fixmatch",
        description="the method it is put on, by name; batch, recipe, ratio, ema, threshold, "
        "unlabelled_weight and joint have its defaults where they are not set",
    )
    base_set: dict[str, Any] = Field(
        default_factory=dict,
        description="further hyperparameters of the base, by name; those that it shares with the "
        "plug-in are set there",
    )

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_base(cls, values: Any) -> Any:
        # Filled in here, so that what is written down and read again is the same.
        if not isinstance(values, dict) or not isinstance(values.get("base", ""), str):
            return values
        fields = cls._kind(values.get("base", cls.model_fields["base"].default)).model_fields
        own = {n: fields[n].get_default(call_default_factory=True) for n in WeakStrong.model_fields}
        return own | values

    @model_validator(mode="after")
    def _sets_what_the_base_alone_has(self) -> Self:
        shared = {name.partition(".")[0] for name in self.base_set} & WeakStrong.model_fields.keys()
        if shared:
            names = ", ".join(sorted(shared))
            raise ConfigError(
                f"base_set of {self.card.name} has {names}.",
                "hyperparameters that the base alone has",
                f"set {names} of {self.card.name} itself, which holds for the base too",
            )
        return self

    @classmethod
    def _kind(cls, base: str) -> type[WeakStrong]:
        from leaven.methods import all_methods, find_method

        kind = find_method(base)
        if cls._fits(kind):
            return kind
        fitting = [
            name for name, other in all_methods("classification").items() if cls._fits(other)
        ]
        raise ConfigError(
            f"{cls.card.name} cannot be put on {base}.",
            f"one of {', '.join(fitting)}",
            "choose another base, such as fixmatch",
        )

    @classmethod
    def _fits(cls, kind: type[Method]) -> TypeGuard[type[WeakStrong]]:
        family = issubclass(kind, WeakStrong) and not issubclass(kind, Plugin)
        return family and (kind.needs_views or not cls.needs_strong)

    @cached_property
    def host(self) -> WeakStrong:
        """The base."""
        shared = {name: getattr(self, name) for name in WeakStrong.model_fields}
        return self._kind(self.base).configured(shared | self.base_set)

    def parts(self, data: Data, trainer: Trainer) -> dict[str, nn.Module]:
        return self.host.parts(data, trainer)

    def heads(self, classifier: Classifier, generator: torch.Generator) -> dict[str, nn.Module]:
        return self.host.heads(classifier, generator)

    def attach(self, network: Headed, trainer: Trainer) -> dict[str, nn.Module]:
        return self.host.attach(network, trainer)

    def maps(self, classifier: Classifier) -> str | None:
        return self.host.maps(classifier)

    def views(self, batch: Batch, data: Data, draws: Draws) -> dict[str, Tensor]:
        return self.host.views(batch, data, draws)

    def see(self, step: Step, maps: str | None) -> dict[str, Seen]:
        return self.host.see(step, maps)

    def propose(self, step: Step) -> Tensor:
        return self.host.propose(step)

    def refine(self, step: Step, probs: Tensor) -> Tensor:
        return self.host.refine(step, probs)

    def select(self, step: Step, probs: Tensor) -> Tensor:
        return self.host.select(step, probs)

    def aim(self, step: Step, probs: Tensor) -> Tensor:
        return self.host.aim(step, probs)

    def learn(self, step: Step) -> dict[str, Tensor]:
        return self.host.learn(step)

    def strength(self, step: Step) -> float:
        return self.host.strength(step)

    def notes(self, step: Step) -> dict[str, Any]:
        return self.host.notes(step)

    def after(self, step: Step) -> None:
        self.host.after(step)

    def final(self, network: Headed) -> Classifier:
        return self.host.final(network)

    @property
    def acceptance(self) -> float:
        return self.host.acceptance


def look(
    network: Headed,
    images: dict[str, Tensor],
    apart: Collection[str] = (),
    maps: str | None = None,
) -> dict[str, Seen]:
    """What ``network`` says of views: one pass for all, and one without gradient for ``apart``."""
    seen = _pass(network, {name: view for name, view in images.items() if name not in apart}, maps)
    if apart:
        with torch.no_grad():
            seen |= _pass(network, {name: images[name] for name in apart}, maps)
    return seen


def _pass(network: Headed, images: dict[str, Tensor], maps: str | None) -> dict[str, Seen]:
    sizes = [len(view) for view in images.values()]
    with capture(network.classifier, [maps] if maps else []) as outputs:
        seen = network(torch.cat(list(images.values())))
    tensors = [*seen, outputs[maps]] if maps else seen
    views = zip(*(tensor.split(sizes) for tensor in tensors), strict=True)
    return {name: Seen(*view) for name, view in zip(images, views, strict=True)}
