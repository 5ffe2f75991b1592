"""Methods side by side: pairs by seed, honest rows, errors that keep their words."""

import json
import math
import pickle
import random
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from semilla import errors
from semilla.evidence import comparison
from semilla.evidence.comparison import (
    Job,
    Outcome,
    as_json,
    format_gain,
    format_rows,
    free_folder,
    run_jobs,
    summarise,
)
from semilla.evidence.intervals import Interval, paired_gain

BASE = {0: 0.80, 1: 0.70, 2: 0.90}
OURS = {0: 0.85, 1: 0.92, 2: 0.91}


def outcome(method, seed, score, used=None, seconds=1.0):
    return Outcome(Job(method, seed, {}), score, [(1, score)], used, seconds, [])


def outcomes():
    base = [outcome("supervised", seed, score) for seed, score in BASE.items()]
    return base + [outcome("uda", seed, score, used=seed / 4, seconds=seed) for seed, score in OURS.items()]


def test_pairs_are_made_by_seed_and_not_by_order():
    expected = paired_gain([OURS[seed] for seed in (0, 1, 2)], [BASE[seed] for seed in (0, 1, 2)])
    for shuffle in range(6):
        mixed = outcomes()
        random.Random(shuffle).shuffle(mixed)
        rows = {row.method: row for row in summarise(mixed)}
        assert rows["uda"].gain == pytest.approx(expected)
        assert rows["uda"].scores == [0.85, 0.92, 0.91]
    unpaired = paired_gain(sorted(OURS.values()), sorted(BASE.values()))
    assert unpaired.low != pytest.approx(expected.low)  # the order would have mattered


def test_a_row_sums_up_its_draws():
    supervised, uda = summarise(outcomes())
    assert (supervised.method, supervised.gain, supervised.used) == ("supervised", None, None)
    assert (uda.mean, uda.spread) == pytest.approx((np.mean([*OURS.values()]), np.std([*OURS.values()], ddof=1)))
    assert (uda.used, uda.seconds) == (0.25, 1.0)


def test_a_draw_without_its_baseline_has_no_gain():
    without = [one for one in outcomes() if (one.job.method, one.job.seed) != ("supervised", 1)]
    assert summarise(without)[1].gain is None
    assert summarise([one for one in outcomes() if one.job.method == "uda"])[0].gain is None


def test_more_draws_of_the_baseline_do_no_harm():
    rows = summarise([*outcomes(), outcome("supervised", 9, 0.1)])
    assert rows[1].gain == pytest.approx(summarise(outcomes())[1].gain)


def test_one_draw_has_no_spread():
    rows = summarise([outcome("supervised", 0, 0.5), outcome("uda", 0, 0.7)])
    assert math.isnan(rows[1].spread)
    assert rows[1].gain.mean == pytest.approx(0.2)
    assert math.isnan(rows[1].gain.low)
    text = "\n".join(format_rows(rows))
    assert "±" not in text
    assert "+20.0 (one draw: no interval)" in text
    json.dumps(as_json(rows), allow_nan=False)
    assert as_json(rows)[1]["gain"] == {"mean": pytest.approx(0.2), "low": None, "high": None}


def test_the_table():
    head, supervised, uda = format_rows(summarise(outcomes()))
    assert re.split(r"  +", head) == ["method", "test accuracy", "gain over supervised (95 %)", "data used", "seconds"]
    assert supervised.split() == ["supervised", "80.0", "±", "10.0", "%", "–", "–", "1.0"]
    assert uda.split()[:5] == ["uda", "89.3", "±", "3.8", "%"]
    assert uda.split()[-4:] == [f"{100 * summarise(outcomes())[1].gain.high:+.1f})", "25", "%", "1.0"]
    assert len({len(line) for line in (head, supervised, uda)}) == 1


def test_a_gain_shows_its_sign():
    assert format_gain(Interval(0.031, -0.012, 0.074)) == "+3.1 (-1.2 … +7.4)"
    assert format_gain(None) == "–"


def test_a_folder_that_is_free(tmp_path):
    wanted = tmp_path / "demo"
    assert free_folder(wanted) == wanted
    wanted.mkdir()
    (tmp_path / "demo-2").mkdir()
    assert free_folder(wanted) == tmp_path / "demo-3"


# The workers


def in_threads(monkeypatch, run):
    monkeypatch.setattr(comparison, "ProcessPoolExecutor", lambda count, **options: ThreadPoolExecutor(count))
    monkeypatch.setattr(comparison, "run_job", run)


def test_outcomes_come_in_the_order_of_the_jobs(monkeypatch):
    jobs = [Job("uda", seed, {}) for seed in (3, 1, 2, 0)]
    in_threads(monkeypatch, lambda job: outcome(job.method, job.seed, job.seed / 10))
    assert [one.job.seed for one in run_jobs(jobs, workers=3, progress=None)] == [3, 1, 2, 0]


def test_a_failing_job_ends_the_comparison_with_its_own_error(monkeypatch):
    def run(job):
        if job.seed == 1:
            raise errors.DataError("D054", "41 labels", "take 40")
        return outcome(job.method, job.seed, 0.5)

    in_threads(monkeypatch, run)
    with pytest.raises(errors.DataError, match="41 labels"):
        run_jobs([Job("uda", seed, {}) for seed in range(4)], workers=1, progress=None)


@pytest.mark.parametrize("kind", errors.SemillaError.__subclasses__(), ids=lambda kind: kind.__name__)
def test_an_error_of_a_worker_process_arrives_whole(kind):
    error = pickle.loads(pickle.dumps(kind("D054", "41 labels", "take 40")))  # as the pool of processes does
    assert (error.code, error.message, error.fix, str(error)) == (
        "D054",
        "41 labels",
        "take 40",
        "error[D054]: 41 labels\n  fix: take 40",
    )


def test_a_signal_in_a_worker_process_arrives_whole():
    # Our own bytes, made on this line: what the pool does with an error of a worker.
    assert pickle.loads(pickle.dumps(errors.Interrupted(15))).exit_code == 143


def test_a_job_is_a_fit(monkeypatch):
    options = {"data": "digits", "labels": 40, "recipe": None, "steps": 6, "width": 4, "unlabeled_batch": 8}
    options |= {"labeled_batch": 12, "device": "cpu", "precision": "fp32", "evaluate_every": 2, "log_every": 3}
    done = comparison.run_job(Job("fixmatch", 1, {**options, "threshold": 0.0}))
    assert [step for step, _ in done.curve] == [2, 4, 6]
    assert done.curve[-1][1] == done.score
    assert done.used == 1.0
    plain = comparison.run_job(Job("supervised", 1, {**options, "evaluate_on": "development"}))
    assert plain.used is None
    assert round(plain.score * 400) == pytest.approx(plain.score * 400)  # of 400 development examples


def test_the_share_used_is_over_all_steps_alike(monkeypatch):
    class Fake:
        history = (
            {"step": 10, "used": 0.0},
            {"step": 20, "used": 0.0},
            {"step": 21, "used": 1.0, "test/accuracy": 1.0},
        )
        scores, seconds, warnings = {"test/accuracy": 1.0}, 1.0, ()

    monkeypatch.setattr("semilla.fitting.fit", lambda **options: Fake)
    assert comparison.run_job(Job("uda", 0, {})).used == pytest.approx(1 / 21)


def readings():
    base = [outcome("supervised", seed, score) for seed, score in OURS.items()]
    rows = base + [outcome("uda", seed, score / 2) for seed, score in OURS.items()]
    return [replace(row, measure="cer") for row in rows]


def test_of_error_rates_less_is_better():
    rows = summarise(readings())
    assert rows[1].gain.high < 0
    assert rows[1].word == "helped"
    assert summarise([replace(one, measure="accuracy") for one in readings()])[1].word == "hurt"
    worse = [replace(one, score=1.5 if one.job.method == "uda" else 1 - one.job.seed / 100) for one in readings()]
    assert summarise(worse)[1].word == "hurt"
    same = [replace(one, score=0.5) for one in readings()]
    assert summarise(same)[1].word == "cannot tell"
    head = format_rows(rows)[0]
    assert "test CER" in head
    assert "change of supervised's (95 %)" in head
    assert "accuracy" not in head
