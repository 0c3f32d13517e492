"""What a client of FedLabel does in a round: plain Python that can run in any process."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from leaven.data import Data
from leaven.data.features import same
from leaven.data.transforms import Strong, Weak
from leaven.draws import Draws
from leaven.learn import agreement_divergence, cross_entropy, proximal
from leaven.models import Classifier
from leaven.select import choose_expert
from leaven.select.expertise import Expertise, Selector

State = dict[str, Tensor]


@dataclass(frozen=True)
class Work:
    """How a client learns; the names are those of the method's hyperparameters."""

    seed: int
    batch: int
    labelled_steps: int
    unlabelled_steps: int
    lr: float
    unlabelled_lr: float
    burn_in: int
    threshold: float
    temperature: float
    uda: bool
    unlabelled_weight: float
    consistency_weight: float
    proximal_weight: float
    expertise: Expertise
    selector: Selector


@dataclass
class Report:
    """What a client sends back: the state of both branches, the number of labelled items that it has
    processed, and sums over its steps on unlabelled items. Of these ``counts`` the server needs the
    accepted ones (n_k); those seen, and how many accepted ones are right by each of the selectors,
    are for the curves of an experiment."""

    local: State
    unsupervised: State
    processed: int
    counts: dict[str, float]


@dataclass
class Client:
    """What one client holds.

    Attributes:
        labelled, unlabelled: pictures (n, C, H, W) uint8, or feature rows (n, D).
        targets: classes of the labelled ones.
        truth: classes of the unlabelled ones where an experiment knows them, else -1; only counted
            with, never learnt from.
        flip: whether a mirrored picture shows the same class.
    """

    labelled: Tensor
    targets: Tensor
    unlabelled: Tensor
    truth: Tensor
    flip: bool

    def to(self, device: torch.device) -> Client:
        return replace(
            self,
            labelled=self.labelled.to(device),
            targets=self.targets.to(device),
            unlabelled=self.unlabelled.to(device),
            truth=self.truth.to(device),
        )

    def weak(self, images: Tensor, draws: Draws) -> Tensor:
        """The view it is trained on: mirror and crop; rows as they are."""
        view = same if images.ndim == 2 else Weak(self.flip, _padding(images))
        return view(images, draws)

    def strong(self, images: Tensor, draws: Draws) -> Tensor:
        """The other view: one operation of RandAugment after mirror and crop."""
        return Strong(self.flip, _padding(images), ops=1, magnitude=10, cutout=0.0)(images, draws)


def clients_of(data: Data, owners: Tensor, count: int) -> list[Client]:
    """What each of ``count`` clients holds, given the client (n,) of each training item."""
    train, clients = data.train, []
    for number in range(count):
        mine = owners == number
        named = (mine & (train.labels >= 0)).nonzero().squeeze(1)
        others = (mine & (train.labels < 0)).nonzero().squeeze(1)
        clients.append(
            Client(
                train.pixels.batch(named),
                train.labels[named],
                train.pixels.batch(others),
                train.truth[others],
                data.flip,
            )
        )
    return clients


def work_round(
    model: Classifier, state: State, client: Client, work: Work, round_number: int, number: int
) -> Report:
    """One round of one client.

    All that is random follows from the seed of the run, the round and the client, so that it does
    not matter where a client works and after which other.

    Args:
        model: any network of the right shape; its weights are overwritten.
        state: w, the global weights.
        client: what it holds, on the device of the model.
        work: how it learns.
        round_number: from 0.
        number: of the client.
    """
    seed = (work.seed * 1_000_003 + round_number) * 100_003 + number
    draws = Draws(seed % 2**63, model.mean.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        model.load_state_dict(state)
        processed = _learn_labels(model, client, work, draws)
        local = _copied(model)
        if round_number < work.burn_in or len(client.unlabelled) == 0:
            return Report(local, dict(state), processed, {})
        counts = _learn_unlabelled(model, state, local, client, work, draws)
    return Report(local, _copied(model), processed, counts)


def _learn_labels(model: Classifier, client: Client, work: Work, draws: Draws) -> int:
    """The supervised branch: cross entropy on random batches of the labels."""
    size = min(work.batch, len(client.labelled))
    if size == 0:
        return 0
    optimizer = torch.optim.SGD(model.parameters(), work.lr)
    model.train()
    for _ in range(work.labelled_steps):
        items = _never_one(draws.permutation(len(client.labelled))[:size])
        images = client.weak(client.labelled[items], draws)
        _step(optimizer, cross_entropy(model(images), client.targets[items]))
    return work.labelled_steps * size


def _learn_unlabelled(
    model: Classifier, state: State, local: State, client: Client, work: Work, draws: Draws
) -> dict[str, float]:
    """The unsupervised branch, from the global weights again; gives counts."""
    experts = _expert(model, local), _expert(model, state)
    model.load_state_dict(state)
    anchors = [weight.detach().clone() for weight in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), work.unlabelled_lr)
    counts: dict[str, float] = {}
    model.train()
    for _ in range(work.unlabelled_steps):
        items = draws.permutation(len(client.unlabelled))[: work.batch]
        weak = client.weak(client.unlabelled[items], draws)
        own, general = (_said(expert, weak, work.temperature) for expert in experts)
        chosen = choose_expert(own, general, work.selector, work.expertise)
        confidence, labels = chosen.probs.max(1)
        accepted = confidence > work.threshold
        _count(counts, accepted, own, general, client.truth[items], work)
        if not bool(accepted.any()):
            continue
        learnt = _never_one(accepted.nonzero().squeeze(1))
        strong = client.strong(client.unlabelled[items], draws) if work.uda else weak
        logits = model(strong[learnt])
        again = model(weak[learnt]) if work.uda else logits
        loss = work.unlabelled_weight * cross_entropy(logits, labels[learnt])
        loss = loss + work.consistency_weight * agreement_divergence(
            again / work.temperature, own[learnt], general[learnt], chosen.agreement[learnt]
        )
        _step(optimizer, loss + work.proximal_weight * proximal(model.parameters(), anchors))
    return counts


def _never_one(items: Tensor) -> Tensor:
    """A single item twice, which leaves means as they are: batch norm of maps of 1x1 has no variance
    of one picture."""
    return items.repeat(2) if len(items) == 1 else items


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _expert(model: Classifier, state: State) -> nn.Module:
    """A frozen copy with the weights ``state``, in evaluation mode."""
    twin = copy.deepcopy(model)
    twin.load_state_dict(state)
    return twin.requires_grad_(False).eval()


@torch.no_grad()
def _said(expert: nn.Module, images: Tensor, temperature: float) -> Tensor:
    return (expert(images) / temperature).softmax(1)


def _count(
    counts: dict[str, float],
    accepted: Tensor,
    local: Tensor,
    general: Tensor,
    truth: Tensor,
    work: Work,
) -> None:
    """Adds a step to ``counts``: every selector judged on the same images, those accepted."""
    known = accepted & (truth >= 0)
    found = {"seen": float(len(truth)), "accepted": float(accepted.sum())}
    found["known"] = float(known.sum())
    kinds: tuple[Literal["select", "local", "global"], ...] = ("select", "local", "global")
    for kind in kinds:
        said = choose_expert(local, general, kind, work.expertise).probs.argmax(1)
        found[kind] = float(((said == truth) & known).sum())
    for name, value in found.items():
        counts[name] = counts.get(name, 0.0) + value


def _copied(model: Classifier) -> State:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _padding(images: Tensor) -> int:
    return max(1, round(min(images.shape[2:]) / 8))
