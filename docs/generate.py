"""Makes the pages that come from the code: one for each method, the comparison and the claims.

``python docs/generate.py`` writes ``docs/methods/TASK/*.md``, ``docs/comparison.md`` and
``docs/claims.md``; mkdocs calls ``on_config`` to put the methods into the navigation.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
NOT_MEASURED = "No claim has been measured yet; `make claims` does it.\n"


Key = tuple[str, str]
"""A task and the name of a method."""


def main() -> None:
    from leaven.methods import TASKS, all_methods

    methods = {task: list(all_methods(task).values()) for task in TASKS}
    names = {task: {method.card.name for method in found} for task, found in methods.items()}
    results = read_results(ROOT / "claims" / "results", names)
    folder = DOCS / "methods"
    shutil.rmtree(folder, ignore_errors=True)
    for task, found in methods.items():
        (folder / task).mkdir(parents=True)
        for method in found:
            page = method_page(method, results.get((task, method.card.name), {}))
            (folder / task / f"{method.card.name}.md").write_text(page)
    (folder / "index.md").write_text(index_page(methods))
    auto = results.get(("classification", "auto"), {})
    beside = [line for name in BESIDE for line in beside_lines(ROOT / "claims" / "results", name)]
    (DOCS / "comparison.md").write_text("\n".join([comparison_page(auto), *beside]))
    claims = ROOT / "CLAIMS.md"
    text = claims.read_text() if claims.exists() else f"# Claims\n\n{NOT_MEASURED}"
    (DOCS / "claims.md").write_text(with_pictures(text))


def with_pictures(text: str) -> str:
    """The claims with their samples, which are copied to where the site finds them."""
    results, copies = ROOT / "claims" / "results", DOCS / "assets" / "claims"
    shutil.rmtree(copies, ignore_errors=True)
    for picture in results.glob("*/*.png"):
        place = copies / picture.relative_to(results)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, place)
    return text.replace("](claims/results/", "](assets/claims/")


def read_results(folder: Path, names: dict[str, set[str]]) -> dict[Key, dict[str, Any]]:
    """The results of the claims by task and method, then by claim.

    A claim stands under the method it is about, and under each method that it compares, there with
    the expectations of that one alone. ``names`` are those of the methods, by task.
    """
    found: dict[Key, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        main = result["method"]
        task = next((each for each, known in names.items() if main in known), "classification")
        found.setdefault((task, main), {})[path.stem] = result
        for name in result.get("mean", {}):
            own = [row for row in result["expectations"] if row["text"].startswith(f"{name} ")]
            if own and name != main and name in names[task]:
                found.setdefault((task, name), {})[path.stem] = {**result, "expectations": own}
    return found


def index_page(methods: dict[str, list[Any]]) -> str:
    lines = ["# Methods"]
    columns = ("method", "learns from", "source", "how it works")
    for task, found in methods.items():
        rows = [
            (f"[{card.name}]({task}/{card.name}.md)", card.evidence, source(card), card.summary)
            for card in (method.card for method in found)
        ]
        lines += ["", f"## {task.capitalize()}", "", *table(columns, rows)]
    return "\n".join([*lines, ""])


def method_page(method: Any, results: dict[str, Any]) -> str:
    card = method.card
    facts = {
        "paper": link(card.paper),
        "code of the authors": link(card.code),
        "source": source(card),
        "task": card.task,
        "learns from": card.evidence,
        "made of": ", ".join(f"`{part}`" for part in card.parts),
        "the paper's claim": card.claim,
        "measured here": card.measured,
    }
    rows = [
        (f"`{name}`", f"`{kind}`", f"`{default}`", text)
        for name, kind, default, text in method.hyperparameters()
    ]
    lines = [
        f"# {card.name}",
        "",
        f"**{card.title}.** {card.summary}",
        "",
        "```bash",
        f"leaven run DATA{task_option(card.task)} --method {card.name}",
        "```",
        "",
        *table(("card", ""), [(name, text) for name, text in facts.items() if text]),
        "",
        "## Hyperparameters",
        "",
        "`--set NAME=VALUE` on the command line, `set:` in YAML, arguments of the class in Python.",
        "",
        *table(("name", "type", "default", "what it is"), rows),
        "",
        "## Claims",
        "",
        *(claim_lines(results) or [NOT_MEASURED.strip()]),
        "",
        "## Code",
        "",
        f"::: {method.__module__}.{method.__qualname__}",
        "    options:",
        "      members: [fit]",
        "      heading_level: 3",
        "",
    ]
    return "\n".join(lines)


SEVERAL = 6
"""Settings from which on a method stands in the table of all settings."""

COMPARISON = """# Comparison

All methods on the same settings: one net, one budget, one batch, nothing tuned per setting or per
method. Accuracy on held-out items in per cent (balanced over classes for the long tails), mean and
standard deviation over the seeds. The best of a column is **bold**; what is not better than the
labels alone is *in italics*. The first table is of the methods that ran in most settings, the one
below each setting of all that ran there. The budgets are minutes on one CPU core: they say what a
method does with little, not what it reaches in the end.
"""


def comparison_page(results: dict[str, Any]) -> str:
    """Methods against settings, from the results of the claims ``matrix_SETTING``."""
    settings = sorted((name for name in results if name.startswith("matrix_")), key=by_number)
    columns = {name.removeprefix("matrix_"): results[name] for name in settings}
    if not columns:
        return f"{COMPARISON}\n{NOT_MEASURED}"
    found = Counter({"supervised": 0, "auto": 0})
    found.update(name for result in columns.values() for name in result["mean"])
    rows = [
        (f"`{name}`", *(comparison_cell(result, name) for result in columns.values()))
        for name, count in found.items()
        if count >= SEVERAL
    ]
    heads = [f"[{name.replace('_', ' ')}](#{name.replace('_', '-')})" for name in columns]
    lines = [COMPARISON, *table(("method", *heads), rows)]
    for name, result in columns.items():
        lines += ["", f"## {name.replace('_', ' ')}", "", *comparison_notes(result), ""]
        lines += ranking(result)
    return "\n".join(lines) + "\n"


def by_number(name: str) -> list[Any]:
    """A key to sort by, numbers in ``name`` by their size."""
    return [(part.isdigit(), int(part) if part.isdigit() else part) for part in name.split("_")]


def ranking(result: dict[str, Any]) -> list[str]:
    """All methods of a setting, the best first."""
    metric, means = result["metric"], result["mean"]
    ranked = sorted(means, key=lambda name: -means[name][metric])
    rows = [
        (f"`{name}`", comparison_cell(result, name), f"{means[name]['seconds']:.0f}")
        for name in ranked
    ]
    return table(("method", metric.replace("_", " "), "seconds"), rows)


PIXELS = ("miou", "border_miou", "pixel_accuracy", "labels_miou", "label_accuracy")
"""What is told of methods of segmentation; the last two of the labels of the unlabelled photos."""

BOXES = ("map50", "map", "map75", "label_precision", "label_recall")
"""What is told of methods of boxes and masks; the last two of the accepted labels."""

BESIDE = {
    "street_unet": ("Pixels of street photos: twenty maps, a U-Net at 120x160", PIXELS),
    "scenes_few": ("Pixels of scenes: sixty maps, a longer budget", PIXELS),
    "street_few": ("Pixels of street photos: six maps, an encoder that knows photos", PIXELS),
    "street": ("Pixels of street photos: twenty maps, random weights", PIXELS),
    "soft_teacher": ("Boxes of blood cells: ten photos, two stages", BOXES),
    "certainty_aware": ("Boxes of blood cells: certainty of place", BOXES),
    "consistent_teacher": ("Boxes of blood cells: ten photos, one stage", BOXES),
    "pais": ("Masks of nuclei: ten pictures", BOXES),
}
"""Claims that stand for a setting: the heading and the columns of their tables."""


def beside_lines(folder: Path, claim: str) -> list[str]:
    """Methods of pixels or boxes beside each other: all claims in the setting of ``claim``."""
    first = folder / f"{claim}.json"
    if not first.exists():
        return []
    title, columns = BESIDE[claim]
    plain = json.loads(first.read_text())
    rows = [beside_row(name, plain, name, columns) for name in plain["mean"]]
    for path in sorted(folder.glob("*.json")):
        result = json.loads(path.read_text())
        if path == first or not result["setting"].startswith(plain["setting"]):
            continue
        rows += [
            beside_row(
                name if name == result["method"] else f"{path.stem}: {name}", result, name, columns
            )
            for name in result["mean"]
            if result["runs"][name] != plain["runs"].get(name)
        ]
    count = len(plain["seeds"])
    return [
        f"## {title}",
        "",
        f"{plain['setting']}. {plain['note']} Mean and standard deviation over {count} seeds, in per cent; unfinished "
        f"claims say how many seeds there are. By the first column, on the test pictures, the best first.",
        "",
        *table(
            ("method", *(name.replace("_", " ") for name in columns), "seconds"),
            [row[1:] for row in sorted(rows, key=lambda row: -row[0])],
        ),
        "",
    ]


def beside_row(
    title: str, result: dict[str, Any], name: str, columns: tuple[str, ...]
) -> tuple[Any, ...]:
    """What to sort by, the name of the row, and its cells."""
    means, spread = result["mean"][name], result["standard_deviation"][name]
    cells = [
        f"{100 * means[key]:.1f} ± {100 * spread[key]:.1f}" if key in means else ""
        for key in columns
    ]
    seeds = len(result["runs"][name])
    few = "" if seeds == len(result["seeds"]) else f" ({seeds} seeds)"
    seconds = f"{means['seconds']:.0f}" if "seconds" in means else ""
    return means[columns[0]], f"`{title}`{few}", *cells, seconds


def comparison_cell(result: dict[str, Any], name: str) -> str:
    metric, means = result["metric"], result["mean"]
    if metric not in means.get(name, {}):
        return ""
    value = means[name][metric]
    text = f"{100 * value:.1f} ± {100 * result['standard_deviation'][name][metric]:.1f}"
    if value == max(row[metric] for row in means.values() if metric in row):
        return f"**{text}**"
    baseline = means.get("supervised", {}).get(metric, 0.0)
    return f"*{text}*" if name != "supervised" and value <= baseline else text


def comparison_notes(result: dict[str, Any]) -> list[str]:
    """The setting, what does not beat the labels alone, and how ``auto`` did."""
    metric, means = result["metric"], result["mean"]
    floor = means.get("supervised", {}).get(metric, 0.0)
    below = [f"`{n}`" for n, row in means.items() if n != "supervised" and row[metric] <= floor]
    lines = [f"{result['setting']}. Seeds {', '.join(map(str, result['seeds']))}.", ""]
    lines += [f"Not better than the labels alone: {', '.join(below) or 'none'}."]
    return lines + [
        f"{row['text']}: {points(row['measured'])}, {'yes' if row['shown'] else '**no**'}."
        for row in result["expectations"]
    ]


def points(measured: float | None) -> str:
    return "nothing to measure" if measured is None else f"{measured:+.1f} points"


def claim_lines(results: dict[str, Any]) -> list[str]:
    rows = []
    for name, result in results.items():
        anchor = f"[{name}](../../claims.md#{name.replace('_', '-')})"
        for row in result["expectations"]:
            shown = "yes" if row["shown"] else "no"
            value = "nothing" if row["measured"] is None else f"{row['measured']:.1f}"
            rows.append((anchor, row["text"], value, shown))
        if not result["expectations"]:
            rows.append((anchor, result["statement"], "not finished", ""))
    return table(("claim", "expected", "measured", "shown"), rows) if rows else []


def task_option(task: str) -> str:
    return "" if task == "classification" else f" --task {task}"


def source(card: Any) -> str:
    return f"{card.venue} {card.year}" if card.venue else "standard"


def link(address: str) -> str:
    return f"<{address}>" if address.startswith("http") else address


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table; bars inside cells are escaped."""
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [list(columns), ["---"] * len(columns), *cells]]


def on_config(config: Any) -> Any:
    """Puts the pages of the methods into the navigation."""
    for entry in config["nav"]:
        if "Methods" in entry:
            for folder in sorted(path for path in (DOCS / "methods").iterdir() if path.is_dir()):
                pages = sorted(f"methods/{folder.name}/{page.name}" for page in folder.iterdir())
                entry["Methods"].append({folder.name.capitalize(): pages})
    return config


if __name__ == "__main__":
    main()
