"""``tpwidgets measure URL``: the same measurement in a terminal."""

import argparse
import os
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
from .use_cases.presets import USE_CASES, UseCase
from .use_cases.presets import use_case as named
from .workload.rates import ARRIVALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .measuring.shapes import Plan

_MEASURED = (
    "model", "concurrency", "rate", "arrivals", "burstiness", "prompt_tokens", "output_tokens",
    "requests", "seconds", "timeout_s", "protocol", "batch", "shared_prefix_tokens", "api_key_env",
    "spend_limit_usd", "token_limit", "ramp_s", "confirm",
)  # fmt: skip
"""The options that are settings of `tpwidgets.measure` as they are."""
_PIPED = 200
"""So many characters has a line that goes to a file or another program."""
_END = {"requests", "seconds", "precision", "ramp_s"}
"""What says when a level ends, as a whole."""


def add_measure(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare ``tpwidgets measure``."""
    parser = commands.add_parser(
        "measure",
        help="measure an endpoint and print the table",
        epilog="Ctrl-C stops, and what was measured is saved and printed.",
    )
    add = parser.add_argument
    add("endpoint", metavar="URL", help="a base URL, or a simulated profile such as vllm-llama-70b")
    add("--use-case", metavar="NAME",
        help=f"{', '.join(USE_CASES)}: sets lengths, load and limits that are not given, and is "
        "answered in its terms")  # fmt: skip
    add("--model", help="default: the endpoint's only or first model")
    add("--concurrency", help='levels: "1,4,16", "1-64" or "auto" (default: 1-16)')
    add("--rate", help='instead: requests per second, "0.5,1,2", "1-16" or "auto" (open loop)')
    add("--arrivals", choices=ARRIVALS, default="poisson",
        help="of --rate: how they are distributed (default: poisson)")  # fmt: skip
    add("--burstiness", type=float, metavar="SHAPE",
        help="of gamma arrivals; below 1: in bursts (default: 0.5)")  # fmt: skip
    add("--prompt-tokens", metavar="N",
        help='as the server counts (default: 256); several, "256,1024,4096" or "256-4096", are '
        "measured one after the other; so are those of --output-tokens and --batch")  # fmt: skip
    add("--output-tokens", metavar="N", help="asked for (default: 64)")
    add("--requests", type=int, help="to count per level (default: until precise enough)")
    add("--seconds", type=float, help="to count per level")
    add("--precision", type=float, metavar="PERCENT",
        help="end a level once its intervals are within ± so much (default: 10)")  # fmt: skip
    add("--ramp", type=float, dest="ramp_s", metavar="SECONDS",
        help="go evenly from the first level to the last in so long, without settling")  # fmt: skip
    add("--limit", action="append", default=[], metavar="NAME=VALUE", dest="limits",
        help="such as ttft_p95_ms=500, tpot_p95_ms=50, error_rate=0.01; points are judged by "
        "them, and --concurrency auto searches for the largest that keeps them")  # fmt: skip
    add("--timeout", type=float, dest="timeout_s", metavar="SECONDS",
        help="give up on a request after so long without a token (default: 60)")  # fmt: skip
    add("--protocol", help=f"{', '.join(PROTOCOLS)} (default: found out)")
    add("--batch", metavar="N", help="items per request (default: 1)")
    add("--shared-prefix-tokens", type=int, metavar="N",
        help="let all prompts begin with the same N tokens (default: 0)")  # fmt: skip
    add("--header", action="append", default=[], metavar="NAME:VALUE", dest="headers",
        help="sent with every request; $NAME in quotes stands for a variable's value")  # fmt: skip
    add("--extra-body", metavar="JSON", help="fields for every request's body")
    key = parser.add_mutually_exclusive_group().add_argument
    key("--api-key-env", metavar="NAME", help="the environment variable that holds the key")
    key("--key-keyring", metavar="SERVICE/USER", help="the system keyring's entry that holds it")
    key("--key-prompt", action="store_true", help="ask for the key")
    add("--price-output", type=float, metavar="USD", help="per 1M output tokens")
    add("--price-input", type=float, metavar="USD", help="per 1M input tokens")
    add("--price-cached", type=float, metavar="USD",
        help="per 1M input tokens that come from a cache (default: as others)")  # fmt: skip
    add("--price-hour", type=float, metavar="USD", help="per hour and replica of own hardware")
    add("--replicas", type=int, metavar="N", help="that served what is measured (default: 1)")
    add("--utilisation", type=float, metavar="SHARE",
        help="of the hours paid for in which it is as busy as measured (default: 1)")  # fmt: skip
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
    """Measure; save what is to be saved, then print the table, the answer and the conditions."""
    from .measuring.shapes import Plan

    unwritable = _unwritable(args)
    for complaint in unwritable:
        _complain(f"{complaint} Nothing was sent yet.")
    if unwritable:
        return 2
    try:
        case = _case(args)
        plan = Plan.of(_settings(args, case))
        run = _measured(args, plan)
    except (TpwidgetsError, OSError) as error:
        _complain(error)
        return 1
    written, complete = _write(run, args, case)
    _print(run, case, written)
    for why in run.ended_early if isinstance(run, Run) else []:
        _complain(why)
        complete = False
    if not complete:
        return 1
    return 0 if run.state == "done" else 130


def _case(args: argparse.Namespace) -> UseCase | None:
    """Return the use case, if there is one, with the limits that are given in place of its own."""
    if args.use_case is None:
        return None
    case = named(args.use_case)
    own = {name: bound for name, bound in _limits(args.limits).items() if name in case.limits}
    return case.with_assumptions(**own)


def _complain(what: object) -> None:
    print(f"tpwidgets: {what}", file=sys.stderr)


def _unwritable(args: argparse.Namespace) -> list[str]:
    """Say which files can't be written: a measurement must not be lost for that at its end."""
    said = []
    for option in ("save", "csv", "report"):
        path: Path | None = getattr(args, option)
        if path is None:
            continue
        folder = path.absolute().parent
        # a table may go to a device, such as /dev/stdout; the others replace a file
        there = path if option == "csv" and path.exists() else folder
        if path.is_dir():
            said.append(f"--{option}: {path} is a folder; name a file in it.")
        elif not folder.is_dir():
            said.append(f"--{option}: there is no folder {folder}; create it, or name another.")
        elif not os.access(there, os.W_OK):
            said.append(f"--{option}: {there} can't be written to; name another place.")
    return said


def _settings(args: argparse.Namespace, case: UseCase | None) -> dict[str, Any]:
    """Return the keywords for `tpwidgets.measure`: what is given, else what the use case has."""
    asked = {name: getattr(args, name) for name in _MEASURED}
    asked |= {
        "precision": None if args.precision is None else args.precision / 100,
        "limits": _limits(args.limits) or None,
        "headers": read_headers("\n".join(args.headers)) or None,
        "extra_body": read_fields(args.extra_body or "") or None,
        "key": _key(args),
        "price": _price(args),
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    if case is not None and case.limits:  # also those that are none of its own
        asked["limits"] = {**case.limits, **asked.get("limits", {})}
    usual = {"concurrency": "1-16"} if case is None else case.settings()
    if "rate" in asked:
        del usual["concurrency"]
    if not _END.isdisjoint(asked):
        usual = {name: value for name, value in usual.items() if name not in _END}
    return usual | asked


def _measured(args: argparse.Namespace, plan: "Plan") -> Run | Grid:
    """Measure one run or, of several lengths or batches, more."""
    from .measuring.api import measure as run_measurement
    from .measuring.sweeping import sweep

    several = len(plan.workloads) > 1
    for option in ("report", "use_case"):
        if several and getattr(args, option) is not None:
            name = option.replace("_", "-")
            raise SettingsError(f"--{name} is of one run: give one prompt and output length.")
    run_these: Callable[..., Run | Grid] = sweep if several else run_measurement
    try:
        return run_these(args.endpoint, **plan.asked)
    except NotConfirmed as big:
        _ask(big)
        return run_these(args.endpoint, **plan.asked | {"confirm": True})


def _write(
    run: Run | Grid, args: argparse.Namespace, case: UseCase | None
) -> tuple[list[str], bool]:
    """Write each file that is asked for, whatever becomes of the others.

    Returns
    -------
    list of str
        What was written.
    bool
        Whether that is all of it.
    """

    def table(path: Path) -> Path:
        run.points.to_csv(path, index=False)
        return path

    def page(path: Path) -> Path:
        if not isinstance(run, Run):
            raise SettingsError("a page is of one run.")
        return run.report(path, use_case=case)

    written, complete = [], True
    writers: dict[str, Callable[[Path], Path]] = {"save": run.save, "csv": table, "report": page}
    for option, write in writers.items():
        path: Path | None = getattr(args, option)
        if path is None:
            continue
        try:
            written.append(f"{'Saved' if option == 'save' else 'Wrote'} {write(path)}")
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are still wanted
            told = isinstance(error, (TpwidgetsError, OSError))
            _complain(f"--{option}: {'' if told else f'{type(error).__name__}: '}{error}")
            complete = False
    return written, complete


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
    """Return the price that is given: by the hour, or by the token, be it for input alone."""
    tokens = ("price_output", "price_input", "price_cached")
    by_token, by_hour = (
        [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is not None]
        for names in (tokens, ("price_hour", "replicas", "utilisation"))
    )
    if by_token and by_hour:
        raise SettingsError(
            f"{by_hour[0]} is of a price by the hour, and {by_token[0]} is by the token: give one."
        )
    if by_hour:
        if args.price_hour is None:
            raise SettingsError(f"{by_hour[0]} needs --price-hour.")
        given = {"replicas": args.replicas, "utilisation": args.utilisation}
        given = {name: value for name, value in given.items() if value is not None}
        return Price.per_hour(args.price_hour, **given)
    if args.price_cached is not None and args.price_input is None:
        raise SettingsError("--price-cached needs --price-input, that of other tokens.")
    if by_token:
        return Price.per_token(args.price_output or 0.0, args.price_input or 0.0, args.price_cached)
    return None


def _print(run: Run | Grid, case: UseCase | None, written: "Iterable[str]") -> None:
    """Print what was measured, and which files were written."""
    from rich.console import Console
    from rich.table import Table

    from .report.static import grid_answers, grid_conditions, grid_notes, notes, table

    heads, rows = table(run)
    grid = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for head in heads:
        grid.add_column(head, justify="right")
    for row in rows:
        grid.add_row(*row)
    # what is piped has room for whole figures
    console = Console() if sys.stdout.isatty() else Console(width=_PIPED)
    console.print(grid)
    if isinstance(run, Grid):
        lines = [*grid_answers(run), *grid_conditions(run), *grid_notes(run)]
    else:
        in_its_terms = [] if case is None else [f"{case.title}: {run.answer_for(case)}"]
        lines = [run.answer(), *in_its_terms, f"conditions: {run.conditions_line}", *notes(run)]
    for line in lines:
        console.print(line, markup=False, highlight=False)
    for line in written:  # a path stays whole, so that it can be copied
        console.print(line, markup=False, highlight=False, soft_wrap=True)
