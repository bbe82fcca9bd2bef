"""``tpwidgets measure URL``: the same measurement in a terminal."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cost.price import Price
from .endpoints.keys import Key
from .endpoints.typed import read_fields, read_headers
from .errors import SettingsError, TpwidgetsError
from .measuring.grid import Grid
from .measuring.politeness import NotConfirmed
from .protocols import PROTOCOLS
from .run import Run
from .workload.rates import ARRIVALS

if TYPE_CHECKING:
    from collections.abc import Callable


def add_measure(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare ``tpwidgets measure``."""
    parser = commands.add_parser(
        "measure",
        help="measure an endpoint and print the table",
        epilog="Ctrl-C stops and prints what was measured.",
    )
    add = parser.add_argument
    add("endpoint", metavar="URL", help="a base URL, or a simulated profile such as vllm-llama-70b")
    add("--model", help="default: the endpoint's only or first model")
    add("--concurrency", help='levels: "1,4,16", "1-64" or "auto" (default: 1-16)')
    add("--rate", help='instead: requests per second, "0.5,1,2", "1-16" or "auto" (open loop)')
    add("--arrivals", choices=ARRIVALS, default="poisson",
        help="of --rate: how they are distributed (default: poisson)")  # fmt: skip
    add("--burstiness", type=float, metavar="SHAPE",
        help="of gamma arrivals; below 1: in bursts (default: 0.5)")  # fmt: skip
    add("--prompt-tokens", default="256", metavar="N",
        help='as the server counts (default: 256); several, "256,1024,4096" or "256-4096", are '
        "measured one after the other; so are those of --output-tokens and --batch")  # fmt: skip
    add("--output-tokens", default="64", metavar="N", help="asked for (default: 64)")
    add("--requests", type=int, help="to count per level (default: until precise enough)")
    add("--seconds", type=float, help="to count per level")
    add("--precision", type=float, metavar="PERCENT",
        help="end a level once its intervals are within ± so much (default: 10)")  # fmt: skip
    add("--ramp", type=float, dest="ramp_s", metavar="SECONDS",
        help="go evenly from the first level to the last in so long, without settling")  # fmt: skip
    add("--limit", action="append", default=[], metavar="NAME=VALUE", dest="limits",
        help="such as ttft_p95_ms=500, tpot_p95_ms=50, error_rate=0.01; points are judged by "
        "them, and --concurrency auto searches for the largest that keeps them")  # fmt: skip
    add("--timeout", type=float, default=60.0, dest="timeout_s", metavar="SECONDS",
        help="give up on a request after so long without a token (default: 60)")  # fmt: skip
    add("--protocol", help=f"{', '.join(PROTOCOLS)} (default: found out)")
    add("--batch", default="1", metavar="N", help="items per request (default: 1)")
    add("--shared-prefix-tokens", type=int, default=0, metavar="N",
        help="let all prompts begin with the same N tokens (default: 0)")  # fmt: skip
    add("--header", action="append", default=[], metavar="NAME:VALUE", dest="headers",
        help="sent with every request; $NAME in quotes stands for a variable's value")  # fmt: skip
    add("--extra-body", metavar="JSON", help="fields for every request's body")
    key = parser.add_mutually_exclusive_group().add_argument
    key("--api-key-env", metavar="NAME", help="the environment variable that holds the key")
    key("--key-keyring", metavar="SERVICE/USER", help="the system keyring's entry that holds it")
    key("--key-prompt", action="store_true", help="ask for the key")
    add("--price-output", type=float, metavar="USD", help="per 1M output tokens")
    add("--price-input", type=float, default=0.0, metavar="USD", help="per 1M input tokens")
    add("--price-hour", type=float, metavar="USD", help="per hour and replica of own hardware")
    add("--replicas", type=int, default=1, help="that served what is measured (default: 1)")
    add("--spend-limit-usd", type=float, metavar="USD",
        help="stop before more is spent; needs a price by the token")  # fmt: skip
    add("--token-limit", type=int, metavar="N",
        help="stop before more tokens are used, of prompts and answers together")  # fmt: skip
    add("--yes", action="store_true", dest="confirm",
        help="don't ask before much is sent to someone else's server")  # fmt: skip
    add("--save", type=Path, metavar="FILE",
        help="save the run; tpwidgets.load reads it, and tpwidgets.Grid.load one of several "
        "lengths")  # fmt: skip
    add("--csv", type=Path, metavar="FILE", help="write the table of operating points")
    add("--report", type=Path, metavar="FILE",
        help="write an HTML page for those who decide, its data within")  # fmt: skip
    parser.set_defaults(run=measure)


def measure(args: argparse.Namespace) -> int:
    """Measure, print the table, the answer and the conditions."""
    from .measuring.api import measure as run_measurement
    from .measuring.shapes import Plan
    from .measuring.sweeping import sweep

    names = ("model", "concurrency", "rate", "arrivals", "burstiness", "prompt_tokens",
             "output_tokens", "requests", "seconds", "timeout_s", "protocol", "batch",
             "shared_prefix_tokens", "api_key_env", "spend_limit_usd",
             "token_limit", "ramp_s", "confirm")  # fmt: skip
    settings: dict[str, Any] = {name: getattr(args, name) for name in names}
    if args.concurrency is None and args.rate is None:
        settings["concurrency"] = "1-16"
    if args.precision is not None:
        settings["precision"] = args.precision / 100
    try:
        settings["limits"] = _limits(args.limits)
        settings["headers"] = read_headers("\n".join(args.headers)) or None
        settings["extra_body"] = read_fields(args.extra_body or "") or None
        price = _price(args)
        settings |= {"key": _key(args), "price": price}
        plan = Plan.of(settings)
        several = len(plan.workloads) > 1
        if several and args.report:
            raise SettingsError("--report is of one run: give one prompt and output length.")
        run_these: Callable[..., Run | Grid] = sweep if several else run_measurement
        try:
            run = run_these(args.endpoint, **plan.asked)
        except NotConfirmed as big:
            _ask(big)
            run = run_these(args.endpoint, **plan.asked | {"confirm": True})
        _print(run)
        if args.save:
            print(f"Saved {run.save(args.save)}")
        if args.csv:
            run.points.to_csv(args.csv, index=False)
            print(f"Wrote {args.csv}")
        if args.report and isinstance(run, Run):
            print(f"Wrote {run.report(args.report)}")
    except (TpwidgetsError, OSError) as error:
        print(f"tpwidgets: {error}", file=sys.stderr)
        return 1
    return 0 if run.state == "done" else 130


def _ask(big: NotConfirmed) -> None:
    """Ask in a terminal; whoever can't be asked has to say --yes."""
    if not sys.stdin.isatty():
        raise SettingsError(f"{big.question} Pass --yes to send it; nothing was sent yet.")
    if input(f"{big.question} Send it? [y/N] ").strip().lower() not in ("y", "yes"):
        raise SettingsError("Nothing was sent.")


def _limits(given: list[str]) -> dict[str, float]:
    limits = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            limits[name.strip()] = float(value)
        except ValueError:
            raise SettingsError(
                f"--limit {text!r} is not understood: write ttft_p95_ms=500."
            ) from None
    return limits


def _key(args: argparse.Namespace) -> Key | None:
    if args.key_prompt:
        return Key.prompt()
    if args.key_keyring is not None:
        service, _, user = args.key_keyring.rpartition("/")
        return Key.keyring(service, user)
    return None


def _price(args: argparse.Namespace) -> Price | None:
    if args.price_hour is not None:
        return Price.per_hour(args.price_hour, args.replicas)
    if args.price_output is not None:
        return Price.per_token(args.price_output, args.price_input)
    return None


def _print(run: Run | Grid) -> None:
    from rich.console import Console
    from rich.table import Table

    from .report.static import grid_answers, grid_conditions, grid_notes, notes, table

    heads, rows = table(run)
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for head in heads:
        grid.add_column(head, justify="right")
    for row in rows:
        grid.add_row(*row)
    console = Console()
    console.print(grid)
    if isinstance(run, Grid):
        lines = [*grid_answers(run), *grid_conditions(run), *grid_notes(run)]
    else:
        lines = [run.answer(), f"conditions: {run.conditions_line}", *notes(run)]
    for line in lines:
        console.print(line, markup=False, highlight=False)
