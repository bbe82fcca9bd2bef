"""The dashboard's texts: tiles, conditions and the run as code. Values in, HTML or code out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from ..cost.at_point import estimate
from ..cost.price import Price
from ..endpoints import bodies
from ..endpoints.endpoint import Endpoint
from ..measuring.meter import Live
from ..measuring.shapes import SHAPES
from ..run import Run, escape
from ..words import MISSING, count, duration, per_second, usd

STYLE = """<style>
.tp-explorer {font-family: var(--jp-ui-font-family, system-ui, sans-serif);
  color: var(--jp-ui-font-color1, inherit);}
.tp-row {display: flex; flex-flow: row wrap; align-items: center; gap: 4px 16px; padding: 2px 0;}
.tp-row > *, .tp-row .widget-hbox > * {flex: 0 0 auto;}
.tp-row .widget-hbox {align-items: center; flex-flow: row wrap;}
.tp-row > .tp-texts {flex: 1 1 100%; gap: 4px 16px;}
.tp-row > .tp-row {display: contents;}
.tp-price {flex-flow: row wrap; align-items: center;}
.tp-price > * {flex: 0 0 auto;}
.tp-row > .tp-about {flex: 1 1 260px;}
.tp-assumptions {display: grid; gap: 2px 24px; padding: 2px 0 6px;
  grid-template-columns: repeat(auto-fill, minmax(min(345px, 100%), 1fr));}
.tp-assumptions .widget-text {flex: 0 1 auto; align-items: center; height: auto; min-width: 0;}
.tp-assumptions .widget-text > .widget-label {flex-shrink: 1; height: auto; line-height: 1.2;
  text-align: left; white-space: normal;}
.tp-assumptions .widget-text input[type="number"] {flex: 0 0 76px; width: 76px;}
.tp-assumptions small, .tp-about small {display: block; line-height: 1.25;
  color: var(--jp-ui-font-color2, inherit);}
.tp-row > .tp-estimate {flex: 1 1 260px;}
.tp-explorer .tp-yes {color: #000;}
.tp-explorer .tp-more, .tp-explorer .tp-fold {background: none; box-shadow: none;
  color: var(--jp-ui-font-color2, inherit);}
.tp-conditions .widget-html-content {line-height: 1.45;}
.tp-tiles .widget-html-content > div {display: flex; flex-flow: row wrap; gap: 2px 20px;
  line-height: 1.25; padding: 2px 0;}
.tp-tiles b {font-size: 17px; font-weight: 600; font-variant-numeric: tabular-nums;
  color: var(--jp-ui-font-color0, inherit);}
.tp-tiles small, .tp-conditions, .tp-estimate {font-size: 12px;
  color: var(--jp-ui-font-color2, inherit);}
.tp-answer, .tp-kpi, .tp-cost-line, .tp-sweep-said {font-size: 15px;}
.tp-answer b {color: var(--jp-ui-font-color0, inherit);}
.tp-status, .tp-status .widget-html-content, .tp-stale .widget-html-content {font-size: 13px;
  line-height: 1.35; height: auto;}
.tp-explorer .tp-bad {color: var(--jp-error-color1, #b00020);}
.tp-sweep-said .widget-html-content {line-height: 1.4; height: auto;}
.tp-sweep-said ul {margin: 4px 0;}
.tp-conditions summary {cursor: pointer;}
.tp-conditions dl {display: grid; grid-template-columns: max-content 1fr; gap: 1px 12px;
  margin: 6px 0;}
.tp-conditions dt, .tp-conditions dd {float: none; width: auto; margin: 0; padding: 0;}
.tp-conditions dt {font-weight: 400; overflow-wrap: normal;}
.tp-conditions dd {overflow-wrap: anywhere;}
.tp-explorer .widget-html-content {overflow-wrap: anywhere;}
.tp-extra table, .tp-tiles span {overflow-wrap: normal; white-space: nowrap;}
</style>"""

_NAMES = {
    "endpoint": "endpoint", "url": "URL", "model": "model", "server": "server",
    "server_version": "server's version",
    "protocol": "protocol", "context_tokens": "context (tokens)", "key_from": "key from",
    "extra_body": "extra body", "prompt_tokens_asked": "prompt asked (tokens)",
    "prompt_tokens_sent": "prompt sent (tokens)", "prompt_counted_by": "prompt counted by",
    "output_tokens_asked": "output asked (tokens)", "output_tokens_sent": "output sent (tokens)",
    "output_length": "output length", "usage_streamed": "usage told by the server",
    "dimensions": "dimensions", "prompts": "prompts", "load": "load",
    "window": "window", "stamps": "arrivals stamped by", "failures": "first failure",
    "tpwidgets": "tpwidgets",
    "spend_limit_usd": "spend limit ($)", "spent_usd": "spent ($)",
    "token_limit": "token limit", "tokens_used": "tokens used",
    "httpx": "httpx", "python": "Python", "platform": "client", "date": "date",
}  # fmt: skip


def tiles(live: Live | None, rate: float | None = None) -> str:
    """Return the running figures; a dash stands for what was not measured yet.

    Parameters
    ----------
    rate : float, optional
        The level of an open loop, requests/s.
    """
    live = live or Live()
    cells = (
        *(_whole(live) if live.whole else _streamed(live)),
        (_rate(live.rps, " req/s"), "requests"),
        _load(live) if rate is None else _rated(live, rate),
        (str(live.errors), "errors"),
    )
    figures = [f"<b>{escape(value)}</b><br><small>{escape(name)}</small>" for value, name in cells]
    return "<div>" + "".join(f"<span>{figure}</span>" for figure in figures) + "</div>"


def _load(live: Live) -> tuple[str, str]:
    if live.concurrency is None:
        return MISSING, "concurrency"
    if live.in_flight:
        return f"{live.in_flight} of {live.concurrency}", "in flight"
    return str(live.concurrency), "concurrency"


def _rated(live: Live, rate: float) -> tuple[str, str]:
    level = f"{rate:g} {per_second(rate)}"
    return level, f"scheduled, {live.in_flight} in flight" if live.in_flight else "scheduled"


def _streamed(live: Live) -> tuple[tuple[str, str], ...]:
    return (
        (duration(live.ttft_ms), "TTFT, median"),
        (_rate(live.user_tps, " tok/s"), "per user"),
        (_rate(live.output_tps, " tok/s"), "whole system"),
    )


def _whole(live: Live) -> tuple[tuple[str, str], ...]:
    return (
        (duration(live.e2e_ms), "E2E, median"),
        (duration(live.e2e_p95_ms), "E2E, p95"),
        (_rate(live.items_per_s, " items/s"), "whole system"),
        (_rate(live.input_tps, " tok/s"), "input"),
    )


def used(live: Live, price: Price | None, runs: Sequence[Run] | None = None) -> str:
    """Return what the measurement has used so far or, once it has ended in `runs`, in all."""
    n, prompt, output = live.requests, live.prompt_tokens, live.output_tokens
    said = f"{'so far' if runs is None else 'in all'}: {n:,} requests, {prompt + output:,} tokens"
    if price is None or price.hour is not None:
        return said
    if runs is not None:
        return f"{said}, {usd(sum(run.spent_usd(price) for run in runs))}"
    spent = estimate(n, prompt / n, output / n, price) if n else 0.0
    # how much was cached, or reasoned, is told once it has ended
    at_most = "up to " if (price.cached_input, price.reasoning) != (None, None) else ""
    return f"{said}, {at_most}{usd(spent)}"


def what_there_is(run: Run) -> str:
    """Return what a run that has ended is, in numbers."""
    n = len(run.windows)
    levels = f"{n} level{'s' if n != 1 else ''}"
    kept = "measured" if run.state == "done" else "measured and kept"
    return f"{levels}, {len(run.samples):,} requests {kept}"


def _rate(value: float | None, unit: str) -> str:
    return MISSING if value is None else f"{count(value)}{unit}"


def conditions(line: str, said: Mapping[str, Any]) -> str:
    """Return the conditions on one line that opens into all of them."""
    items = "".join(
        f"<dt>{name}</dt><dd>{escape(_plain(said[key]))}</dd>"
        for key, name in _NAMES.items()
        if said.get(key) not in (None, "", {}, [])
    )
    notes = "".join(f"<dt>note</dt><dd>{escape(note)}</dd>" for note in said.get("notes", []))
    return (
        f"<details><summary>conditions: {escape(line)}</summary><dl>{items}{notes}</dl></details>"
    )


def _plain(value: Any) -> Any:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def as_code(
    endpoint: Endpoint,
    settings: Mapping[str, Any],
    price: Price | None,
    compared: Sequence[Price] = (),
) -> str:
    """Return the `tp.measure` (or `tp.sweep`) call for these settings. No secret is written out."""
    target = json.dumps(endpoint.profile or endpoint.url)
    given: dict[str, str] = {}
    for name in ("model", "protocol", "api_key_env"):
        value = getattr(endpoint, name)
        if value and not (name == "model" and endpoint.profile):
            given[name] = json.dumps(value)
    if endpoint.key is not None and endpoint.api_key_env is None:
        given["key"] = f"tp.{endpoint.key!r}"
    if endpoint.extra_body:
        given["extra_body"] = repr(bodies.masked(endpoint.extra_body))
    if endpoint.headers:
        names = ", ".join(f"{json.dumps(name)}: ..." for name in endpoint.headers)
        given["headers"] = "{" + names + "}"  # fill in: a value may be a secret
    given |= {name: repr(value) for name, value in settings.items() if value is not None}
    if price is not None:
        given["price"] = _price(price)
    lines = "".join(f"    {name}={value},\n" for name, value in given.items())
    others = "".join(f"    {_price(other)},\n" for other in compared)
    beside = f"run.compared = [\n{others}]\n" if others else ""
    call = "run = tp.measure"
    if any(isinstance(settings.get(name), tuple) for name in SHAPES):
        call, beside = "grid = tp.sweep", ""
    code = f"import tpwidgets as tp\n\n{call}(\n    {target},\n{lines})\n"
    return f"{code}{beside}{call.partition(' ')[0]}.points"


def _price(price: Price) -> str:
    """Write a price as code: what is its default is left out."""
    kind, paid = ("hour", "hour") if price.hour is not None else ("token", "output")
    given = {
        field.name: value for field in fields(price)
        if (value := getattr(price, field.name)) != field.default or field.name == paid
    }  # fmt: skip
    written = ", ".join(f"{name}={value!r}" for name, value in given.items())
    return f"tp.Price.per_{kind}({written})"
