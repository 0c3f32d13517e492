"""SemiReward against its base on the digits, and a reward on real numbers.

Classes: what the reward knows of the pseudo-labels after the run, and the accuracy beside the base
alone. Numbers: the width of a digit (the standard deviation of the columns of its ink) from the
picture, with predictions on clean pictures as pseudo-labels of noisy ones.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import PrivateAttr
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from claims.harness import Claim, Gain, Level
from claims.sources import digits
from leaven.data import Data
from leaven.draws import Draws
from leaven.methods import find_method
from leaven.methods.classification.semireward import SemiReward
from leaven.methods.classification.weak_strong import Step
from leaven.models import Classifier, build_model
from leaven.select import RewardModel, ValueRows, above_mean
from leaven.train import EMA, Budget, Settings, Trainer

SETTING = {"batch": 16, "ratio": 4, "ema": 0.99}
STEPS = 1200

LABELS = 50
BATCH = 32
VALUE_STEPS = 800
VALUE_START = 300
NOISE = 0.15


class Watched(SemiReward):
    """The same method; its last step is kept to be looked at."""

    _last: list[Step] = PrivateAttr(default_factory=list)

    def after(self, step: Step) -> None:
        super().after(step)
        self._last[:] = [step]


def run(base: str, rewarded: bool) -> Any:
    """The experiment on classes."""

    def measure(seed: int) -> dict[str, float]:
        watched = Watched(base=base, **SETTING)
        method = watched if rewarded else find_method(base)(**SETTING)
        settings = Settings(
            budget=Budget(steps=STEPS),
            seed=seed,
            model="cnn-small",
            options={"width": 16},
            threads=1,
            evaluations=1,
        )
        trainer = Trainer(digits(4)(seed), None, settings)
        fitted = method.fit(trainer.data, trainer)
        values = {"accuracy": trainer.measure(fitted.model, trainer.data.test)["accuracy"]}
        return values | (_judged(watched._last[0], trainer.data) if rewarded else {})

    return measure


@torch.no_grad()
def _judged(step: Step, data: Data) -> dict[str, float]:
    """How well the reward tells right from wrong among the network's labels of all of U."""
    network, reward = step.network.eval(), step.part("reward", RewardModel)
    features, logits = network(data.unlabelled.pixels.batch(torch.arange(len(data.unlabelled))))
    proposed = logits.argmax(1)
    right = proposed == data.unlabelled.truth
    rewards = reward.reward(features, proposed)
    kept = above_mean(rewards) > 0
    gain = right[kept].float().mean() - right.float().mean()
    return {
        "auc": float(roc_auc_score(right, rewards)),
        "precision": float(right.float().mean()),
        "precision_of_kept": float(right[kept].float().mean()),
        "precision_gain": float(gain),
        "kept_share": float(kept.float().mean()),
    }


def numbers(seed: int) -> dict[str, float]:
    """Mean absolute errors on test, in pixels: of the labels alone; without and with the reward, of a
    network that labels its own pictures (weight 1/2: with 1 its labels drift away without bounds) or
    that learns from its average; the ratios of these two."""
    own, own_rewarded = (_regression(seed, rewarded, 0.5) for rewarded in (False, True))
    slow, slow_rewarded = (
        _regression(seed, rewarded, 1.0, averaged=True) for rewarded in (False, True)
    )
    return {
        "error_labels_alone": _regression(seed, False, 0.0),
        "error": own,
        "error_with_reward": own_rewarded,
        "error_ratio": own_rewarded / own,
        "error_averaged": slow,
        "error_averaged_with_reward": slow_rewarded,
        "error_ratio_averaged": slow_rewarded / slow,
    }


def _regression(seed: int, rewarded: bool, weight: float, *, averaged: bool = False) -> float:
    data = digits(4)(seed)
    assert data.test is not None
    pictures = data.train.pixels.batch(torch.arange(len(data.train))).float() / 255
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    known, rest = pictures[order[:LABELS]], pictures[order[LABELS:]]
    targets = _width(known)
    model, head = _networks(seed)
    kind = ValueRows(float(targets.min()), float(targets.max()))
    reward = RewardModel(model.num_features, kind, BATCH, seed, momentum=0.9)
    slow, slow_head = EMA(model, 0.99), EMA(head, 0.99)
    optimizer = torch.optim.Adam([*model.encoder.parameters(), *head.parameters()], lr=2e-3)
    draws = Draws(seed)
    for step in range(VALUE_STEPS):
        some = draws.integers(BATCH, high=LABELS)
        labelled = known[some]
        unlabelled = rest[draws.integers(BATCH, high=len(rest))]
        views = torch.cat([_noisy(labelled, draws), unlabelled, _noisy(unlabelled, draws)])
        features = model.features(views)
        predicted = head(features).squeeze(1)
        pseudo, clean = predicted[BATCH : 2 * BATCH].detach(), features[BATCH : 2 * BATCH].detach()
        if averaged:
            pseudo = slow_head.module(slow.module.features(unlabelled)).squeeze(1).detach()
        kept = torch.ones(BATCH)
        if rewarded and step >= VALUE_START:
            kept = above_mean(reward.reward(clean, pseudo))
        ramp = min(1.0, step / (0.4 * VALUE_STEPS))
        apart = (kept * (predicted[2 * BATCH :] - pseudo).abs()).mean()
        loss = F.l1_loss(predicted[:BATCH], targets[some]) + weight * ramp * apart
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        slow.update(model)
        slow_head.update(head)
        if rewarded and step >= VALUE_START:
            reward.offer(clean, pseudo)
            reward.learn_best(features[:BATCH], targets[some])
        elif rewarded:
            reward.learn(features[:BATCH], targets[some])
    held_out = data.test.pixels.batch(torch.arange(len(data.test))).float() / 255
    with torch.no_grad():
        predicted = head(model.eval().features(held_out)).squeeze(1)
    return float((predicted - _width(held_out)).abs().mean())


def _width(pictures: Tensor) -> Tensor:
    """(n,) the standard deviation, in pixels, of the column that a unit of ink is in."""
    ink = pictures.sum((1, 2))
    share = ink / ink.sum(1, keepdim=True)
    columns = torch.arange(ink.shape[1], dtype=share.dtype)
    mean = share @ columns
    return (share * (columns - mean.unsqueeze(1)) ** 2).sum(1).sqrt()


def _noisy(pictures: Tensor, draws: Draws) -> Tensor:
    return pictures + NOISE * draws.normal(*pictures.shape)


def _networks(seed: int) -> tuple[Classifier, nn.Linear]:
    """A small net, of which the features are used, and a head that gives one number."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(
            "cnn-small", "ab", (1, 8, 8), mean=[0.3], std=[0.37], options={"width": 16}
        )
        head = nn.Linear(model.num_features, 1)
    nn.init.constant_(head.bias, 1.5)
    return model.train(), head


CLAIM = Claim(
    method="semireward",
    statement="A learnt reward tells right pseudo-labels from wrong ones, and keeps the right ones.",
    setting="scikit-learn digits, 4 labels per class, cnn-small of width 16, 1,200 steps of 16 "
    "labelled and 64 unlabelled pictures, averaged weights with a decay of 0.99 (by default 0.999), rewards "
    "filter from step 500 on, all other settings as they are by default; numbers: the width of a digit from 50 "
    "labels, 800 steps of 32 and 32 pictures, rewards filter from step 300 on, by an average of the rewarder "
    "with a decay of 0.9 (by default none), which learns from the best batch in every step (by default in one "
    "of ten)",
    variants={
        "pseudo-label": run("pseudo-label", False),
        "semireward": run("pseudo-label", True),
        "fixmatch": run("fixmatch", False),
        "semireward on fixmatch": run("fixmatch", True),
        "numbers": numbers,
    },
    expect=(
        Level("semireward", 75, "auc"),
        Level("semireward", 3, "precision_gain"),
        Gain("semireward", "pseudo-label", 1.0),
        Gain("semireward on fixmatch", "fixmatch", 0.0),
        Level("numbers", 97, "error_ratio", at_most=True),
        Level("numbers", 97, "error_ratio_averaged", at_most=True),
    ),
    seeds=(0, 1, 2),
    note="Numbers: a network that learns its own ones drifts away (with weight 1 on every seed, with 1/2 on "
    "one of three), and there the reward helps; with the numbers of an average, which do not drift, it does "
    "not (better on one seed, worse on two). The ratio of errors that is shown is a mean of 1.27, 0.84 and 0.12: "
    "the one network that drifted (0.77 pixels, with the reward 0.10) carries it. With the reward the error of such networks is above that "
    "of the labels alone on every seed (0.095 and 0.089, 0.078 and 0.065, 0.096 and 0.078 pixels), so that nothing is "
    "won over these. An earlier version of this claim compared with the drifting network of weight 1 alone. "
    "Classes: of the settings the 500 updates before the filter, a default, were chosen on the seeds 10 "
    "and 11; without them rewards preferred wrong labels. Cause, with an earlier start, on these seeds, second half of the runs: of the labels over the threshold 98 "
    "and 98 to 99 % are right without the reward (pseudo-label, FixMatch); with it 98 and 99 % of 4 and 8 points "
    "fewer labels. The threshold leaves hardly a wrong label to be found, and as many right ones are lost.",
)
