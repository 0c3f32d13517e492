"""FedLabel: the work of a client, the server, and clients in processes of their own."""

import builtins
import copy
from dataclasses import replace

import pytest
import torch
from flwr.app import Context, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from torch import nn

from leaven.data import label_share, partition
from leaven.errors import ConfigError, DataError, MissingExtraError
from leaven.methods.classification import fedlabel_client, fedlabel_flower
from leaven.methods.classification.fedlabel import FedLabel
from leaven.methods.classification.fedlabel_client import Work, clients_of, work_round
from leaven.models import build_model, disjoint_average
from leaven.train import Budget, Settings, Trainer

SMALL = {
    "clients": 3, "per_round": 2, "alpha": 0.5, "labelled_steps": 2, "unlabelled_steps": 2,
    "batch": 16, "lr": 0.05, "unlabelled_lr": 0.02, "burn_in": 1, "threshold": 0.1,
    "proximal_weight": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(digits_data):
    """200 digits of three clients, a fifth of them labelled."""
    train = digits_data.train.subset(torch.arange(200))
    train = replace(train, labels=train.truth, sources=None)
    owners = partition(train.truth, 3, 0.5, 0)
    return digits_data.with_train(label_share(train, owners, 0.2, 0))


@pytest.fixture(scope="module")
def clients(data):
    return clients_of(data, partition(data.train.truth, 3, 0.5, 0), 3)


def network(data, name="mlp", **options):
    torch.manual_seed(0)
    options = options or {"hidden": 16}
    return build_model(name, data.classes, data.shape, mean=(0.3,), std=(0.4,), options=options)


def work(**changes):
    fields = {**FedLabel(**SMALL).model_dump(include=set(Work.__annotations__) - {"seed"})}
    return Work(seed=0, **fields | changes)


def state_of(model):
    return copy.deepcopy(model.state_dict())


def trainer(data, steps=4, folder=None, kind=Trainer, **settings):
    chosen = Settings(
        budget=Budget(steps=steps), threads=1, device="cpu", model="mlp",
        options={"hidden": 16}, checkpoint_steps=3, **settings,
    )  # fmt: skip
    return kind(data, folder, chosen, resume=folder is not None)


def test_clients_hold_each_item_once_and_labels_apart(data, clients):
    assert sum(len(c.labelled) + len(c.unlabelled) for c in clients) == len(data.train)
    assert sum(len(c.labelled) for c in clients) == len(data.labelled)
    for client in clients:
        assert len(client.targets) == len(client.labelled)
        assert bool((client.targets >= 0).all())


def test_before_the_burn_in_ends_the_global_weights_move_half_way(data, clients):
    model = network(data)
    start = state_of(model)
    reports = [work_round(model, start, c, work(burn_in=5), 0, n) for n, c in enumerate(clients)]
    for report in reports:
        assert all(torch.equal(report.unsupervised[name], start[name]) for name in start)
    new = disjoint_average(
        [r.local for r in reports],
        [r.unsupervised for r in reports],
        [1 for _ in reports],
    )
    for name in start:
        mean = torch.stack([report.local[name] for report in reports]).mean(0)
        torch.testing.assert_close(new[name], mean / 2 + start[name] / 2)
    assert not torch.equal(new["head.weight"], start["head.weight"])


def test_the_unsupervised_branch_starts_from_the_global_weights(data, clients):
    model = network(data)
    start = state_of(model)
    report = work_round(model, start, clients[0], work(unlabelled_steps=0), 5, 0)
    assert all(torch.equal(report.unsupervised[name], start[name]) for name in start)
    report = work_round(model, start, clients[0], work(threshold=1.0), 5, 0)
    assert all(torch.equal(report.unsupervised[name], start[name]) for name in start)
    assert report.counts["accepted"] == 0 < report.counts["seen"]


def test_the_first_unsupervised_step_is_that_of_the_formula(data, clients, monkeypatch):
    """With plain views, from the experts' own softmax."""
    monkeypatch.setattr(fedlabel_client.Client, "weak", lambda self, images, draws: images)
    model = network(data)
    start = state_of(model)
    client = clients[1]
    settings = work(uda=False, unlabelled_steps=1, batch=10_000, consistency_weight=0.7)
    report = work_round(model, start, client, settings, 3, 1)

    local, other, learner = (copy.deepcopy(model) for _ in range(3))
    local.load_state_dict(report.local)
    other.load_state_dict(start)
    learner.load_state_dict(start)
    own, general = (m.eval()(client.unlabelled).softmax(1).detach() for m in (local, other))
    total, pulls, count = 0.0, 0.0, 0
    accepted = 0
    for row, (mine, theirs) in enumerate(zip(own, general, strict=True)):
        chosen = mine if mine.var() >= theirs.var() else theirs
        if chosen.max() <= settings.threshold:
            continue
        accepted += 1
        said = learner(client.unlabelled[row : row + 1]).log_softmax(1)[0]
        total = total - said[chosen.argmax()]
        if mine.argmax() == theirs.argmax():
            rho = min(mine.var(), theirs.var()) / max(mine.var(), theirs.var())
            pulls = pulls + rho * (mine * (mine.log() - said)).sum()
            count += 1
    assert 0 < count < accepted
    (total / accepted + 0.7 * pulls / count).backward()
    for name, weight in learner.named_parameters():
        expected = start[name] - settings.unlabelled_lr * weight.grad
        torch.testing.assert_close(report.unsupervised[name], expected, atol=1e-5, rtol=1e-4)
    assert report.counts["accepted"] == accepted


def test_a_strong_proximal_term_holds_the_branch_at_the_global_weights(data, clients):
    model = network(data)
    start = state_of(model)

    def distance(strength):
        # The head's bias, the smallest tensor, still converges: 2 lr strength / 10 < 1.
        settings = work(
            unlabelled_steps=60, unlabelled_lr=2e-3, proximal_weight=strength, uda=False
        )
        found = work_round(model, start, clients[0], settings, 3, 0).unsupervised["head.bias"]
        return float((found - start["head.bias"]).norm())

    free, held, tight = distance(0.0), distance(100.0), distance(2000.0)
    assert free > 2 * held > 4 * tight > 0


def test_experts_never_change_and_neither_do_hidden_classes_matter(data, clients):
    model = network(data)
    start = state_of(model)
    before = state_of(model)
    blind = replace(clients[0], truth=torch.full_like(clients[0].truth, -1))
    first = work_round(model, start, clients[0], work(), 3, 0)
    second = work_round(model, start, blind, work(), 3, 0)
    assert all(torch.equal(start[name], before[name]) for name in start)
    for name in start:
        assert torch.equal(first.unsupervised[name], second.unsupervised[name])
        assert torch.equal(first.local[name], second.local[name])
    assert (first.counts["known"] > 0, second.counts["known"]) == (True, 0)


def test_the_local_model_is_that_of_the_labels_alone(data, clients):
    model = network(data)
    start = state_of(model)
    both = work_round(model, start, clients[0], work(), 3, 0)
    alone = work_round(model, start, clients[0], work(unlabelled_steps=0), 3, 0)
    assert all(torch.equal(both.local[name], alone.local[name]) for name in start)
    assert both.processed == 2 * min(16, len(clients[0].labelled))


def test_selectors_are_counted_on_the_same_images(data, clients):
    model = network(data)
    report = work_round(model, state_of(model), clients[2], work(selector="global"), 3, 2)
    other = work_round(model, state_of(model), clients[2], work(selector="local"), 3, 2)
    assert report.counts["known"] == report.counts["accepted"]
    for counts in (report.counts, other.counts):
        low, high = sorted((counts["local"], counts["global"]))
        assert 0 <= counts["select"] <= low + high
        assert high <= counts["known"]


def test_a_client_without_labels_keeps_its_local_model_at_the_global_one(data, clients):
    nothing = replace(clients[0], labelled=clients[0].labelled[:0], targets=clients[0].targets[:0])
    model = network(data)
    start = state_of(model)
    report = work_round(model, start, nothing, work(), 3, 0)
    assert report.processed == 0
    assert all(torch.equal(report.local[name], start[name]) for name in start)


def test_one_client_is_central_training_at_half_speed(data):
    one = FedLabel(**SMALL | {"clients": 1, "per_round": 1, "burn_in": 10})
    run = trainer(data, steps=1)
    found = one.fit(run.data, run).model.state_dict()
    model = trainer(data).model()
    start = state_of(model)
    owners = torch.zeros(len(data.train), dtype=torch.int64)
    central = work_round(model, start, clients_of(data, owners, 1)[0], work(burn_in=10), 0, 0)
    for name in start:
        torch.testing.assert_close(found[name], (central.local[name] + start[name]) / 2)


def test_batch_norm_is_averaged_with_its_counters(data):
    method = FedLabel(**SMALL)
    settings = Settings(
        budget=Budget(steps=2), threads=1, device="cpu", model="cnn-small", options={"width": 8}
    )
    run = Trainer(data, None, settings)
    state = method.fit(run.data, run).model.state_dict()
    counters = [value for name, value in state.items() if name.endswith("num_batches_tracked")]
    # Two steps a round in the local half, none in the burn-in's other half; then two or four.
    assert all(value.dtype == torch.int64 and 1 <= value <= 4 for value in counters)
    assert not torch.equal(state["encoder.stem.0.1.running_mean"], torch.zeros(8))


def test_a_client_that_diverges_is_left_out(data):
    run = trainer(data, steps=2)
    fitted = FedLabel(**SMALL | {"lr": 1e38}).fit(run.data, run)
    assert all(bool(value.isfinite().all()) for value in fitted.model.state_dict().values())


class _BrokenOff(Exception):
    pass


class _Fragile(Trainer):
    def observe(self, **values):
        super().observe(**values)
        if self.step == 4:
            raise _BrokenOff


def test_a_single_picture_passes_batch_norm_of_one_place(data, clients):
    """Where the last map is 1x1, a batch of one has no variance."""
    one = replace(clients[0], labelled=clients[0].labelled[:1], targets=clients[0].targets[:1])
    one = replace(one, unlabelled=one.unlabelled[:1], truth=one.truth[:1])

    class Placed(nn.Module):
        """Refuses what ``torch.nn.BatchNorm2d`` refuses."""

        def __init__(self, inner):
            super().__init__()
            self.inner, self.mean = inner, inner.mean

        def forward(self, images):
            if self.training and len(images) == 1:
                raise ValueError("Expected more than 1 value per channel when training")
            return self.inner(images)

    model = Placed(network(data))
    start = state_of(model)
    report = work_round(model, start, one, work(threshold=0.0), 5, 0)
    assert report.counts["accepted"] == report.counts["seen"] == 2  # one in each of two steps
    assert report.processed == 2
    assert not torch.equal(report.local["inner.head.weight"], start["inner.head.weight"])
    assert not torch.equal(report.unsupervised["inner.head.weight"], start["inner.head.weight"])


def test_health_hears_of_labels_that_nobody_accepts_and_of_clients_that_are_lost(data):
    barren = trainer(data, steps=250)
    FedLabel(**SMALL | {"threshold": 1.0, "unlabelled_steps": 1, "burn_in": 0}).fit(
        barren.data, barren
    )
    assert {finding.code for finding in barren.health.findings()} >= {"nothing-accepted"}
    lost = trainer(data, steps=4)
    FedLabel(**SMALL | {"lr": 1e38}).fit(lost.data, lost)
    assert "weights of a client" in next(
        finding.text for finding in lost.health.findings() if finding.code == "non-finite-loss"
    )


def test_a_run_resumes_in_its_round_to_the_same_bits(data, tmp_path):
    method = FedLabel(**SMALL)
    whole = trainer(data, 6)
    expected = method.fit(whole.data, whole)
    broken = trainer(data, 6, tmp_path, _Fragile)
    with pytest.raises(_BrokenOff):
        method.fit(broken.data, broken)
    again = trainer(data, 6, tmp_path)
    found = method.fit(again.data, again)
    assert again.step == 6
    state = found.model.state_dict()
    for name, value in expected.model.state_dict().items():
        assert torch.equal(state[name], value), name
    assert torch.equal(found.labels.probs, expected.labels.probs)


class _Grid:
    """Flower's way to the clients without its processes: every message reaches its app."""

    def __init__(self, app, count):
        self.app, self.count, self.asked = app, count, 0

    def get_node_ids(self):
        # They register one after the other; ids are not the numbers of clients.
        self.asked += 1
        return [70 - node for node in range(min(self.count, self.asked))]

    def send_and_receive(self, messages):
        return [self._answer(message) for message in reversed(list(messages))]

    def _answer(self, message):
        node = message.metadata.dst_node_id
        settings = {"partition-id": 70 - node, "num-partitions": self.count}
        context = Context(0, node, settings, RecordDict(), {})
        message.metadata._src_node_id = 1
        return self.app(message, context)


def test_messages_of_flower_carry_the_whole_work(data, clients, tmp_path, monkeypatch):
    for name in ("_run_id", "_node_id", "_task_id"):  # as a started simulation has set them
        monkeypatch.setattr(TaskIdentity, name, 1, raising=False)
    model = network(data, "cnn-small", width=8)
    start = state_of(model)
    file = tmp_path / "crew.pt"
    torch.save(fedlabel_flower._Crew(copy.deepcopy(model), clients, work()), file)
    grid = _Grid(fedlabel_flower._client_app(str(file)), len(clients))
    nodes = fedlabel_flower._nodes(grid, len(clients))
    assert nodes == {number: 70 - number for number in range(3)}
    for round_number in (0, 3):
        reports = fedlabel_flower._asked(grid, nodes, round_number, [0, 2], start)
        for number, found in zip((0, 2), reports, strict=True):
            expected = work_round(model, start, clients[number], work(), round_number, number)
            assert (found.processed, found.counts) == (expected.processed, expected.counts)
            for name in start:
                assert torch.equal(found.local[name], expected.local[name])
                assert torch.equal(found.unsupervised[name], expected.unsupervised[name])


def test_flower_that_is_missing_is_named_with_its_extra(data, monkeypatch):
    original = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] in ("flwr", "ray"):
            raise ImportError(name)
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    run = trainer(data, 1)
    with pytest.raises(MissingExtraError, match="federated"):
        FedLabel(**SMALL, backend="flower").fit(run.data, run)


def test_what_does_not_fit_is_refused(data):
    run = trainer(data, 1)
    with pytest.raises(DataError, match="owners names clients of 2 items"):
        FedLabel(**SMALL, owners=(0, 1)).fit(run.data, run)
    with pytest.raises(DataError, match="from 0 to 2"):
        FedLabel(**SMALL, owners=(3,) * 200).fit(run.data, run)
    rows = replace(data, train=replace(data.train, pixels=_Rows(data)))
    with pytest.raises(ConfigError, match="uda"):
        FedLabel(**SMALL).fit(rows, trainer(data, 1))


class _Rows:
    shape = (64,)

    def __init__(self, data):
        self.count = len(data.train)

    def __len__(self):
        return self.count

    def subset(self, index):
        return self
