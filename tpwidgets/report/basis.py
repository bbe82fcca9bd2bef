"""What a pilot page rests on: assumptions, conditions, what was sent where, failures, the data."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..addresses import is_near
from ..cost.price import Price
from ..metrics.usable import failing
from ..metrics.verdict import why
from ..use_cases.kpi import KpiAnswer
from ..use_cases.service import DOUBT
from ..words import COLUMNS, at_level, percent
from .pages import Attachments, bullets, paragraph, table

if TYPE_CHECKING:
    from ..run import Run


def assumed(run: "Run", kpi: KpiAnswer | None, prices: list[Price]) -> list[str]:
    """Return what cost, counting and the use case's answer assume."""
    assumptions = kpi.assumptions if kpi else ()
    rows = [(a.label, f"{a.value:,g} {a.unit}".strip(), a.source) for a in assumptions]
    estimated = any(row["estimated"] for row in run.rows)
    of = [(p.name, p.basis, p.assumed(estimated=estimated)) for p in prices]
    said = [f"Price: {'; '.join(filter(None, parts))}." for parts in of]
    window = run.conditions.get("window")
    said.append(f"Counting: {window}." if window else "")
    said.append(
        "Percentiles are of the requests that ended well inside a level's window; 95 % intervals "
        "are of chance alone, not of another day or another place."
    )
    if kpi and any(figure.lo is not None for figure in kpi.figures):
        said.append(
            "The ranges of the key figures hold 95 % intervals of what was measured, what chance "
            "makes of the arrivals, and, where TTFT is foretold for other arrivals than those "
            f"measured, {percent(100 * DOUBT)} either way by which the model may be off."
        )
    heads = ["assumption", "value", "source"]
    return [
        table(heads, rows, "words", "Of the use case") if rows else "",
        bullets(filter(None, said)),
    ]


def left_out(run: "Run", kpi: KpiAnswer | None) -> list[str]:
    """Return which levels and requests are in no answer, and why."""
    said: list[str] = []
    for row in run.rows:
        at = f"{at_level(row)} plays no part in the answer"
        if row["client_limited"]:
            said.append(f"{at}: {row['note']}.")
        elif row["provisional"]:
            said.append(f"{at}: it was not measured to its end.")
        elif not row["n"]:
            said.append(f"{at}: nothing ended well there.")
        elif failing(row) or row["queue_grows"]:
            reason = "a queue grew" if row["queue_grows"] else "more than 1 % of requests failed"
            of = "the answer for the use case and " if kpi and kpi.use_case else ""
            said.append(f"{at_level(row)} plays no part in {of}the key figures: {reason} there.")
    counted = sum(row["n"] + row["n_failed"] for row in run.rows)
    others = max(0, len(run.samples) - counted)
    if others:
        said.append(
            f"{others:,} of {len(run.samples):,} requests are in no figure of latency: they ended "
            "outside of the windows (warm-up and the end of a level) or were cut short."
        )
    return said or ["Nothing."]


def conditions(run: "Run") -> list[str]:
    """Return the conditions: on one line, and one by one."""
    rows = [
        [name.replace("_", " "), _plain(value)]
        for name, value in run.conditions.items()
        if name != "notes" and value not in (None, "", {}, [])
    ]
    return [paragraph(run.conditions_line), table(["condition", "value"], rows, "words")]


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_KEPT = (
    "Of the answers only token counts and times were kept, no text; of failed requests also the "
    "server's message, keys masked."
)
_PAGE = (
    "This page holds what it shows and the tables at its end; it has no script, loads nothing and "
    "sends nothing."
)


def data_handling(run: "Run") -> list[str]:
    """Return what was sent where, what it was, and what was kept."""
    c = run.conditions
    url, label = urlsplit(str(c.get("url") or "")), str(c.get("endpoint", "?"))
    host = url.hostname or label
    known = [s for s in run.samples if s.prompt_tokens is not None]
    prompt, output = (
        sum(getattr(s, name) or 0 for s in run.samples)
        for name in ("prompt_tokens", "output_tokens")
    )
    row = [url.netloc.rpartition("@")[2] or label, f"{len(run.samples):,}"]
    row += [f"{prompt:,}", f"{output:,}"]
    untold = len(run.samples) - len(known)
    said = [
        _where(label, host, url.scheme),
        "A few probes before the measurement, to find out how the endpoint is asked, come on top.",
        _prompts(c),
        _KEPT,
        _key(str(c.get("key_from", "none"))),
        _PAGE,
    ]
    if untold:
        told = f"For {untold:,} requests the server told no prompt tokens: the sum lacks theirs."
        said.insert(1, told)
    heads = ["sent to", "requests", "prompt tokens", "output tokens"]
    return [table(heads, [row]), bullets(said)]


def _where(label: str, host: str, scheme: str) -> str:
    if "(simulated" in label:
        return "The endpoint was simulated on the measuring machine: nothing left it."
    whose = "is in one's own network" if is_near(host) else "is outside of one's own network"
    how = {"https": ", reached encrypted (https)", "http": ", reached unencrypted (http)"}
    return f"{host} {whose}{how.get(scheme, '')}."


def _prompts(conditions: dict[str, Any]) -> str:
    made = f" ({conditions['prompts']})" if conditions.get("prompts") else ""
    said = (
        f"The prompts were made up by a program{made}: no text of a person, of a document or with "
        "personal data is in them."
    )
    fields = conditions.get("extra_body")
    if not fields:
        return said
    return f"{said} Each request also had fields set by the one who measured: {_plain(fields)}."


def _key(source: str) -> str:
    if source == "none":
        return "No key was needed."
    return f"The key came from: {source}. It is neither in this page nor in a saved run."


def failures(run: "Run") -> list[str]:
    """Return what failed, by its kind."""
    failed = [s for s in run.samples if s.status not in ("ok", "stopped")]
    kinds = Counter((s.status, s.http_status) for s in failed)
    first = {(s.status, s.http_status): s for s in reversed(failed)}
    rows = [
        [
            status.replace("_", " "),
            str(code or "–"),
            f"{n:,}",
            percent(100 * n / len(run.samples)),
            why(first[status, code]),
        ]
        for (status, code), n in kinds.most_common()
    ]
    if not rows:
        return [paragraph("No request failed." if run.samples else "No request was sent.")]
    heads = ["status", "HTTP", "requests", "of all sent", "the first of them"]
    return [table(heads, rows, "figures verdicts")]


def notes(run: "Run") -> list[str]:
    """Return all notes: of the run and of each point."""
    from .static import notes

    return [bullets(notes(run)) or paragraph("None.")]


def data(run: "Run", room: int) -> list[str]:
    """Return the run's tables as files within the page, of `room` bytes at most."""
    import pandas as pd

    files = Attachments(room)
    columns = pd.DataFrame(
        [(name, said) for name, said in COLUMNS.items() if name != "token_ms"],
        columns=["column", "definition"],
    )
    links = [
        files.link("points.csv", "a row per level", run.points),
        files.link("columns.csv", "what each column means, with its unit", columns),
        files.link(
            "requests.csv",
            "a row per request, without the times of its tokens",
            run.requests.drop(columns="token_ms"),
        ),
    ]
    items = "".join(f"<li>{link}</li>\n" for link in links)
    return [paragraph("Inside this file, saved by a click:"), f"<ul>\n{items}</ul>"]
