"""FedLabel: clients believe the global or their local model, image by image."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from leaven.data import Data, partition
from leaven.errors import ConfigError, DataError
from leaven.labels import ClassLabels
from leaven.methods.base import Card, Fitted, Method
from leaven.methods.classification.fedlabel_client import (
    Client,
    Report,
    State,
    Work,
    clients_of,
    work_round,
)
from leaven.methods.classification.fedlabel_flower import Ask, through_flower
from leaven.models import Classifier, disjoint_average
from leaven.select import fixed_threshold
from leaven.select.expertise import Expertise, Selector
from leaven.train import Trainer


class FedLabel(Method):
    """FedLabel (Cho, Joshi, Dimitriadis; ICCV 2023): one global model from clients that hold a few
    labelled and many unlabelled pictures, and share neither.

    A step of the budget is a round. In each the server sends the global weights w to some clients::

        a_k   from w: labelled_steps steps of CE on the labels                 the local model
        b_k   from w: unlabelled_steps steps on the unlabelled images u        (w in the burn-in)
              P_g = softmax(f(u; w) / T), P_l = softmax(f(u; a_k) / T)         two frozen experts
              per image the one whose softmax vector has the larger variance e is believed, if its
              confidence exceeds the threshold: label = its argmax
              loss = unlabelled_weight  * CE(f(strong(u); b_k), label)
                   + consistency_weight * mean over images where both agree of
                                          min(e) / max(e) * KL(P_l, softmax(f(u; b_k) / T))
                   + proximal_weight    * sum over tensors of mean (b_k - w)^2
        w <-  1/2 mean_k a_k + 1/2 sum_k n_k b_k / sum_k n_k                   n_k accepted labels

    A client that accepts no label counts as one. All entries of the state are averaged, statistics
    of batch norm and counters included. Since b_k starts from w, w moves half as fast as by averaging
    alone, and without burn-in, small unlabelled steps and the proximal term the unlabelled half runs
    away.

    Who holds what: ``owners`` where it is known. Else it is simulated: items are divided by
    Dirichlet shares per class, by true classes where they are known for measuring; learning never
    sees these. A client whose weights are not finite is left out of its round. Clients compute
    without a schedule and without momentum, as in the official code, which is followed where the
    paper leaves a choice: it draws batches of 128 unlabelled images and uses 64, here 64 are drawn.
    It never clears the gradients of the unlabelled branch, so that ten steps go as far as 55 of
    their first; here each step has its own. Its division draws the classes of each client, here
    the clients of each class are drawn, and sizes differ more.
    With ``backend=flower`` clients work in processes of their own, through the simulation of Flower
    on the CPU, and say the same. The class has no ``recipe``: both branches are plain SGD.
    """

    card: ClassVar[Card] = Card(
        name="fedlabel",
        title="FedLabel",
        summary="Clients with few labels train one global model; on each unlabelled image a client "
        "believes the global model or its own, whichever is surer.",
        task="classification",
        evidence="few labels, divided over clients",
        year=2023,
        venue="ICCV",
        paper="https://arxiv.org/abs/2307.08809",
        code="https://github.com/microsoft/msrflute",
        number=81,
        parts=(
            "data.partition",
            "select.choose_expert",
            "learn.cross_entropy",
            "learn.agreement_divergence",
            "learn.proximal",
            "models.disjoint_average",
        ),
        claim="8 to 24 % better than other federated methods with few labels, and above federated "
        "training on all labels with 5 to 20 % of them.",
        measured="Digits, 12 clients with uneven classes, 3 seeds: 81.5 % against 79.9 % of the "
        "labels alone, 81.9 % of the local and 78.6 % of the global model's labels "
        "alone. Where each client's labels lack half of its classes, 70.2 % of its labels are right, of the local "
        "model's 64.5, of the global model's 72.6. A small CNN and strong views: 93.5 % against 91.1 % of the labels "
        "alone, 93.0 % of the local and 93.4 % of the global model's labels alone.",
    )

    batch: int = Field(64, ge=1, description="images of a client's step")
    clients: int = Field(100, ge=1, description="number of clients")
    per_round: int = Field(10, ge=1, description="clients that work in a round, at most all")
    alpha: float = Field(0.1, gt=0, description="Dirichlet parameter of the simulated division")
    owners: tuple[int, ...] | None = Field(
        None, description="the client of each training item; simulated when not set"
    )
    labelled_steps: int = Field(30, ge=1, description="steps on labels per round")
    unlabelled_steps: int = Field(10, ge=0, description="steps on unlabelled images per round")
    lr: float = Field(0.003, gt=0, description="learning rate on labels")
    unlabelled_lr: float = Field(0.003, gt=0, description="learning rate on unlabelled images")
    burn_in: int = Field(50, ge=0, description="first rounds, on labels alone")
    threshold: float = Field(0.3, ge=0, le=1, description="confidence that a label must exceed")
    temperature: float = Field(1.0, gt=0, description="T of all softmax vectors of experts")
    uda: bool = Field(True, description="learn labels on the strong view; false: on the weak one")
    unlabelled_weight: float = Field(1.0, ge=0, description="of the loss of accepted labels")
    consistency_weight: float = Field(0.05, ge=0, description="of the agreement with the expert")
    proximal_weight: float = Field(10.0, ge=0, description="of the distance to the global weights")
    expertise: Expertise = Field("variance", description="how sure a model is: or entropy")
    selector: Selector = Field("select", description="who is believed; local, global: always")
    backend: Literal["here", "flower"] = Field(
        "here", description="clients one after the other, or in processes through Flower"
    )
    processes: int = Field(2, ge=1, description="of backend=flower")

    def fit(self, data: Data, trainer: Trainer) -> Fitted:
        if self.uda and not data.has_views:
            raise ConfigError(
                "The data are feature rows and uda is on.",
                "pictures, which have a strong view, or uda off",
                "set uda=false",
            )
        if trainer.world > 1:
            raise ConfigError(
                f"FedLabel is started with {trainer.world} processes.",
                "one process, which is the server",
                "set backend=flower and processes=N for clients in processes of their own",
            )
        model = trainer.model()
        clients = clients_of(data, self._owners(data, trainer.settings.seed), self.clients)
        workers = copy.deepcopy(model)
        work = Work(
            trainer.settings.seed, **self.model_dump(include=set(Work.__annotations__) - {"seed"})
        )
        trainer.register(model=model)

        if self.backend == "flower":
            through_flower(
                workers, clients, work, self.processes, lambda ask: self.serve(trainer, model, ask)
            )
        else:
            held = [client.to(trainer.device) for client in clients]
            self.serve(trainer, model, _one_by_one(workers, held, work))
        probs = trainer.predict(model, data.unlabelled)
        weight = fixed_threshold(probs.max(1).values, self.threshold)
        return Fitted(model.eval(), ClassLabels.from_probs(probs, weight))

    def serve(self, trainer: Trainer, model: Classifier, ask: Ask) -> None:
        """The server: ``ask`` gives the reports of clients, the weights of ``model`` move."""
        for batch in trainer.steps(watch=model, name="rounds"):
            numbers = self._drawn(trainer.settings.seed, batch.step)
            state = {name: value.detach().clone() for name, value in model.state_dict().items()}
            reports = ask(batch.step, numbers, state)
            whole = [report for report in reports if _finite(report)]
            if whole:
                model.load_state_dict(
                    disjoint_average(
                        [report.local for report in whole],
                        [report.unsupervised for report in whole],
                        # As the official code has it; all count alike in the burn-in.
                        [max(1, int(report.counts.get("accepted", 0))) for report in whole],
                    )
                )
            trainer.images_seen += sum(
                report.processed + int(report.counts.get("seen", 0)) for report in reports
            )
            lost = len(reports) - len(whole)
            if lost:
                trainer.health.skipped(trainer.step, ["weights of a client"] * lost)
            curves: dict[str, Any] = _curves(reports, lost)
            trainer.observe(weight=_trust(reports), **curves)

    def _drawn(self, seed: int, round_number: int) -> list[int]:
        """The clients of a round, without repetition; a resumed run draws the same."""
        generator = torch.Generator().manual_seed((seed * 1_000_003 + round_number) % 2**63)
        order = torch.randperm(self.clients, generator=generator)
        return order[: min(self.per_round, self.clients)].sort().values.tolist()

    def _owners(self, data: Data, seed: int) -> Tensor:
        train = data.train
        if self.owners is None:
            known = torch.where(train.labels >= 0, train.labels, train.truth)
            return partition(known, self.clients, self.alpha, seed)
        owners = torch.tensor(self.owners, dtype=torch.int64)
        if len(owners) != len(train) or not bool(((owners >= 0) & (owners < self.clients)).all()):
            raise DataError(
                f"owners names clients of {len(owners)} items, the data have {len(train)}.",
                f"a number from 0 to {self.clients - 1} for each of them",
                "correct owners, or the number of clients",
            )
        return owners


def _one_by_one(model: Classifier, clients: list[Client], work: Work) -> Ask:
    """Clients that work in this process, one after the other."""

    def ask(round_number: int, numbers: Sequence[int], state: State) -> list[Report]:
        return [
            work_round(model, state, clients[number], work, round_number, number)
            for number in numbers
        ]

    return ask


def _finite(report: Report) -> bool:
    values = (*report.local.values(), *report.unsupervised.values())
    return all(bool(value.isfinite().all()) for value in values)


def _trust(reports: list[Report]) -> Tensor | None:
    """1 for each unlabelled item whose label a client accepted, 0 for each other one that it saw."""
    seen, accepted = (
        int(sum(report.counts.get(name, 0.0) for report in reports))
        for name in ("seen", "accepted")
    )
    return (torch.arange(seen) < accepted).float() if seen else None


def _curves(reports: list[Report], lost: int) -> dict[str, Tensor]:
    """What the logs are told of a round."""
    total: dict[str, float] = {}
    for report in reports:
        for name, value in report.counts.items():
            total[name] = total.get(name, 0.0) + value
    values = {"clients_lost": float(lost)}
    if total.get("known"):
        for name in ("select", "local", "global"):
            values[f"{name}_accuracy"] = total[name] / total["known"]
    return {name: torch.tensor(value) for name, value in values.items()}
