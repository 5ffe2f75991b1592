"""Every method on digits with 40 labels: 20 label draws, settings chosen on the development part.

    python benchmarks/digits.py --search      choose the settings; writes results/digits-search.json and the recipes
    python benchmarks/digits.py               the table on the test part; writes results/digits.md and digits.json
    python benchmarks/digits.py --check 5     5 draws of every method anew, beside the table's; writes digits-check.json

The search tries the same number of settings for every method, supervised included: two learning rates × three choices
listed below, each on three label draws that the table does not use, scored on the development part. What it chooses is
what the recipes ``digits/<method>`` say; the table refuses to run with other settings. Test labels are read once, by
the table. Losses keep their papers' form; weights, thresholds and views vary.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from machine import provenance
from semilla.config import recipe
from semilla.evidence.comparison import Job, as_json, format_gain, run_jobs, summarise
from semilla.evidence.intervals import Interval, paired_gain
from semilla.methods import names_for

RESULTS = Path(__file__).parent / "results"
METHODS = names_for("classes")
RECIPES = Path(__file__).parents[1] / "src" / "semilla" / "recipes" / "digits"
LABELS, DRAWS, SEARCH_SEEDS = 40, 20, (1000, 1001, 1002)
PACKAGES = ("torch", "numpy", "scikit-learn")
CPU = {"device": "cpu", "precision": "fp32"}
COMMON: dict[str, Any] = {"steps": 500, "width": 24, "labeled_batch": 40, "unlabeled_batch": 128}
RATES = (0.1, 0.3)
CHOICES: dict[str, list[dict[str, Any]]] = {
    "supervised": [{"views": ["strong"]}, {"views": ["weak", "strong"]}, {"views": ["weak", "lecture"]}],
    "pi_model": [
        {"view": "lecture", "weight": 10.0},
        {"view": "lecture", "weight": 30.0},
        {"view": "strong", "weight": 10.0},
    ],
    "mean_teacher": [
        {"view": "lecture", "weight": 50.0},
        {"view": "lecture", "weight": 15.0},
        {"view": "strong", "weight": 50.0},
    ],
    "uda": [{"threshold": 0.8}, {"threshold": 0.8, "joint": True}, {"threshold": 0.95}],
    "pseudo_label": [
        {"view": "weak", "threshold": 0.95},
        {"view": "strong", "threshold": 0.95},
        {"view": "lecture", "threshold": 0.8},
    ],
    "mixmatch": [{"weight": 10.0, "ramp": 0.4}, {"weight": 30.0, "ramp": 0.4}, {"weight": 75.0, "ramp": 0.4}],
    "fixmatch": [{"threshold": 0.8}, {"threshold": 0.8, "joint": True}, {"threshold": 0.95}],
}


def grid(method: str) -> list[dict[str, Any]]:
    """The settings tried for a method."""
    return [{**COMMON, "learning_rate": rate, **choice} for rate, choice in product(RATES, CHOICES[method])]


def search(methods: list[str]) -> None:
    """Score every setting on the development part and keep the best of each method."""
    path = RESULTS / "digits-search.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for method in methods:
        settings = grid(method)
        options = {"data": "digits", "labels": LABELS, "recipe": None, "evaluate_on": "development", **CPU}
        jobs = [
            Job(method, seed, {**options, **setting, "evaluate_every": COMMON["steps"]})
            for setting in settings
            for seed in SEARCH_SEEDS
        ]
        scores = np.reshape([outcome.score for outcome in run_jobs(jobs, title=method)], (len(settings), -1))
        best = int(scores.mean(1).argmax())
        tried = [{"setting": one, "scores": row.tolist()} for one, row in zip(settings, scores, strict=True)]
        found[method] = {"chosen": settings[best], "tried": tried, "seeds": list(SEARCH_SEEDS)}
        path.write_text(json.dumps({**found, "provenance": provenance(*PACKAGES)}, indent=1) + "\n")
        write_recipe(method, settings[best], "to be measured by the table")
        for one, row in zip(tried, scores, strict=True):
            mark = "→" if one["setting"] == settings[best] else " "
            print(f"{mark} {method:<14}{100 * row.mean():5.1f} %  {short(one['setting'])}")


def table(draws: int) -> None:
    """Train every method on every draw with its recipe and print the table."""
    chosen = json.loads((RESULTS / "digits-search.json").read_text())
    for method in METHODS:
        if recipe(f"digits/{method}") != chosen[method]["chosen"]:
            sys.exit(f"the recipe digits/{method} is not what the search chose: {chosen[method]['chosen']}")
    began = time.monotonic()
    options = {"data": "digits", "labels": LABELS, "evaluate_every": COMMON["steps"], **CPU}
    rows = summarise(run_jobs([Job(method, seed, options) for method in METHODS for seed in range(draws)]))
    where = provenance("torch", "numpy", "scikit-learn") | {
        "fits": "fp32, one thread each",
        "wall_seconds": round(time.monotonic() - began),
    }
    kept = [{key: value for key, value in row.items() if key != "seconds"} for row in as_json(rows)]
    (RESULTS / "digits.json").write_text(json.dumps({"provenance": where, "rows": kept}, indent=1) + "\n")
    render()


def check(draws: int) -> None:
    """Hold some draws of now against the table: after an optimisation nothing may have dropped."""
    rows = json.loads((RESULTS / "digits.json").read_text())["rows"]
    before = {row["method"]: row["scores"][:draws] for row in rows}
    began = time.monotonic()
    options = {"data": "digits", "labels": LABELS, "evaluate_every": COMMON["steps"], **CPU}
    outcomes = run_jobs([Job(method, seed, options) for method in METHODS for seed in range(draws)])
    now = {row["method"]: row["scores"] for row in as_json(summarise(outcomes))}
    for method in METHODS:
        change = 100 * np.subtract(now[method], before[method])
        print(
            f"{method:<14}{100 * np.mean(before[method]):7.2f} → {100 * np.mean(now[method]):.2f} %  by draw: {change}"
        )
    change = np.subtract([now[method] for method in METHODS], [before[method] for method in METHODS])
    gain = paired_gain(change.mean(0), np.zeros(draws))
    print(f"all methods: {format_gain(gain)} points")
    made = {"before": before, "now": now, "change": gain._asdict(), "wall_seconds": round(time.monotonic() - began)}
    text = json.dumps(made | provenance(*PACKAGES), indent=1)
    (RESULTS / "digits-check.json").write_text(text + "\n")


def render() -> None:
    """Print the table of the saved scores, write it as Markdown and note each score in its recipe."""
    chosen = json.loads((RESULTS / "digits-search.json").read_text())
    saved = json.loads((RESULTS / "digits.json").read_text())
    rows, draws = saved["rows"], len(saved["rows"][0]["scores"])
    lines = [
        f"# Digits, {LABELS} labels, {draws} label draws",
        "",
        "| method | test accuracy | gain over supervised, 95 % paired interval | data used |",
        "|---|---|---|---|",
    ]
    for row in rows:
        spread = f"{100 * row['mean']:.1f} ± {100 * np.std(row['scores'], ddof=1):.1f} %"
        used = "–" if row["used"] is None else f"{100 * row['used']:.0f} %"
        gain = format_gain(None if row["gain"] is None else Interval(**row["gain"]))
        lines.append(f"| {row['method']} | {spread} | {gain} | {used} |")
        write_recipe(row["method"], chosen[row["method"]]["chosen"], f"test accuracy {spread} over {draws} label draws")
    lines += [
        "",
        f"scikit-learn's digits: training pool 897 ({LABELS} labeled, {897 - LABELS} unlabeled), test part 500.",
        f"Seeds 0 to {draws - 1} draw labels, initial weights and order; ± is the standard deviation over them.",
        "Gains pair the draws; their intervals are Student's t, over draws and not over test examples. *Data used* is",
        "the mean share of unlabeled examples that entered the loss.",
        "",
        f"Common to all: {', '.join(f'{key} {value}' for key, value in COMMON.items())}. The rest was chosen on the "
        "development part (400 examples, other label draws, six settings for every method; `digits-search.json`): "
        + "; ".join(f"{method}: {short(chosen[method]['chosen'])}" for method in METHODS)
        + ".",
        "",
        ", ".join(f"{key} {value}" for key, value in saved["provenance"].items()),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (RESULTS / "digits.md").write_text(text)


def write_recipe(method: str, setting: dict[str, Any], result: str) -> None:
    """The setting as the recipe that ``semilla train digits`` takes by itself."""
    lines = [
        f"# semilla train digits --labels {LABELS} --method {method}",
        f"# expect: {result}; benchmarks/results/digits.md",
        *(f"{key} = {json.dumps(value)}" for key, value in setting.items()),
    ]
    RECIPES.mkdir(parents=True, exist_ok=True)
    (RECIPES / f"{method}.toml").write_text("\n".join(lines) + "\n")


def short(setting: dict[str, Any]) -> str:
    """A setting without what all share."""
    return ", ".join(f"{key} {value}" for key, value in setting.items() if key not in COMMON)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--search", action="store_true", help="choose the settings")
    parser.add_argument("--method", action="append", choices=METHODS, help="only this method in the search")
    parser.add_argument("--render", action="store_true", help="print the saved table again, without training")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--check", type=int, metavar="N", help="make N draws anew and hold them against the table's")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.check)
    elif arguments.search:
        search(arguments.method or list(METHODS))
    elif arguments.render:
        render()
    else:
        table(arguments.draws)
