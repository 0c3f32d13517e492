"""Self-learning: the theory of two points, its loop, and runs on data without any label."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import leaven
from leaven.data import MemoryPixels
from leaven.errors import ConfigError, DataError, ModelError
from leaven.methods.classification.self_learning import SelfLearning
from leaven.models import OnBatches
from leaven.train import Budget, Settings, Trainer

POINTS = torch.tensor([[1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
START = torch.tensor([0.5, 0.5], dtype=torch.float64)


def two_points(loss, student, teacher):
    return SelfLearning(
        loss=loss, student_temperature=student, teacher_temperature=teacher, refresh="instant"
    )


def total(method, logit, teacher=None):
    """The loss of both points from their linear logits, summed; two classes are a sigmoid."""
    both = [torch.stack([y, torch.zeros_like(y)], 1) for y in (logit, teacher) if y is not None]
    return 2 * method.objective(both[0], both[-1])[0]


def velocity(method, points, logit, teacher=None):
    """How the logits move down the gradient in time."""
    logit = logit.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(total(method, logit, teacher), logit)
    return -points @ points.T @ slope


def rates(move, width=2, step=1e-5):
    """The growth rates at 0: eigenvalues of the numerical Jacobian."""
    steps = torch.eye(width, dtype=torch.float64) * step
    columns = [(move(one) - move(-one)) / (2 * step) for one in steps]
    return torch.linalg.eigvals(torch.stack(columns, 1))


def modes(points):
    """The eigenvalues of the Gram matrix in closed form."""
    first, second = points.square().sum(1)
    mixed = float(points[0] @ points[1])
    root = math.sqrt(float(first - second) ** 2 + 4 * mixed**2)
    return torch.tensor([(first + second - root) / 2, (first + second + root) / 2])


@pytest.mark.parametrize("points", [POINTS, torch.tensor([[1.0, 2.0], [0.5, -1.0]]).double()])
@pytest.mark.parametrize(("student", "teacher"), [(0.5, 1.0), (1.0, 0.4), (2.0, 3.0), (0.8, 0.7)])
def test_growth_rates_at_the_collapse_are_those_of_the_theory(points, student, teacher):
    gram = modes(points).double()
    torch.testing.assert_close(torch.linalg.eigvalsh(points @ points.T), gram)
    soft = two_points("soft", student, teacher)
    found = rates(lambda y: velocity(soft, points, y))
    expected = gram / (4 * student) * (1 / teacher - 1 / student)
    torch.testing.assert_close(sorted_reals(found), expected.sort().values, atol=1e-4, rtol=0)

    free = two_points("entropy", student, teacher)
    found = rates(lambda y: velocity(free, points, y))
    expected = gram / (4 * student) * (2 / teacher - 1 / student)
    torch.testing.assert_close(sorted_reals(found), expected.sort().values, atol=1e-4, rtol=0)


def sorted_reals(values):
    assert bool(values.imag.abs().max() < 1e-6)
    return values.real.sort().values


@pytest.mark.parametrize(("student", "teacher"), [(0.5, 1.0), (1.0, 0.4), (2.0, 3.0)])
@pytest.mark.parametrize("follow", [0.1, 2.0])
def test_a_teacher_that_follows_gives_the_same_verdict(student, teacher, follow):
    method = two_points("soft", student, teacher)

    def move(state):
        own, old = state[:2], state[2:]
        return torch.cat([velocity(method, POINTS, own, old), follow * (own - old)])

    found = rates(move, width=4)
    blocks = [
        torch.tensor([[-g / (4 * student**2), g / (4 * student * teacher)], [follow, -follow]])
        for g in modes(POINTS).tolist()
    ]
    expected = torch.cat([torch.linalg.eigvals(block.double()) for block in blocks])
    for one in found:
        assert float((expected - one).abs().min()) < 1e-4
    assert bool(found.real.max() < 0) == (student < teacher)


def converged(method, steps=400):
    weights = START.clone().requires_grad_(True)
    optimizer = torch.optim.SGD([weights], 0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        total(method, POINTS @ weights).backward()
        optimizer.step()
    return float((POINTS @ weights).detach().abs().max())


@pytest.mark.parametrize(
    ("loss", "student", "teacher", "collapses"),
    [
        ("soft", 0.5, 1.0, True),
        ("soft", 1.0, 0.5, False),
        ("entropy", 0.4, 1.0, True),
        ("entropy", 0.6, 1.0, False),
        ("entropy", 1.0, 1.0, False),
    ],
)
def test_two_points_collapse_where_the_theory_says_so(loss, student, teacher, collapses):
    end = converged(two_points(loss, student, teacher))
    assert end < 1e-3 if collapses else end > 0.5


def test_soft_labels_from_another_teacher_at_equal_temperatures_do_not_move_a_twin():
    method = SelfLearning(loss="soft", refresh="epoch")
    logit = torch.tensor([0.3, -0.7], dtype=torch.float64)
    assert bool(velocity(method, POINTS, logit, logit).abs().max() < 1e-15)


# -- the loop -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(digits_source):
    return digits_source(4)


@pytest.fixture(scope="module")
def unlabelled(digits_data):
    """256 digits, half as bright and noisy, without a label."""
    train = digits_data.unlabelled.subset(torch.arange(256))
    images = train.pixels.batch(torch.arange(256))
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1)) * 40
    pixels = MemoryPixels((images / 2 + noise).clamp(0, 255).to(torch.uint8))
    return digits_data.with_train(replace(train, pixels=pixels, sources=None))


def trainer(data, model, steps=1000, folder=None, kind=Trainer, **settings):
    settings = {"threads": 1, "device": "cpu", "precision": "fp32", **settings}
    chosen = Settings(budget=Budget(steps=steps), model=str(model), **settings)
    return kind(data, folder, chosen, resume=folder is not None)


class _BrokenOff(Exception):
    pass


class _Fragile(Trainer):
    def update(self, loss, optimizer):
        moved = super().update(loss, optimizer)
        if self.step == 4:
            raise _BrokenOff
        return moved


@pytest.mark.parametrize("train", ["affine", "all"])
def test_running_statistics_stay_while_it_learns(source, unlabelled, train):
    run = trainer(unlabelled, source)
    method = SelfLearning(batch=32, epochs=1, train=train, statistics="source")
    before = run.trained().state_dict()
    after = method.fit(run.data, run).model.state_dict()
    norms = {n.rpartition(".")[0] for n in after if n.endswith("running_mean")}
    affine = {f"{norm}.{part}" for norm in norms for part in ("weight", "bias")}
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    wanted = affine if train == "affine" else {n for n in after if n.endswith(("weight", "bias"))}
    assert moved == wanted
    assert run.step == 8


def test_what_is_handed_back_has_the_statistics_of_the_pictures(source, unlabelled):
    run = trainer(unlabelled, source)
    fitted = SelfLearning(batch=256, epochs=0).fit(run.data, run)
    images = unlabelled.unlabelled.pixels.batch(torch.arange(256))
    expected = OnBatches(run.trained())(images)
    torch.testing.assert_close(fitted.model(images), expected, atol=0.02, rtol=0.02)
    torch.testing.assert_close(
        fitted.labels.probs, fitted.model(images).softmax(1), atol=1e-5, rtol=0
    )
    assert bool((fitted.model(images[:1]) - expected[:1]).abs().max() < 0.05), "one picture"


def test_labels_are_never_touched(source, unlabelled):
    models = []
    for truth in (unlabelled.train.truth, torch.zeros(256, dtype=torch.int64)):
        train = replace(unlabelled.train, truth=truth)
        run = trainer(unlabelled.with_train(train), source)
        models.append(SelfLearning(batch=32, epochs=1).fit(run.data, run).model.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


@pytest.mark.parametrize("refresh", ["never", "epoch", "instant"])
def test_the_teacher_is_refreshed_when_it_is_said_to_be(source, unlabelled, refresh, monkeypatch):
    run = trainer(unlabelled, source)
    taught = []
    original = SelfLearning.objective

    def watched(self, student, teacher):
        taught.append((student is teacher, torch.equal(student, teacher)))
        return original(self, student, teacher)

    monkeypatch.setattr(SelfLearning, "objective", watched)
    SelfLearning(batch=64, epochs=2, refresh=refresh, recipe={"lr": 0.1}).fit(run.data, run)
    same = [equal for _, equal in taught]
    assert all(one for one, _ in taught) == (refresh == "instant")
    fresh = {"never": [True] + [False] * 7, "epoch": [True, False, False, False] * 2}
    assert same == fresh.get(refresh, [True] * 8)


@pytest.mark.parametrize("loss", ["rpl", "entropy", "hard"])
def test_it_becomes_surer_of_the_pictures(source, unlabelled, loss):
    confidence = []
    for epochs in (0, 3):
        run = trainer(unlabelled, source)
        method = SelfLearning(batch=32, epochs=epochs, loss=loss, recipe={"lr": 0.1})
        confidence.append(float(method.fit(run.data, run).labels.confidence.mean()))
    assert confidence[1] > confidence[0] + 0.01


@pytest.mark.parametrize("refresh", ["epoch", "instant"])
def test_a_run_resumes_to_the_same_bits(source, unlabelled, tmp_path, refresh):
    method = SelfLearning(batch=64, epochs=2, refresh=refresh, recipe={"lr": 0.05})
    whole = trainer(unlabelled, source)
    expected = method.fit(whole.data, whole).model.state_dict()
    broken = trainer(unlabelled, source, folder=tmp_path, kind=_Fragile, checkpoint_steps=3)
    with pytest.raises(_BrokenOff):
        method.fit(broken.data, broken)
    again = trainer(unlabelled, source, folder=tmp_path, checkpoint_steps=3)
    found = method.fit(again.data, again).model.state_dict()
    assert again.step == 8
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_budget_is_an_upper_limit(source, unlabelled):
    run = trainer(unlabelled, source, steps=3)
    SelfLearning(batch=32, epochs=2).fit(run.data, run)
    assert run.step == 3


@pytest.mark.parametrize("refresh", ["never", "epoch"])
def test_entropy_needs_a_teacher_that_is_the_student(refresh):
    with pytest.raises(ConfigError, match="entropy"):
        SelfLearning(loss="entropy", refresh=refresh)
    with pytest.raises(ConfigError, match="equal temperatures"):
        SelfLearning(loss="soft")


def test_an_untrained_model_is_refused(unlabelled):
    run = trainer(unlabelled, "cnn-small", options={"width": 8})
    with pytest.raises(ModelError, match="no weights"):
        SelfLearning().fit(run.data, run)


# -- whole runs -----------------------------------------------------------------------------------


@pytest.fixture
def pictures(digits_data, tmp_path):
    """A folder of pictures and nothing else."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, image in enumerate(digits_data.train.pixels.batch(torch.arange(40))):
        Image.fromarray(np.asarray(image[0])).save(folder / f"{number:02d}.png")
    return folder


def options(tmp_path, source):
    few = {"batch": 16, "epochs": 1}
    return {
        "method": "self-learning", "set": few, "threads": 1, "out": tmp_path / "run",
        "model": str(source), "flip": False,
    }  # fmt: skip


def test_a_run_needs_no_label(pictures, source, tmp_path):
    result = leaven.run(pictures, **options(tmp_path, source))
    assert result.classes == tuple("0123456789")
    assert result.summary["data"]["labelled"] == 0
    assert result.summary["data"]["unlabelled"] == len(result.labels) == 40
    assert result.summary["steps"] == 2
    assert (tmp_path / "run" / "report.html").exists()


def test_a_file_of_weights_tells_how_many_classes(pictures, source, tmp_path):
    given = options(tmp_path, source) | {
        "model": "cnn-small", "weights": str(source / "model.safetensors"), "options": {"width": 8},
    }  # fmt: skip
    result = leaven.run(pictures, **given)
    assert result.classes == tuple("0123456789")


def test_labels_are_counted_in_the_order_of_the_model(digits_data, source, tmp_path):
    folder = tmp_path / "some"
    for number, name in itertools.product(range(3), ("7", "3", "unlabelled")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        image = digits_data.train.pixels.batch(torch.tensor([number]))[0, 0]
        Image.fromarray(np.asarray(image)).save(folder / name / f"{number}.png")
    result = leaven.run(folder, **options(tmp_path, source))
    given = dict(zip(result.names, result.labels.classes.tolist(), strict=True))
    assert (given["7/0.png"], given["3/0.png"]) == (7, 3)


def test_what_cannot_be_run_is_refused(pictures, source, tmp_path):
    with pytest.raises(DataError, match="baseline learns from labels"):
        leaven.run(pictures, **options(tmp_path, source), compare=True)
    with pytest.raises(DataError, match="no class folder"):
        leaven.run(pictures, method="fixmatch", out=tmp_path / "other")
    (pictures / "zebra").mkdir()
    (pictures / "00.png").rename(pictures / "zebra" / "00.png")
    with pytest.raises(DataError, match="'zebra'"):
        leaven.run(pictures, **options(tmp_path, source))
