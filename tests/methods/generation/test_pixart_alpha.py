"""PixArt-alpha: its three stages, what they hand over, and how a run comes back."""

import dataclasses

import pytest
import torch

from leaven.data import Data, ImageSet, MemoryPixels
from leaven.errors import ConfigError, DataError, ModelError
from leaven.labels.described import Described
from leaven.methods import find_method
from leaven.methods.generation import pixart_alpha
from leaven.methods.generation.pixart_alpha import PixArtAlpha
from leaven.methods.generation.pixart_plan import (
    OF_SMALL,
    PUBLISHED,
    batch_of,
    interpolation_of,
    scale_of,
    shape_of,
    sizes_of,
)
from leaven.models.generation import (
    SHAPES,
    BlockwiseTextTransformer,
    ClassTransformer,
    TextTransformer,
)
from leaven.train import Budget, PictureTrainer, Settings

WORDS = ("left", "right", "top", "foot")
NARROW = {"width": 24, "blocks": 2, "heads": 2}
SMALL = {"base": 4, "batch": 4, "shares": (0.34, 0.33, 0.33)}


@pytest.fixture
def captioned():
    """24 pictures of 8x8, one half of each is bright; every fourth has no caption, half a class."""
    halves = torch.zeros(4, 1, 8, 8)
    halves[0, :, :, :4] = halves[1, :, :, 4:] = halves[2, :, :4] = halves[3, :, 4:] = 220
    number = torch.arange(24)
    kind = number % 4
    noise = torch.randint(0, 30, (24, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    images = (halves[kind] + noise).clamp(0, 255).to(torch.uint8)
    texts = [f"the {WORDS[k]} is bright" if n % 7 else "" for n, k in enumerate(kind.tolist())]
    said = Described.of(texts, classes=torch.where(number % 2 == 0, kind, -1), good=number % 3 > 0)
    sizes = torch.tensor([[8, 8]]).expand(24, 2)
    names = [f"picture-{n}" for n in number.tolist()]
    return Data(
        "halves", WORDS, ImageSet(MemoryPixels(images), said, said, names, sizes=sizes), flip=False
    )


def _trainer(data, steps=6, folder=None, options=NARROW, **settings):
    return PictureTrainer(
        data,
        folder,
        Settings(
            budget=Budget(steps=steps),
            threads=1,
            device="cpu",
            precision="fp32",
            options=options,
            **settings,
        ),
    )


def _fit(data, method=None, steps=6, **more):
    trainer = _trainer(data, steps, **more)
    return (method or PixArtAlpha(**SMALL)).fit(trainer.data, trainer)


class _Spy:
    """Sees the networks of the stages as they begin and as they end."""

    def __init__(self, monkeypatch):
        self.stages = []
        trained = PixArtAlpha._trained

        def seen(method, run, name, share, network, stream, noise):
            before = {key: value.clone() for key, value in network.state_dict().items()}
            after = trained(method, run, name, share, network, stream, noise)
            self.stages.append((name, network, before, after, stream))
            return after

        monkeypatch.setattr(PixArtAlpha, "_trained", seen)


def test_it_is_found_by_its_name():
    assert find_method("pixart-alpha", "text-to-image") is PixArtAlpha


def test_three_stages_make_a_model_that_takes_captions(captioned, monkeypatch):
    spy = _Spy(monkeypatch)
    fitted = _fit(captioned)
    assert [name for name, *_ in spy.stages] == ["pixels", "words", "finer 8x8"]
    kinds = [type(network) for _, network, *_ in spy.stages]
    assert kinds == [ClassTransformer, TextTransformer, TextTransformer]
    made = fitted.model.make(["the left is bright", ""], torch.Generator().manual_seed(0), steps=2)
    assert made.shape == (2, 1, 8, 8)
    assert made.dtype == torch.uint8
    assert len(fitted.labels) == len(captioned.unlabelled) == 4


def test_words_begin_as_pixels_ended(captioned, monkeypatch):
    spy = _Spy(monkeypatch)
    _fit(captioned)
    (*_, teacher, _), (_, student, before, _, _), _ = spy.stages
    twin = TextTransformer(student.shape)
    twin.load_state_dict(before)
    noisy, steps = torch.randn(3, 1, 4, 4), torch.full((3,), 500)
    text, mask = torch.randn(3, student.shape.tokens, 64), torch.ones(3, student.shape.tokens) > 0
    with torch.no_grad():
        told = twin(noisy, steps, text, mask)
        assert torch.allclose(told, teacher(noisy, steps), atol=1e-5)
        assert torch.equal(told, twin(noisy, steps, text * 3 - 1, mask))
    assert not torch.allclose(told, torch.zeros_like(told), atol=1e-4)


def test_finer_pictures_begin_with_the_averaged_weights_and_their_own_positions(
    captioned, monkeypatch
):
    spy = _Spy(monkeypatch)
    _fit(captioned)
    (_, coarse, _, averaged, _), (_, fine, before, _, _) = spy.stages[1:]
    for name, value in averaged.state_dict().items():
        assert torch.equal(before[name], value), name
    assert (coarse.shape.side, fine.shape.side) == (4, 8)
    assert "pos_embed.pos_embed" not in " ".join(before)
    assert coarse.net.pos_embed.base_size * 2 == fine.net.pos_embed.base_size


def test_each_stage_has_pictures_of_its_own(captioned, monkeypatch):
    spy = _Spy(monkeypatch)
    _fit(captioned)
    labels, seen = captioned.train.labels, [stream.seen for *_, stream in spy.stages]
    good = labels.good & labels.known
    assert seen == [int((labels.classes >= 0).sum()), int(labels.known.sum()), int(good.sum())]
    shapes = [tuple(stream.next().mean.shape[2:]) for *_, stream in spy.stages]
    assert shapes == [(4, 4), (4, 4), (8, 8)]
    assert spy.stages[0][-1].next().text is None


def test_controls(captioned, monkeypatch):
    spy = _Spy(monkeypatch)
    _fit(captioned, PixArtAlpha(**SMALL, start="scratch"))
    assert [name for name, *_ in spy.stages] == ["words", "finer 8x8"]
    spy.stages.clear()
    _fit(captioned, PixArtAlpha(**SMALL, start="copied"))
    (*_, teacher, _), (_, student, before, *_), _ = spy.stages
    held = {key: value.clone() for key, value in student.state_dict().items()}
    student.load_state_dict(before)
    assert torch.equal(
        student.blocks[0].attn1.to_q.weight, teacher.net.transformer_blocks[0].attn1.to_q.weight
    )
    steps = torch.tensor([500])
    with torch.no_grad():
        noisy, text = torch.randn(1, 1, 4, 4), torch.zeros(1, student.shape.tokens, 64)
        mask = torch.ones(1, student.shape.tokens) > 0
        assert not torch.allclose(student(noisy, steps, text, mask), teacher(noisy, steps))
    student.load_state_dict(held)
    spy.stages.clear()
    fitted = _fit(captioned, PixArtAlpha(**SMALL, blockwise=True))
    assert isinstance(fitted.model.transformer, BlockwiseTextTransformer)


def test_without_classes_the_first_stage_is_told_nothing(captioned, monkeypatch):
    spy = _Spy(monkeypatch)
    train = captioned.train
    bare = Described.of(train.labels.texts)
    data = Data("bare", (), dataclasses.replace(train, labels=bare, truth=bare), flip=False)
    fitted = _fit(data)
    assert "told no classes" in fitted.note
    assert spy.stages[0][-1].seen == len(train)
    _, network, before, *_ = spy.stages[0]
    learned = {name for name, value in network.state_dict().items()
               if not torch.equal(value, before[name])}  # fmt: skip
    assert learned
    assert not any("embedding_table" in name for name in learned)
    # Nobody is marked as good: all with a caption are.
    assert spy.stages[2][-1].seen == int(bare.known.sum())


def test_several_aspect_ratios_come_in_batches_of_one(captioned, monkeypatch):
    spy = _Spy(monkeypatch)
    sizes = torch.tensor([[8, 8], [4, 16], [16, 4], [8, 8]]).repeat(6, 1)
    train = dataclasses.replace(captioned.train, sizes=sizes)
    method = PixArtAlpha(base=4, batch=2, shares=(0.3, 0.3, 0.4))
    fitted = _fit(dataclasses.replace(captioned, train=train), method, steps=10)
    *_, (_, network, _, _, stream) = spy.stages
    assert network.shape.sizes
    assert not spy.stages[1][1].shape.sizes
    shapes = {tuple(stream.next().mean.shape[2:]) for _ in range(20)}
    assert shapes == {(8, 8), (4, 16), (16, 4)}
    made = fitted.model.make(
        ["the left is bright"], torch.Generator().manual_seed(0), steps=2, size=(4, 16)
    )
    assert made.shape == (1, 1, 4, 16)


def test_aspects_at_the_size_of_the_stage_before(captioned, monkeypatch):
    """The square pictures of stage 3 are some of those of stage 2, in files of their own."""
    spy = _Spy(monkeypatch)
    sizes = torch.tensor([[8, 8], [4, 16], [16, 4], [8, 8]]).repeat(6, 1)
    said = dataclasses.replace(captioned.train.labels, good=torch.zeros(24, dtype=torch.bool))
    train = dataclasses.replace(captioned.train, sizes=sizes, labels=said, truth=said)
    method = PixArtAlpha(base=8, batch=2, shares=(0.3, 0.3, 0.4))
    _fit(dataclasses.replace(captioned, train=train), method, steps=10)
    assert [name for name, *_ in spy.stages] == ["pixels", "words", "finer 8x8"]
    assert len(spy.stages[2][-1]._members) == 3


def test_a_third_stage_of_several_sizes(captioned, monkeypatch):
    spy = _Spy(monkeypatch)
    method = PixArtAlpha(base=4, finer=(6, 8), batch=4, shares=(0.2, 0.4, 0.4))
    fitted = _fit(captioned, method, steps=10)
    assert [name for name, *_ in spy.stages] == ["pixels", "words", "finer 6x6", "finer 8x8"]
    assert fitted.model.spec.shape == (1, 8, 8)


def test_without_a_third_stage_pictures_stay_small(captioned):
    method = PixArtAlpha(base=4, batch=4, shares=(0.5, 0.5, 0.0))
    assert _fit(captioned, method).model.spec.shape == (1, 4, 4)


def test_a_trained_class_transformer_takes_the_place_of_the_first_stage(
    captioned, monkeypatch, tmp_path
):
    from diffusers import DiTTransformer2DModel

    DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=1,
        out_channels=2,
        num_layers=2,
        sample_size=4,
        patch_size=2,
        num_embeds_ada_norm=7,
    ).save_pretrained(tmp_path / "dit" / "transformer")
    spy = _Spy(monkeypatch)
    _fit(captioned, PixArtAlpha(**SMALL, teacher=str(tmp_path / "dit")))
    assert [name for name, *_ in spy.stages] == ["words", "finer 8x8"]
    wide = {"width": 48, "blocks": 2, "heads": 2}
    with pytest.raises(ModelError, match="width"):
        _fit(captioned, PixArtAlpha(**SMALL, teacher=str(tmp_path / "dit")), options=wide)


def test_a_start_from_scratch_takes_no_teacher(captioned, tmp_path):
    with pytest.raises(ConfigError, match="start is scratch"):
        PixArtAlpha(start="scratch", teacher=tmp_path, **SMALL).fit(captioned, _trainer(captioned))


def test_attention_to_words_is_learned_from_nothing(captioned):
    method = PixArtAlpha(base=8, batch=16, shares=(0.5, 0.5, 0.0))
    fitted = _fit(captioned, method, steps=20)
    noisy, steps = torch.randn(2, 1, 8, 8), torch.tensor([700, 700])
    given, nothing = fitted.model.given(["the left is bright", "the top is bright"], 8, 8)
    with torch.no_grad():
        told = fitted.model.output(noisy[:1].expand(2, -1, -1, -1), steps, *given)
        untold = fitted.model.output(noisy[:1].expand(2, -1, -1, -1), steps, *nothing)
    assert not torch.equal(told[0], told[1])
    assert torch.allclose(untold[0], untold[1], atol=1e-6)
    for block in fitted.model.transformer.blocks:
        assert bool((block.attn2.to_out[0].weight != 0).any())


def test_a_run_resumes_to_the_bit_in_every_stage(captioned, tmp_path, assert_resumes):
    fitted = assert_resumes(
        PixArtAlpha(**SMALL), captioned, 18, tmp_path, breaks=(0.25, 0.58, 0.92)
    )
    assert fitted.model.spec.shape == (1, 8, 8)


def test_features_of_another_size_or_encoder_are_refused(captioned, tmp_path):
    folder = str(tmp_path / "features")
    _fit(captioned, PixArtAlpha(**SMALL, features=folder))
    _fit(captioned, PixArtAlpha(**SMALL, features=folder))
    with pytest.raises(DataError, match="other encoder"):
        _fit(captioned, PixArtAlpha(**SMALL, features=folder, tokens=30))
    train = dataclasses.replace(
        captioned.train, pixels=MemoryPixels(255 - captioned.train.pixels.images)
    )
    with pytest.raises(DataError, match="other pictures"):
        _fit(dataclasses.replace(captioned, train=train), PixArtAlpha(**SMALL, features=folder))


def test_captions_beyond_the_tokens_are_said(captioned):
    fitted = _fit(captioned, PixArtAlpha(**SMALL, tokens=3))
    assert "20 of 20 captions are longer than the 3 tokens" in fitted.note


def test_a_batch_that_no_stage_fills_is_refused(captioned):
    with pytest.raises(DataError, match="no batch of 64"):
        _fit(captioned, PixArtAlpha(base=4))


def test_the_optimiser_is_that_of_the_paper(captioned, monkeypatch):
    made = []
    optimizer = PixArtAlpha._optimizer

    def seen(self, *rest):
        made.append(optimizer(self, *rest))
        return made[-1]

    monkeypatch.setattr(PixArtAlpha, "_optimizer", seen)
    _fit(captioned)
    assert len(made) == 3
    for one in made:
        decayed, plain = one.torch.param_groups
        assert isinstance(one.torch, torch.optim.AdamW)
        assert (decayed["weight_decay"], plain["weight_decay"]) == (0.03, 0.0)
        assert decayed["eps"] == plain["eps"] == 1e-10
        assert one.recipe.clip == 0.01
        assert one.recipe.lr == OF_SMALL.lr
        assert one.recipe.factor(0.9) == 1.0


def test_large_networks_are_trained_as_published():
    shape = SHAPES["xl-256"]
    assert scale_of(shape) is PUBLISHED
    assert [batch_of(shape, side) for side in (256, 512, 1024, 2048)] == [176, 40, 12, 12]
    assert sum(PUBLISHED.shares) == pytest.approx(1)
    assert interpolation_of(512, None) == 1.0
    assert interpolation_of(1024, None) == 2.0
    assert interpolation_of(1024, 1.5) == 1.5
    assert sizes_of((1024, 1024), None, (512, 1024), 16).base == (256, 256)
    assert sizes_of((1024, 1024), None, (256, 512, 1024), 16).finer == (
        (256, 256),
        (512, 512),
        (1024, 1024),
    )
    rate = PixArtAlpha().lr or PUBLISHED.lr * (176 / 256) ** 0.5
    assert rate == pytest.approx(1.658e-5, rel=1e-3)


def test_networks_by_name():
    found = shape_of("xl-512", {}, 512, 4, 8, (120, 4096))
    assert (found.width, found.blocks, found.patch) == (1152, 28, 2)
    assert shape_of("auto", {}, 256, 4, 8, (120, 4096)).width == SHAPES["small"].width
    small = shape_of("auto", {}, 24, 1, 1, (16, 64))
    assert (small.width, small.blocks, small.patch, small.tokens) == (64, 3, 2, 16)
    assert shape_of("auto", {}, 64, 3, 1, (16, 64)).patch == 4
    assert shape_of("auto", {"width": 40}, 64, 3, 1, (16, 64)).width == 40
    with pytest.raises(ConfigError, match="no network 'xl'"):
        shape_of("xl", {}, 256, 4, 8, (120, 4096))
    with pytest.raises(ConfigError, match="'tokens'"):
        shape_of("small", {"tokens": 3}, 256, 4, 8, (120, 4096))


@pytest.mark.parametrize(
    ("final", "base", "finer", "words"),
    [
        ((9, 9), None, None, "9 x 9"),
        ((8, 8), 3, None, "3 x 3"),
        ((8, 8), 12, None, "12, 8"),
        ((8, 16), 6, None, "3 x 6"),
        ((8, 8), 4, (8, 6), "4, 8, 6"),
    ],
)
def test_sizes_that_cannot_be_are_refused(final, base, finer, words):
    with pytest.raises(ConfigError, match=words):
        sizes_of(final, base, finer, 2)


def test_sizes_that_are_not_square_keep_their_aspect():
    found = sizes_of((8, 16), None, None, 2)
    assert found.base == (6, 12)
    assert found.finer == ((8, 16),)


def test_every_stage_makes_a_step_at_the_least(captioned):
    assert pixart_alpha.PixArtAlpha.card.number == 1
    assert _fit(captioned, steps=1).model.spec.shape == (1, 8, 8)


def test_captions_are_cleaned_before_they_are_encoded(captioned, monkeypatch):
    spy = _Spy(monkeypatch)
    said = captioned.train.labels
    dirty = Described(
        tuple(f"<b>THE%20{text[4:]}</b>!!!" if text else "" for text in said.texts),
        said.source,
        said.classes,
        said.good,
    )
    train = dataclasses.replace(captioned.train, labels=dirty, truth=dirty)
    found = []
    for data in (captioned, dataclasses.replace(captioned, train=train)):
        _fit(data)
        rows = spy.stages[1][-1]._take.__self__
        found.append(rows.text[torch.arange(20)][0][:, 1:4])
        spy.stages.clear()
    assert torch.equal(found[0], found[1])
    nothing = Described.of(["<br>"] * 24, classes=said.classes)
    train = dataclasses.replace(captioned.train, labels=nothing, truth=nothing)
    assert "nothing is left" in _fit(dataclasses.replace(captioned, train=train)).note
