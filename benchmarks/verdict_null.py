"""How often the verdict's interval tells two supervised fits apart that differ in nothing but chance in training.

    python benchmarks/verdict_null.py             writes results/verdict_null.json
    python benchmarks/verdict_null.py --pairs 8   fewer pairs

Each pair has 40 labels of digits of its own draw. Its two fits have these same labels, and seeds of their own for the
initial weights, the order and the augmentation; no fit is in two pairs, so that the pairs are independent. A pair is
told apart where `semilla.evidence.verdict.judge` says *helped* or *hurt*. Its interval covers the choice of the test
examples alone: the share beyond 5 % is what one run of each cannot see, and `semilla compare` can.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from machine import provenance
from semilla.data.labels import choose_labels
from semilla.data.sources import load
from semilla.evidence.intervals import wilson
from semilla.evidence.verdict import judge
from semilla.training.devices import available_cores

RESULTS = Path(__file__).parent / "results"
LABELS, PAIRS = 40, 60
OPTIONS: dict[str, Any] = {"steps": 300, "width": 16, "threads": 1, "device": "cpu", "precision": "fp32"}


def main(pairs: int) -> None:
    with multiprocessing.get_context("spawn").Pool(available_cores()) as pool:
        rows = list(tqdm(pool.imap(one_pair, range(pairs)), total=pairs, desc="pairs"))
    apart = sum(row["word"] != "cannot tell" for row in rows)
    share = wilson(apart, pairs)
    found = {
        "method": "supervised",
        "labels": LABELS,
        "settings": OPTIONS,
        "n": pairs,
        "told_apart": apart,
        "share": share.mean,
        "interval_95": [share.low, share.high],
        "provenance": provenance("torch", "numpy", "scikit-learn"),
        "pairs": rows,
    }
    (RESULTS / "verdict_null.json").write_text(json.dumps(found, indent=1) + "\n")
    print(
        f"{apart} of {pairs} pairs told apart: {100 * share.mean:.0f} % "
        f"(95 % interval {100 * share.low:.0f} – {100 * share.high:.0f}); 5 % would be the interval's own error"
    )


def one_pair(number: int) -> dict[str, Any]:
    """The seeds of a pair, the accuracy of both fits, and the verdict on them."""
    seeds = [2 * number, 2 * number + 1]
    digits = load("digits")
    with tempfile.TemporaryDirectory() as place:
        chosen = Path(place) / "labels.txt"
        chosen.write_text("\n".join(map(str, choose_labels(digits.labels, digits.classes, LABELS, number).tolist())))
        right = [right_ones(chosen, seed) for seed in seeds]
    verdict = judge("one seed", right[0], "another", right[1])
    return {
        "label_draw": number,
        "seeds": seeds,
        "accuracies": [float(ones.mean()) for ones in right],
        "difference": list(verdict.difference),
        "word": verdict.word,
    }


def right_ones(labels_file: Path, seed: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which test examples a supervised fit has right."""
    from semilla.fitting import fit

    said = fit("digits", labels_file=labels_file, method="supervised", seed=seed, **OPTIONS).outputs
    right: np.ndarray[Any, np.dtype[np.bool_]] = said["test_logits"].argmax(1) == said["test_labels"]
    return right


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    main(parser.parse_args().pairs)
