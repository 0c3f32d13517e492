"""The demo: the digits with 4 labels per class, as ``make demo`` runs it."""

from pathlib import Path

from claims.harness import Claim, Gain, Level
from claims.sources import digits
from leaven.job import RunConfig
from leaven.job.stage import baseline_of
from leaven.methods import find_method
from leaven.train import Budget

DEMO = RunConfig.read(Path(__file__).parents[1] / "demo.yaml")
METHOD = find_method(DEMO.method).configured(DEMO.set)

CLAIM = Claim(
    method=DEMO.method,
    statement="Unlabelled digits bring a classifier of 40 labels from about 90 to 97.5 per cent.",
    setting=f"scikit-learn digits, 4 labels per class, 540 test pictures; the network and the "
    f"budget of the demo: {DEMO.model}, {DEMO.options}, {DEMO.budget} steps",
    data=digits(4),
    variants={"supervised": baseline_of(METHOD), "demo": METHOD},
    expect=(Gain("demo", "supervised", 4.0), Level("demo", 97.5)),
    budget=Budget.parse(DEMO.budget),
    model=DEMO.model,
    options=DEMO.options,
)
