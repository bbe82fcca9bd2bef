"""pool: repeats of one measurement, on other days say, as one run."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..errors import SettingsError
from ..run import Run
from ..samples import Sample, Window

VARY = frozenset(
    ("date", "dates", "notes", "failures", "self_check", "prompt_words", "spent_usd",
     "spend_limit_usd", "tokens_used", "token_limit")
)  # fmt: skip
"""Conditions in which repeats may differ unasked: when they were made, and what came of them."""

_GAP_S = 1.0
"""Between two runs on the common clock."""


def pool(runs: Iterable[Run], despite: Sequence[str] = ()) -> Run:
    """Make one run of repeats: each operating point pools the requests of all of them.

    Percentiles are those of all requests together, never averages of percentiles. Rates are all
    that was counted over all the time it took; their intervals are as wide as the runs differ from
    each other, if that is wider than what varied within them (`tpwidgets.metrics.pooled`). A
    point's note says if they differ beyond chance. The pooled run is saved, drawn, priced and
    judged like any other.

    Parameters
    ----------
    runs : iterable of Run
        At least two, or none is a repeat. They need not have the same levels.
    despite : sequence of str
        Conditions that may differ too, such as ``("platform", "server_version")``; the date may
        in any case. Notes say what differs.

    Raises
    ------
    SettingsError
        If conditions differ (they are named), the runs are judged by different limits, or a run is
        given twice.
    """
    repeats = list(runs)
    if len(repeats) < 2:
        raise SettingsError(f"pool needs at least two runs of the same, not {len(repeats)}.")
    if any(window.ramp for run in repeats for window in run.windows):
        raise SettingsError("A ramp is no steady state: pool runs of fixed levels.")
    _check(repeats, {despite} if isinstance(despite, str) else set(despite))
    samples: list[Sample] = []
    parts: list[Window] = []
    zero_s = 0.0
    for run in repeats:
        first_s, last_s = _extent(run)
        shift_s = zero_s - first_s
        samples += [_later(sample, shift_s) for sample in run.samples]
        parts += [
            replace(
                part, start_s=part.start_s + shift_s, end_s=part.end_s + shift_s, known_s=None
            )
            for window in run.windows for part in window.spans
        ]  # fmt: skip
        zero_s += last_s - first_s + _GAP_S
    by_level: dict[tuple[float | None, int], list[Window]] = {}
    for part in parts:
        by_level.setdefault((part.rate, part.concurrency), []).append(part)
    state = next((run.state for run in repeats if run.state != "done"), "done")
    return Run(
        samples, [_window(windows, len(repeats)) for windows in by_level.values()],
        _conditions(repeats), state, repeats[0].price, repeats[0].limits,
    )  # fmt: skip


def _check(runs: Sequence[Run], despite: set[str]) -> None:
    first = runs[0]
    ids = [sample.request_id for run in runs for sample in run.samples]
    if len({id(run) for run in runs}) < len(runs) or len(set(ids)) < len(ids):
        raise SettingsError("Some of the runs hold the same requests: pool each run once.")
    differ = {name: values for name, values in _differing(runs).items() if name not in despite}
    if differ:
        said = "; ".join(f"{name}: {_listed(values)}" for name, values in differ.items())
        raise SettingsError(
            f"The runs are no repeats, their conditions differ ({said}). To pool them all the "
            f"same, pass despite={tuple(differ)!r}."
        )
    if any(run.limits != first.limits for run in runs):
        raise SettingsError(
            "The runs are judged by different limits: give all the same, by run.with_limits(…)."
        )


def _extent(run: Run) -> tuple[float, float]:
    """Return between which times, on the run's own clock, anything of it lies; s."""
    at = [time for window in run.windows for time in (window.start_s, window.end_s)]
    at += [sample.scheduled_s or sample.sent_s for sample in run.samples]
    at += [sample.sent_s + sample.ended_ms / 1000 for sample in run.samples]
    return (min(at), max(at)) if at else (0.0, 0.0)


def _later(sample: Sample, shift_s: float) -> Sample:
    """Return the same request on the common clock; its stamps count from `sent_s`."""
    times = {
        name: at + shift_s
        for name in ("sent_s", "scheduled_s", "dispatched_s")
        if (at := getattr(sample, name)) is not None
    }
    return replace(sample, **times)


def _window(parts: Sequence[Window], runs: int) -> Window:
    """Make the window of one level that was measured several times, or perhaps only once."""
    seconds = sum(part.length_s for part in parts)
    in_flight = sum(part.in_flight_mean * part.length_s for part in parts)
    notes = [part.note for part in parts]
    if len(parts) < runs:
        notes.append(f"measured in {len(parts)} of {runs} runs")
    return replace(
        parts[0],
        end_s=parts[-1].end_s,
        in_flight_mean=in_flight / seconds if seconds else 0.0,
        closed=all(part.closed for part in parts),
        note="; ".join(note for note in dict.fromkeys(notes) if note),
        parts=tuple(parts) if len(parts) > 1 else (),
    )


def _conditions(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the first run's conditions; notes say in what others differ."""
    dates = [date for run in runs for date in _dates(run)]
    differ = [f"pooled despite {name}: {_listed(vs)}" for name, vs in _differing(runs).items()]
    told = [note for run in runs for note in run.conditions.get("notes", [])]
    notes = [f"{len(dates)} runs pooled", *differ, *dict.fromkeys(told)]
    return runs[0].conditions | {"date": dates[0], "dates": dates, "notes": notes}


def _differing(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Return each condition that should be the same and isn't, and what it is in the runs."""
    found: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for run in runs for name in run.conditions):
        values: list[Any] = []
        for run in runs:
            value = run.conditions.get(name)
            if value not in values:
                values.append(value)
        if len(values) > 1 and name not in VARY:
            found[name] = values
    return found


def _listed(values: Sequence[Any]) -> str:
    return " or ".join(map(repr, values))


def _dates(run: Run) -> list[str]:
    return run.conditions.get("dates") or [str(run.conditions.get("date", ""))]
