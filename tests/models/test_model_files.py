"""A classifier in a folder, as ONNX, and its inner outputs."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from leaven import __version__
from leaven.errors import MissingExtraError, ModelError
from leaven.models import Classifier, build_model, capture, export_onnx, load_model, save_model


def build(name: str, shape: tuple[int, int, int] = (3, 16, 16), **kwargs: Any) -> Classifier:
    torch.manual_seed(0)
    model = build_model(name, ["a", "b", "ç"], shape, mean=[0.4], std=[0.2], **kwargs)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return model.eval()


def pictures(size: int, shape: tuple[int, int, int] = (3, 16, 16)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(0, 256, (size, *shape), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cnn-small", {"norm": "group", "width": 8}),
        ("resnet-small", {"width": 8}),
        ("wrn-10-1", {"momentum": 0.001}),
        ("cnn-13", {}),
        ("timm:test_resnet", {}),
        ("timm:test_vit", {"depth": 1}),
        ("torchvision:shufflenet_v2_x0_5", {}),
    ],
)
def test_a_saved_model_is_the_same_bit_by_bit(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    pytest.importorskip("timm")
    model = build(name, dropout=0.3, options=options)
    assert save_model(model, tmp_path / "model") == tmp_path / "model"
    before = torch.get_rng_state()
    loaded = load_model(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)
    assert loaded.spec == model.spec
    assert not loaded.training
    mine, theirs = model.state_dict(), loaded.state_dict()
    assert list(mine) == list(theirs)
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert torch.equal(model(pictures(2)), loaded(pictures(2)))


def test_channels_last_weights_are_saved(tmp_path: Path) -> None:
    model = build("cnn-small").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loaded = load_model(save_model(model, tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters()))


def test_shared_tensors_are_saved_under_each_name(tmp_path: Path) -> None:
    model = build("cnn-small", options={"width": 8})
    encoder: Any = model.encoder
    encoder.stages[0][1].weight = encoder.stem[0][1].weight
    with torch.no_grad():
        encoder.stem[0][1].weight.fill_(0.7)
    loaded: Any = load_model(save_model(model, tmp_path)).encoder
    assert loaded.stem[0][1].weight.eq(0.7).all()
    assert loaded.stages[0][1].weight.eq(0.7).all()


def test_the_description(tmp_path: Path) -> None:
    save_model(build("cnn-small"), tmp_path, {"accuracy": 0.9})
    values = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert values["leaven"] == __version__
    assert values["spec"]["classes"] == ["a", "b", "ç"]
    assert values["extra"] == {"accuracy": 0.9}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_missing_and_damaged_files(tmp_path: Path, name: str) -> None:
    save_model(build("cnn-small"), tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=f"{name} is damaged"):
        load_model(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match=f"There is no .*{name}"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "spec",
    [{}, [], {"name": "cnn-small"}, {**build("cnn-small").spec.to_json(), "mystery": 1}],
)
def test_a_description_that_is_not_enough(tmp_path: Path, spec: Any) -> None:
    save_model(build("cnn-small"), tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"spec": spec}))
    with pytest.raises(ModelError, match=r"model\.json is damaged"):
        load_model(tmp_path)


def test_files_of_two_models(tmp_path: Path) -> None:
    save_model(build("cnn-small"), tmp_path / "one")
    save_model(build("resnet-small"), tmp_path / "two")
    (tmp_path / "two" / "model.json").replace(tmp_path / "one" / "model.json")
    with pytest.raises(ModelError, match=r"do not fit the model: encoder.* is missing"):
        load_model(tmp_path / "one")


def test_a_failed_save_leaves_the_old_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = build("cnn-small")
    save_model(old, tmp_path)

    def full(state: dict[str, torch.Tensor], path: Path, **kwargs: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("leaven.models.files.save_file", full)
    with pytest.raises(ModelError, match="No space left"):
        save_model(build("resnet-small"), tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert torch.equal(load_model(tmp_path)(pictures(1)), old(pictures(1)))


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("cnn-small", (1, 8, 8), {"width": 8}),
        ("wrn-10-1", (3, 16, 16), {"norm": "group"}),
        ("timm:test_resnet", (3, 32, 32), {}),
    ],
)
def test_onnx_gives_the_same_logits_at_any_batch_size(
    tmp_path: Path,
    name: str,
    shape: tuple[int, int, int],
    options: dict[str, Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = build(name, shape, options=options).train()
    difference = export_onnx(model, tmp_path / "m.onnx")
    assert 0 <= difference < 1e-4
    assert model.training
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    (given,), (got,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", list(shape))
    assert (got.name, got.type) == ("logits", "tensor(float)")
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list(model.spec.classes)
    assert (about["model"], about["shape"]) == (model.spec.name, ",".join(map(str, shape)))
    model.eval()
    for size in (1, 2, 7):
        images = pictures(size, shape)
        (found,) = session.run(None, {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), model(images), rtol=1e-4, atol=1e-4)


def test_a_wrong_onnx_file_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    from leaven.models import onnx

    export = onnx.write_graph

    def perturbed(model: Classifier, images: torch.Tensor, path: Path, outputs: list[str]) -> None:
        export(model, images, path, outputs)
        with torch.no_grad():
            model.head.bias.add_(1)  # type: ignore[operator]

    monkeypatch.setattr(onnx, "write_graph", perturbed)
    model = build("cnn-small", (1, 8, 8), options={"width": 8})
    with pytest.raises(ModelError, match="differs from torch by 1 in a logit"):
        export_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_onnx_missing(tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*(?s:.*)leaven\[onnx\]"):
        export_onnx(build("cnn-small"), tmp_path / "m.onnx")


def test_capture_gives_the_outputs_of_named_parts() -> None:
    model = build("cnn-small")
    images = pictures(2)
    with capture(model, ["encoder", "head", "encoder.stem"]) as outputs:
        assert outputs == {}
        logits = model(images)
        assert torch.equal(outputs["encoder"], model.features(images))
        assert torch.equal(outputs["head"], logits)
        assert outputs["encoder.stem"].shape == (2, 32, 16, 16)
    outputs.clear()
    model(images)
    assert outputs == {}


def test_capture_removes_its_hooks_when_the_block_raises() -> None:
    model = build("cnn-small")
    with pytest.raises(RuntimeError, match="stop"), capture(model, ["head"]):
        raise RuntimeError("stop")
    assert not model.head._forward_hooks


def test_capture_of_unknown_parts_leaves_no_hook() -> None:
    model = build("cnn-small")
    with (
        pytest.raises(ModelError, match=r"(?s)no part named 'encoder\.stm'.*'encoder\.stem'"),
        capture(model, ["head", "encoder.stm"]),
    ):
        pass
    assert not model.head._forward_hooks
