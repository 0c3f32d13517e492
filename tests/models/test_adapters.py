"""Encoders from timm and torchvision, and weights from local files."""

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from leaven.errors import MissingExtraError, ModelError
from leaven.models import Classifier, build_model, save_model

timm = pytest.importorskip("timm")

RAN = Path(__file__).with_name("ran")


def build(
    name: str, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, **kwargs: Any
) -> Classifier:
    torch.manual_seed(0)
    names = [str(i) for i in range(classes)]
    return build_model(name, names, shape, mean=[0.5], std=[0.25], **kwargs)


def pictures(shape: tuple[int, int, int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, *shape), dtype=torch.uint8, generator=generator)


def whole_resnet(classes: int = 10, seed: int = 3) -> torch.nn.Module:
    from torchvision.models import resnet18

    torch.manual_seed(seed)
    return resnet18(num_classes=classes).eval()


@pytest.mark.parametrize(
    ("name", "shape", "width"),
    [
        ("timm:resnet10t", (3, 32, 32), 512),
        ("timm:test_resnet", (1, 32, 32), None),
        ("timm:test_vit", (1, 48, 48), 64),
        ("timm:test_convnext.r160_in1k", (3, 32, 32), None),
        ("timm:mobilenetv3_small_050", (3, 32, 32), 1024),
        ("torchvision:resnet18", (3, 32, 32), 512),
        ("torchvision:resnet18", (1, 32, 32), 512),
        ("torchvision:squeezenet1_1", (3, 32, 32), 512),
        ("torchvision:mobilenet_v3_small", (3, 32, 32), 1024),
        ("torchvision:shufflenet_v2_x0_5", (3, 32, 32), 1024),
        ("torchvision:googlenet", (3, 32, 32), 1024),
    ],
)
def test_any_model_becomes_a_classifier(
    name: str, shape: tuple[int, int, int], width: int | None
) -> None:
    model = build(name, shape)
    images = pictures(shape)
    assert model.num_features == (width or model.num_features)
    assert model.features(images).shape == (2, model.num_features)
    logits = model(images)
    assert logits.shape == (2, 10)
    logits.logsumexp(1).sum().backward()
    assert all(p.grad is not None for p in model.head.parameters())
    model.eval()
    assert torch.equal(model(images), model(images))


def test_torchvision_weights_give_the_same_logits(tmp_path: Path) -> None:
    whole = whole_resnet()
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    model = build("torchvision:resnet18", weights=tmp_path / "w.safetensors").eval()
    images = pictures((3, 32, 32))
    assert torch.equal(model(images), whole(model.normalise(images)))


def test_grey_pictures_are_repeated_for_torchvision(tmp_path: Path) -> None:
    whole = whole_resnet()
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    model = build("torchvision:resnet18", (1, 32, 32), weights=str(tmp_path / "w.pth")).eval()
    images = pictures((1, 32, 32))
    assert torch.equal(model(images), whole(model.normalise(images).repeat(1, 3, 1, 1)))


def test_timm_weights_give_the_same_logits(tmp_path: Path) -> None:
    whole = timm.create_model("test_resnet", num_classes=10).eval()
    torch.save({"state_dict": whole.state_dict()}, tmp_path / "w.pt")
    model = build("timm:test_resnet", weights=tmp_path / "w.pt").eval()
    images = pictures((3, 32, 32))
    assert torch.equal(model(images), whole(model.normalise(images)))


def test_timm_weights_of_three_channels_fit_grey_pictures(tmp_path: Path) -> None:
    """The sum over the colours of a grey picture is the convolution with the summed weights."""
    whole = timm.create_model("test_resnet", num_classes=10).eval()
    torch.save(whole.state_dict(), tmp_path / "w.pt")
    model = build("timm:test_resnet", (1, 32, 32), weights=tmp_path / "w.pt").eval()
    images = pictures((1, 32, 32))
    expected = whole(model.normalise(images).repeat(1, 3, 1, 1))
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


def test_the_prefix_of_parallel_training_is_removed(tmp_path: Path) -> None:
    state = {f"module.{name}": value for name, value in whole_resnet().state_dict().items()}
    torch.save({"model": state}, tmp_path / "w.pt")
    model = build("torchvision:resnet18", weights=tmp_path / "w.pt")
    assert torch.equal(
        model.state_dict()["encoder.model.conv1.weight"], state["module.conv1.weight"]
    )


def test_a_head_of_another_shape_starts_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = whole_resnet(classes=7)
    torch.save(whole.state_dict(), tmp_path / "w.pt")
    with caplog.at_level(logging.INFO, "leaven"):
        model = build("torchvision:resnet18", weights=tmp_path / "w.pt")
    assert "starts anew" in caplog.text and "(7, 512)" in caplog.text
    fresh = build("torchvision:resnet18")
    assert torch.equal(model.head.weight, fresh.head.weight)  # type: ignore[arg-type]
    assert torch.equal(
        model.state_dict()["encoder.model.conv1.weight"], whole.state_dict()["conv1.weight"]
    )


@pytest.mark.parametrize("name", ["cnn-small", "timm:test_resnet"])
def test_a_saved_model_of_leaven_is_a_start(tmp_path: Path, name: str) -> None:
    torch.manual_seed(5)
    saved = build_model(name, ["a", "b", "c"], (3, 32, 32), mean=[0.3], std=[0.2])
    file = save_model(saved, tmp_path / "m") / "model.safetensors"
    model = build(name, weights=file)
    for key, value in saved.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[key], value)
    assert model.spec.mean == (0.5, 0.5, 0.5)
    assert torch.equal(model.head.weight, build(name).head.weight)  # type: ignore[arg-type]


def test_other_mismatches_name_the_tensors(tmp_path: Path) -> None:
    state = whole_resnet().state_dict()
    del state["conv1.weight"]
    state["stranger"] = torch.zeros(1)
    state["bn1.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "w.pt")
    message = (
        r"conv1\.weight is missing; stranger is not part of the model; "
        r"bn1\.weight has the shape \(3,\) and not \(64,\)"
    )
    with pytest.raises(ModelError, match=message):
        build("torchvision:resnet18", weights=tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"not of the model 'cnn-small'.*bn1"):
        build("cnn-small", weights=tmp_path / "w.pt")


def test_many_mismatches_are_counted(tmp_path: Path) -> None:
    torch.save({"other": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"is missing; .* is missing; .*, and \d+ more"):
        build("timm:test_resnet", weights=tmp_path / "w.pt")


class Trap:
    """Unpickling this would make a file."""

    def __reduce__(self) -> Any:
        return (Path.touch, (RAN,))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Trap()}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"(?s)w\.pth is refused.*weights_only=True.*save_file"):
        build("torchvision:resnet18", weights=tmp_path / "w.pth")
    assert not RAN.exists()
    try:
        torch.load(tmp_path / "w.pth", weights_only=False)
        assert RAN.exists(), "the trap must work for this test to mean anything"
    finally:
        RAN.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("w.safetensors", b"nonsense", r"w\.safetensors is damaged"),
        ("w.pt", b"nonsense", r"w\.pt (is refused|cannot be read)"),
        ("w.pt", b"", r"w\.pt (is refused|cannot be read)"),
        ("w.pt", None, r"There is no weights file .*w\.pt"),
    ],
)
def test_damaged_and_missing_files(
    tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        build("cnn-small", weights=tmp_path / file)


def test_a_cut_torch_file(tmp_path: Path) -> None:
    torch.save(whole_resnet().state_dict(), tmp_path / "w.pt")
    content = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"w\.pt"):
        build("torchvision:resnet18", weights=tmp_path / "w.pt")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}, torch.zeros(2)])
def test_a_file_without_named_tensors(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="no dictionary of tensors by name"):
        build("cnn-small", weights=tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("timm:resnt18", {}, "timm has no classification model named 'resnt18'.*'resnet18'"),
        ("timm:qqqqqqqqqq", {}, r"'qqqqqqqqqq'.*There are \d+ names"),
        ("timm:resnet18.a9_in1k", {}, "no published weights 'a9_in1k'.*a1_in1k"),
        ("timm:resnet18", {"weights": "a9_in1k"}, "no published weights 'a9_in1k'.*a1_in1k"),
        ("timm:resnet18", {"options": {"colour": 1}}, "cannot be built.*colour"),
        ("torchvision:resnt18", {}, "torchvision has no .*'resnt18'.*'resnet18'"),
        ("torchvision:resnet18", {"weights": "V9"}, "no published weights 'V9'.*IMAGENET1K_V1"),
        ("torchvision:resnet18", {"options": {"colour": 1}}, "cannot be built.*colour"),
        ("torchvision:resnet18", {"shape": (4, 32, 32)}, "4 channels.*1 or 3 channels"),
        ("torchvision:vgg11", {"shape": (3, 8, 8)}, "does not take pictures of 8x8"),
    ],
)
def test_what_cannot_be_built(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=f"(?s){message}"):
        build(name, **kwargs)


@pytest.mark.parametrize(
    ("name", "loader"),
    [
        ("timm:resnet18", "timm.create_model"),
        ("torchvision:resnet18", "torchvision.models.get_model"),
    ],
)
def test_weights_that_cannot_be_downloaded(
    name: str, loader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def unreachable(*args: Any, **kwargs: Any) -> None:
        asked.update(kwargs)
        raise OSError("Name or service not known.")

    monkeypatch.setattr(loader, unreachable)
    with pytest.raises(
        ModelError, match=r"(?s)'default' of .*cannot be had: Name or service not known\.\n.*path"
    ):
        build(name, weights="default")
    assert asked.get("pretrained") is True or asked.get("weights") == "DEFAULT"


def test_timm_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r'pip install "leaven\[timm\]"'):
        build("timm:resnet18")
