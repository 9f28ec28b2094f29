"""Compares two encoders task by task: win, tie or loss, with the difference's interval and a corrected p."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from eval_suite.comparable import comparable_key, differing
from eval_suite.errors import EvalError, did_you_mean
from eval_suite.paired import difference, sample_of
from eval_suite.results import Result
from eval_suite.significance import holm
from eval_suite.stored import encoders

LEVEL = 0.95


@dataclass(frozen=True)
class TaskComparison:
    """One task. Scores and `difference` = a - b are in per cent; [low, high] is its interval at the chosen level.

    p: of the paired `test`; p_corrected: Holm's over all tasks compared. outcome: for a, "win", "tie" or "loss".
    """

    task: str
    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    p_corrected: float
    outcome: str
    test: str
    examples: int


@dataclass(frozen=True)
class Comparison:
    """refused: task -> the fields that differ; untested: task -> why; missing: task -> who has it."""

    a: str
    b: str
    level: float
    tasks: list[TaskComparison]
    refused: dict[str, list[str]] = field(default_factory=dict)
    untested: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def json(self) -> str:
        """Strict JSON."""
        return json.dumps(asdict(self), indent=1, allow_nan=False)


def pick(
    by_folder: Sequence[Sequence[Result]], names: Sequence[str] | None
) -> list[tuple[str, list[Result]]]:
    """The two encoders to compare: (label, results) each.

    by_folder: the results of each folder. names: two labels, names or beginnings of fingerprints, from all folders;
    None for two folders with one encoder each. Raises EvalError where that does not name two different encoders.
    """
    every = encoders([result for folder in by_folder for result in folder])
    if names is not None:
        chosen = [(label, every[label]) for label in (_label(name, every) for name in names)]
    elif len(by_folder) == 2 and all(len(encoders(folder)) == 1 for folder in by_folder):
        prints = [folder[0].fingerprint for folder in by_folder]
        chosen = [next((k, v) for k, v in every.items() if v[0].fingerprint == p) for p in prints]
    else:
        raise EvalError(f"name the two with --encoders A B; here are: {', '.join(every)}")
    if chosen[0][0] == chosen[1][0]:
        raise EvalError(f"both are {chosen[0][0]}, the same weights; compare two different encoders")
    return chosen


def _label(name: str, every: dict[str, list[Result]]) -> str:
    found = [label for label, results in every.items() if _named(name, label, results[0])]
    if len(found) > 1:
        raise EvalError(f"encoder {name!r} could be {' or '.join(found)}; name it by its fingerprint")
    if not found:
        raise EvalError(f"no results of encoder {name!r}; {did_you_mean(name, every)}")
    return found[0]


def _named(name: str, label: str, result: Result) -> bool:
    return name in (label, result.encoder) or (len(name) >= 4 and result.fingerprint.startswith(name))


def compare(
    a: tuple[str, Sequence[Result]], b: tuple[str, Sequence[Result]], *, level: float = LEVEL, seed: int = 0
) -> Comparison:
    """a, b: (label, results) of one encoder each. Raises EvalError where no task at all can be compared."""
    pairs, refused, missing = _match(a, b)
    untested = {task: _NO_SAMPLE for task, (x, y) in pairs.items() if not (sample_of(x) and sample_of(y))}
    tested = {task: pair for task, pair in pairs.items() if task not in untested}
    if not pairs:
        why = [f"{task}: {'; '.join(fields)}" for task, fields in refused.items()] or ["they share no task"]
        raise EvalError(f"{a[0]} and {b[0]} are not comparable: {' | '.join(why)}")
    return Comparison(a[0], b[0], level, _tests(tested, level, seed), refused, untested, missing)


_NO_SAMPLE = "no per-example numbers that give this score; run the task again with this version"
Pairs = dict[str, tuple[Result, Result]]


def _match(
    a: tuple[str, Sequence[Result]], b: tuple[str, Sequence[Result]]
) -> tuple[Pairs, dict[str, list[str]], dict[str, str]]:
    of_a, of_b = _by_task(a[1]), _by_task(b[1])
    pairs: Pairs = {}
    refused, missing = {}, {}
    for task in dict.fromkeys([*of_a, *of_b]):
        if task not in of_a or task not in of_b:
            missing[task] = f"only {a[0] if task in of_a else b[0]} has it"
            continue
        both = of_a[task].keys() & of_b[task].keys()
        for key in sorted(both):
            x, y = of_a[task][key], of_b[task][key]
            pairs[_label_of(task, x, [of_a[task][one] for one in both])] = (x, y)
        if not both:
            refused[task] = min(
                (differing(x, y) for x in of_a[task].values() for y in of_b[task].values()), key=len
            )
    return pairs, refused, missing


def _label_of(task: str, result: Result, all_of_task: Sequence[Result]) -> str:
    """The task's name, with what tells it from the other results of the task where there are some."""
    if len(all_of_task) == 1:
        return task
    alike = [one for one in all_of_task if one.protocol == result.protocol]
    mark = "" if len(alike) == 1 else f", {result.comparability[:6]}"
    if mark and len({one.data_sha256 for one in alike}) == len(alike):
        mark = f", data {result.data_sha256[:6]}"
    return f"{task} ({result.protocol}{mark})"


def _by_task(results: Sequence[Result]) -> dict[str, dict[str, Result]]:
    found: dict[str, dict[str, Result]] = {}
    for result in results:
        found.setdefault(result.task, {})[comparable_key(result)] = result
    return found


def _tests(pairs: Pairs, level: float, seed: int) -> list[TaskComparison]:
    samples = {task: (sample_of(x), sample_of(y)) for task, (x, y) in pairs.items()}
    found = {task: difference(x, y, seed, level) for task, (x, y) in samples.items() if x and y}
    corrected = holm([gap.p for gap in found.values()])
    rows = []
    for (task, gap), p in zip(found.items(), corrected, strict=True):
        x, y = pairs[task]
        delta = round(x.score - y.score, 4)
        outcome = "tie" if p >= 1 - level or not delta else "win" if delta > 0 else "loss"
        rows.append(
            TaskComparison(
                task=task,
                metric=x.metric,
                a=x.score,
                b=y.score,
                difference=delta,
                low=round(gap.low, 4),
                high=round(gap.high, 4),
                p=gap.p,
                p_corrected=float(p),
                outcome=outcome,
                test=gap.test,
                examples=len(samples[task][0].values),  # type: ignore[union-attr]
            )
        )
    return rows


def table(found: Comparison) -> str:
    """The comparison as lines to print."""
    width = max([len(row.task) for row in found.tasks] + [12])
    head = f"{'task':<{width}}  {'metric':<11}{'A':>7}{'B':>7}{'A - B':>8}   {f'{100 * found.level:g} % interval':<18}{'p':>8}{'Holm':>8}  A's    test"
    lines = [f"A: {found.a}", f"B: {found.b}", "", head, *(_line(row, width) for row in found.tasks), ""]
    lines.append(_summary(found))
    lines += [f"not comparable: {task}: {'; '.join(fields)}" for task, fields in found.refused.items()]
    lines += [f"not tested: {task}: {why}" for task, why in found.untested.items()]
    lines += [f"missing: {task}: {why}" for task, why in found.missing.items()]
    return "\n".join(lines)


def _line(r: TaskComparison, width: int) -> str:
    interval = f"{r.low:+.2f} .. {r.high:+.2f}"
    return (
        f"{r.task:<{width}}  {r.metric:<11}{r.a:>7.2f}{r.b:>7.2f}{r.difference:>+8.2f}   {interval:<18}"
        f"{_p(r.p):>8}{_p(r.p_corrected):>8}  {r.outcome:<5}  {r.test}, {r.examples} examples"
    )


def _p(p: float) -> str:
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _summary(found: Comparison) -> str:
    count = [sum(row.outcome == what for row in found.tasks) for what in ("win", "tie", "loss")]
    if not found.tasks:
        return "no task could be tested"
    mean = sum(row.difference for row in found.tasks) / len(found.tasks)
    return (
        f"A wins {count[0]}, ties {count[1]}, loses {count[2]} of {len(found.tasks)} tasks "
        f"(Holm-corrected p < {1 - found.level:.2g}); mean difference {mean:+.2f}"
    )
