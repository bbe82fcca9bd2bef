"""results.json → the tables in README.md, between its markers."""

import re
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any

from . import results
from .accuracy import AIOHTTP, OURS
from .truth import HERE

_README = HERE / "README.md"

Row = dict[str, Any]
Column = tuple[str, Callable[[list[Row]], str]]
"""A heading, and what stands below it for one cell's rounds."""


def write() -> None:
    """Write every section that was measured."""
    text = _README.read_text()
    for name, section in results.load().items():
        body = f"{_when(section)}\n\n{_TABLES[name](section['rows'])}"
        if section["failed"]:
            body += f"\n\nFailed: {'; '.join(section['failed'])}."
        text, found = re.subn(
            rf"(<!-- {name} begin -->\n).*?(<!-- {name} end -->)",
            lambda match, body=body: f"{match[1]}{body}\n{match[2]}",
            text,
            flags=re.DOTALL,
        )
        if not found:
            raise ValueError(f"README.md has no markers for {name}")
    _README.write_text(text)


def _when(section: dict[str, Any]) -> str:
    rounds = section["rounds"]
    return (
        f"{section['machine']}; {section['date']}, tpwidgets at {section['commit']}; "
        + (f"{rounds} interleaved rounds" if rounds > 1 else "1 round")
        + f", {section['minutes']:.0f} min."
        + (" Medians over the rounds, in brackets lowest and highest." if rounds > 1 else "")
    )


# -- cells -----------------------------------------------------------------------------------------


def _number(value: float) -> str:
    if isinstance(value, int) or value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f}"


def _spread(values: Iterable[float | None], sign: str = "") -> str:
    known = sorted(value for value in values if value is not None)
    if not known:
        return "–"
    middle, low, high = (
        f"{x:+.1f}" if sign else _number(x) for x in (median(known), known[0], known[-1])
    )
    return middle if low == high else f"{middle} ({low} … {high})"


def _value(heading: str, name: str) -> Column:
    return heading, lambda rows: _spread(row.get(name) for row in rows)


def _pair(heading: str, first: str, second: str) -> Column:
    return heading, lambda rows: " / ".join(
        _spread(row.get(name) for row in rows) for name in (first, second)
    )


def _percent_off(row: Row, seen: str, true: str) -> float | None:
    return None if row.get(seen) is None else 100 * (row[seen] / row[true] - 1)


def _off(heading: str, seen: str, true: str) -> Column:
    return heading, lambda rows: _spread((_percent_off(r, seen, true) for r in rows), sign="+")


def _table(rows: list[Row], keys: tuple[str, ...], columns: list[Column]) -> str:
    """Lay out a line per value of `keys`, in the order in which they were measured."""
    cells: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        cells.setdefault(tuple(row[key] for key in keys), []).append(row)
    lines = [
        "| " + " | ".join([*keys, *(heading for heading, _ in columns)]) + " |",
        "| " + " | ".join(["---"] * len(keys) + ["---:"] * len(columns)) + " |",
    ]
    for key, same in cells.items():
        shown = [str(part) for part in key] + [show(same) for _, show in columns]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


# -- tables ----------------------------------------------------------------------------------------

_ERRORS = [
    _pair("TTFT error p50 / p99, ms", "ttft_error_p50_ms", "ttft_error_p99_ms"),
    _pair("gap error p50 / p99, ms", "gap_error_p50_ms", "gap_error_p99_ms"),
]
_READ = [
    _off("TTFT p50, % off", "reported_ttft_p50_ms", "true_ttft_p50_ms"),
    _off("TTFT p99, % off", "reported_ttft_p99_ms", "true_ttft_p99_ms"),
    _off("ITL p50, % off", "reported_itl_p50_ms", "true_itl_p50_ms"),
    _off("ITL p99, % off", "reported_itl_p99_ms", "true_itl_p99_ms"),
    _off("output tokens/s, % off", "reported_output_tps", "true_output_tps"),
    _value("in flight, % of asked", "in_flight_pct"),
]
_COST = [
    _value("CPU, µs per token", "cpu_us_per_token"),
    _value("peak PSS, MB", "peak_pss_mb"),
    _value("processes", "processes"),
    _value("start → load, s", "start_s"),
    _value("last token → exit, s", "end_s"),
    _value("connections", "connections"),
]
_CLIENT = ("streams", "client")


def _by_load(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["streams"])


def _accuracy(rows: list[Row]) -> str:
    rows = _by_load(rows)
    parts = [
        "Errors per request, kept-alive connections:",
        _table(rows, _CLIENT, _ERRORS),
        "What the client reports, against the truth of the same requests or the same window:",
        _table(rows, _CLIENT, _READ),
        "What it takes, from the start of the process to its end:",
        _table(rows, _CLIENT, _COST),
        "tpwidgets against its targets:",
        _targets(rows),
    ]
    return "\n\n".join(parts)


def _targets(rows: list[Row]) -> str:
    """Tabulate the targets of one run; those against peers stand below the peers' table."""

    def worst(name: str, client: str = OURS, streams: int = 0) -> float:
        return max(
            row[name] for row in rows if row["client"] == client and streams in (0, row["streams"])
        )

    def ratio(name: str, streams: int) -> float:
        ours, theirs = (
            median(r[name] for r in rows if r["client"] == client and r["streams"] == streams)
            for client in (OURS, AIOHTTP)
        )
        return theirs / ours

    def off(seen: str, true: str) -> float:
        return max(abs(_percent_off(r, seen, true) or 0) for r in rows if r["client"] == OURS)

    large = max(row["streams"] for row in rows)
    small = min(row["streams"] for row in rows)
    lines: list[tuple[str, float, str, float]] = [
        ("gap error p99, ms", worst("gap_error_p99_ms"), "≤", 0.05),
        (
            f"… aiohttp's is so many times larger at {small}",
            ratio("gap_error_p99_ms", small),
            "≥",
            20,
        ),
        (
            f"… aiohttp's is so many times larger at {large}",
            ratio("gap_error_p99_ms", large),
            "≥",
            20,
        ),
        ("TTFT error p99, ms", worst("ttft_error_p99_ms"), "≤", 0.5),
        (
            f"… aiohttp's is so many times larger at {large}",
            ratio("ttft_error_p99_ms", large),
            "≥",
            5,
        ),
    ]
    for p, most in ((50, 1), (99, 5)):
        for figure in ("ttft", "itl"):
            value = off(f"all_{figure}_p{p}_ms", f"all_true_{figure}_p{p}_ms")
            lines.append((f"{figure.upper()} p{p} of all requests, % off", value, "≤", most))
    lines += [
        (
            "in flight, % of asked",
            min(r["in_flight_pct"] for r in rows if r["client"] == OURS),
            "≥",
            98,
        ),
        ("output tokens/s, % off", off("reported_output_tps", "true_output_tps"), "≤", 0.5),
        ("measuring process, PSS, MB", worst("measuring_pss_mb"), "≤", 80),
        ("call → first request, s", worst("call_to_first_request_s"), "≤", 0.5),
        ("last token → result, s", worst("last_token_to_result_s"), "≤", 0.7),
    ]
    table = [
        "| target, worst of all rounds (ratios: of the medians) | measured | wanted | |",
        "| --- | ---: | ---: | --- |",
    ]
    for name, value, how, limit in lines:
        met = value <= limit if how == "≤" else value >= limit
        table.append(
            f"| {name} | {_number(value)} | {how} {limit:g} | {'met' if met else '**missed**'} |"
        )
    return "\n".join(table)


def _plain(rows: list[Row]) -> str:
    rows = _by_load(rows)
    return _table(rows, _CLIENT, [*_ERRORS, *_READ])


def _capacity(rows: list[Row]) -> str:
    def good(row: Row) -> bool:
        return row["gap_error_p99_ms"] <= 1 and row["in_flight_pct"] >= 97

    lines = []
    for client in dict.fromkeys(row["client"] for row in rows):
        mine = [row for row in rows if row["client"] == client]
        passed = [
            median(r["true_output_tps"] for r in mine if r["streams"] == streams)
            for streams in dict.fromkeys(row["streams"] for row in mine)
            if all(good(r) for r in mine if r["streams"] == streams)
        ]
        best = f"{max(passed):,.0f} tokens/s" if passed else "at none of these loads"
        lines.append(f"- {client}: {best}")
    columns = [
        _value("tokens/s at the server", "true_output_tps"),
        *_ERRORS,
        _value("in flight, % of asked", "in_flight_pct"),
        _value("stamps merged, %", "reported_merged_pct"),
        _value("CPU, µs per token", "cpu_us_per_token"),
    ]
    return (
        "Highest load with gap error p99 ≤ 1 ms and ≥ 97 % in flight in every round:\n\n"
        + "\n".join(lines)
        + "\n\n"
        + _table(_by_load(rows), _CLIENT, columns)
    )


def _variants(rows: list[Row]) -> str:
    columns = [
        _pair("TTFT p50 reported / true, ms", "reported_ttft_p50_ms", "true_ttft_p50_ms"),
        _pair("TPOT p50 reported / true, ms", "reported_tpot_p50_ms", "true_tpot_p50_ms"),
        _pair("output tokens/s reported / true", "reported_output_tps", "true_output_tps"),
        _value("tokens per chunk", "reported_tokens_per_chunk"),
        *_ERRORS,
    ]
    return _table(rows, ("variant",), columns)


def _endurance(rows: list[Row]) -> str:
    columns = [
        _value("output tokens", "tokens"),
        _value("measuring process, first minute, MB", "measuring_pss_first_minute_mb"),
        _value("… all the time, MB", "measuring_pss_mb"),
        _value("both processes, MB", "peak_pss_mb"),
        *_ERRORS,
        _value("last token → result, s", "last_token_to_result_s"),
    ]
    return _table(rows, _CLIENT, columns)


def _peers(rows: list[Row]) -> str:
    rows = _by_load(rows)
    cheapest = []
    for streams in dict.fromkeys(row["streams"] for row in rows):
        cpu: dict[str, list[float]] = {}
        for row in rows:
            if row["streams"] == streams and row["client"] != AIOHTTP:
                cpu.setdefault(row["client"], []).append(row["cpu_us_per_token"])
        ours = median(cpu.pop(OURS))
        name, theirs = min(((n, median(v)) for n, v in cpu.items()), key=lambda pair: pair[1])
        wanted = 3.0 if streams <= 64 else 2.5
        met = "met" if theirs / ours >= wanted else "**missed**"
        cheapest.append(
            f"at {streams} streams 1/{theirs / ours:.1f} of {name}'s (wanted: 1/{wanted:g}, {met})"
        )
    versions = ", ".join(sorted({row["version"] for row in rows if "version" in row}))
    large = rows[-1]["streams"]
    commands = {r["client"]: r["command"] for r in rows if "command" in r and r["streams"] == large}
    return "\n\n".join(
        (
            f"{versions}.",
            "What each reports, against the truth of all its requests:",
            _table(rows, _CLIENT, _READ),
            "What it takes, start-up included:",
            _table(rows, _CLIENT, _COST),
            f"Commands at {large} streams:",
            "```\n" + "\n".join(commands.values()) + "\n```",
            f"tpwidgets' CPU time against the cheapest peer's: {'; '.join(cheapest)}.",
        )
    )


def _live(rows: list[Row]) -> str:
    columns = [
        _value("updates/s", "updates_per_s"),
        _value("WebSocket, bytes", "ws_bytes"),
        _value("kernel CPU, ms", "kernel_cpu_ms"),
        _value("charts made anew", "charts_made"),
        _value("DOM nodes made", "nodes_made"),
        _value("main thread busy, %", "main_thread_pct"),
        _value("… of it CPU, %", "main_thread_cpu_pct"),
        _value("long tasks in all", "long_tasks"),
        _value("behind at the end, s", "late_s"),
    ]
    targets = {"ws_bytes": 5000, "kernel_cpu_ms": 5, "charts_made": 0, "main_thread_pct": 10}
    ours = [row for row in rows if row["drawn by"].startswith("tpwidgets")]
    ways = {row["drawn by"] for row in ours}
    met = all(
        median(row[name] for row in ours if row["drawn by"] == way) <= most
        for way in ways
        for name, most in targets.items()
    )
    wanted = "at most 5 kB, 5 ms, no chart made anew, 10 % of the main thread (medians)"
    return (
        _table(rows, ("drawn by",), columns)
        + f"\n\nWanted of tpwidgets: {wanted}: {'met' if met else '**missed**'}."
    )


_COVERED = {
    "output_tps": "tokens/s", "rps": "requests/s", "ttft_p50_ms": "TTFT p50",
    "ttft_p95_ms": "TTFT p95", "e2e_p50_ms": "E2E p50", "tpot_p50_ms": "TPOT p50",
}  # fmt: skip


def _coverage(rows: list[Row]) -> str:
    def cell(row: Row, window: str, name: str) -> str:
        covered, width, given = row[window][name]
        if given < 50:
            return "–"
        share = f", in {given:.0f} %" if given < 95 else ""
        return f"{covered:.1f} (±{width:.1f} %{share})"

    def table(window: str) -> str:
        columns: list[Column] = [
            ("requests", lambda same: _number(same[0][window]["n"])),
            *(
                (heading, lambda same, name=name: cell(same[0], window, name))
                for name, heading in _COVERED.items()
            ),
        ]
        return _table(rows, ("endpoint", "load"), columns)

    said = (
        f"{rows[0]['runs']:,} runs of each, seed {rows[0]['seed']}: in how many % the interval "
        "covers the truth, and how wide it is on average."
    )
    return "\n\n".join(
        (
            said,
            "Windows that end as a sweep ends them, once ± 10 % is reached:",
            table("left"),
            "Windows of 20 s in the steady state:",
            table("fixed"),
        )
    )


def _economy(rows: list[Row]) -> str:
    def share(of: str) -> Callable[[list[Row]], str]:
        return lambda same: f"{100 * same[0]['requests'] / same[0][of]:.0f} %"

    columns: list[Column] = [
        ("largest concurrency in truth", lambda same: str(same[0]["truth"])),
        ("found", lambda same: f"{min(same[0]['found'])} … {max(same[0]['found'])}"),
        _value("within 10 %, % of searches", "near_pct"),
        _value("surely between, % of searches", "between_pct"),
        _value("requests", "requests"),
        ("of the grid's", share("grid_requests")),
        ("… up to twice the truth only", share("grid_requests_to_twice")),
    ]
    met = all(row["requests"] <= 0.5 * row["grid_requests"] for row in rows)
    return (
        f"{len(rows[0]['found'])} searches for each limit, seed {rows[0]['seed']}.\n\n"
        + _table(rows, ("TTFT p95 ≤",), columns)
        + f"\n\nWanted: at most half of the grid's requests: {'met' if met else '**missed**'}."
    )


_TABLES: dict[str, Callable[[list[Row]], str]] = {
    "accuracy": _accuracy,
    "busy": _plain,
    "tls": _plain,
    "capacity": _capacity,
    "variants": _variants,
    "endurance": _endurance,
    "peers": _peers,
    "live": _live,
    "coverage": _coverage,
    "economy": _economy,
}
