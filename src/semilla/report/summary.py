"""What a run says at its end."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from semilla.evidence.intervals import wilson
from semilla.fitting import Result


def fit_summary(result: Result, run: Path) -> list[str]:
    """The last lines of ``semilla train``."""
    lines = [""]
    accuracy = result.scores.get("test/accuracy")
    if accuracy is None:
        lines.append("no test part: nothing is claimed; give x_test and y_test to learn how good the model is")
    else:
        share = wilson(round(accuracy * result.test_examples), result.test_examples)
        lines.append(
            f"test accuracy {100 * accuracy:.1f} % (95 % interval {100 * share.low:.1f} – {100 * share.high:.1f}, "
            f"{result.test_examples:,} examples), {result.settings.steps:,} steps in {result.seconds:.0f} s"
        )
    lines += [f"warn[{code}]: {message}" for code, message in result.warnings]
    lines += [
        f"model: {result.folder}/model.safetensors   log: {result.folder}/metrics.jsonl",
        "\nNext:",
        f"  semilla evaluate {shlex.quote(str(run))}    class by class",
        f"  python -c {shlex.quote(f'import semilla; print(semilla.load({json.dumps(str(run))}).classes)')}",
    ]
    return lines
