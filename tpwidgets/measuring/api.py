"""start and measure: what is asked for, checked and set going."""

import inspect
from typing import TYPE_CHECKING, Any

from ..cost.price import Price, known
from ..endpoints.endpoint import Endpoint, resolve
from ..endpoints.keys import Key
from ..engine.budget import Purse, TokenPurse
from ..errors import refuse_unknown
from ..metrics.slo import Limits
from ..run import Run
from ..selfcheck import BACKGROUND
from ..workload.loads import Load, positive
from ..workload.prompts import Workload
from ..workload.rates import load_of
from .measurement import Measurement
from .politeness import ask_first, restrained

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .progress import Found, UnderWay


def start(
    endpoint: "str | Endpoint",
    *,
    model: str | None = None,
    concurrency: "int | Iterable[int] | str | None" = None,
    rate: "float | Iterable[float] | str | None" = None,
    arrivals: str = "poisson",
    burstiness: float | None = None,
    prompt_tokens: int = 256,
    output_tokens: int = 64,
    batch: int = 1,
    shared_prefix_tokens: int = 0,
    requests: int | None = None,
    seconds: float | None = None,
    precision: float | None = None,
    ramp_s: float | None = None,
    limits: "Mapping[str, float] | None" = None,
    timeout_s: float = 60.0,
    protocol: str | None = None,
    api_key_env: str | None = None,
    key: Key | None = None,
    headers: dict[str, str] | None = None,
    extra_body: dict[str, Any] | None = None,
    price: Price | None = None,
    spend_limit_usd: float | None = None,
    token_limit: int | None = None,
    confirm: bool = False,
    **unknown: Any,
) -> Measurement:
    """Start a measurement and return at once.

    Parameters
    ----------
    endpoint : str or Endpoint
        A URL, an `Endpoint`, or a simulated profile's name (``"vllm-llama-70b"``).
    model : str, optional
        None: the endpoint's only or first model.
    concurrency : int, iterable of int, or str, optional
        The levels to walk: ``16``, ``(1, 4, 16)`` or ``"1-64"`` (1, 2, 4 … 64): so many users at
        once, each sending its next request when one ends (closed loop). None: 1, 4, 16.
        ``"auto"`` (up to 256) or ``"auto-64"`` searches: it doubles until a limit breaks or,
        without limits, throughput stops rising, and closes in on where that is.
    rate : float, iterable of float, or str, optional
        Instead of `concurrency`: ``2``, ``(0.5, 1, 2)`` or ``"1-16"`` requests per second, each
        sent at its time, whatever is still in flight (open loop). Or ``"auto"``.
    arrivals : {"poisson", "constant", "gamma"}
        With `rate`: how the times between requests are distributed.
    burstiness : float, optional
        With gamma arrivals: their shape. Below 1, requests come in bursts; 1 is Poisson.
    prompt_tokens, output_tokens : int
        Lengths as the server counts them.
    batch : int
        Items per request, each of these lengths: choices (``n``) with ``chat``, prompts in a list
        with ``completions``, texts to embed with ``embeddings``. The other protocols ask for one
        at a time, and refuse more than 1.
    shared_prefix_tokens : int
        Let all prompts begin with the same so many tokens, so that a prefix cache can serve them.
        0: they differ from the first word on, and none can.
    requests : int, optional
        Requests to count at each level. None: until the 95 % interval is within ±10 %.
    seconds : float, optional
        Seconds to count at each level.
    precision : float, optional
        End a level once the 95 % intervals of tokens/s and median TTFT are that narrow: 0.05 is
        ±5 %. `requests` and `seconds` are then the most that is spent on a level.
    ramp_s : float, optional
        Let the load go evenly from the lowest level to the highest in so many seconds (or from the
        highest down, if it comes first), to see in one pass where an endpoint begins to queue:
        ``concurrency="1-64", ramp_s=60``. Its points are sections of the ramp, which are no steady
        state: they have no intervals, and no limit is judged by them.
    limits : dict, optional
        What users may have to wait, and how many requests may fail: ``{"ttft_p95_ms": 500,
        "tpot_p95_ms": 50, "e2e_p99_ms": 8000, "error_rate": 0.01}``. Points then have goodput and
        attainment, and ``concurrency="auto"`` searches for the largest that keeps them.
    timeout_s : float
        Give up on a request after so many seconds without a token, the first or the next.
    protocol : str, optional
        ``chat``, ``completions``, ``responses``, ``anthropic``, ``gemini``, ``ollama``,
        ``ollama-generate`` or ``embeddings``. None: found out.
    api_key_env : str, optional
        The name of the environment variable that holds the key: short for ``Key.env(name)``.
    key : Key, optional
        Where the key comes from: ``Key.env``, ``Key.keyring`` or ``Key.prompt``.
    headers, extra_body : dict, optional
        Sent with every request.
    price : Price, optional
        For the cost curve and the answer. None: the listed one, where there is one
        (`Price.listed`).
    spend_limit_usd : float, optional
        Stop before more than so many USD are spent, requests in flight counted at their maximum.
        Needs a price by the token, given or listed.
    token_limit : int, optional
        The same in tokens, those of prompts and answers together, at all levels together.
    confirm : bool
        Whether it is meant to send more than `politeness.MAX_CONCURRENCY` requests at once, or
        `politeness.MAX_TOKENS` tokens in all, to a server outside of one's own network.

    Raises
    ------
    SettingsError
        If a setting is refused; it is named. Nothing was sent then.
    TypeError
        For an unknown keyword; the nearest known one is named.
    """
    from ..engine.fleet import usable_cores
    from ..engine.limits import check

    if unknown:
        refuse_unknown(unknown, SETTINGS, "measure()")
    target = resolve(
        endpoint, model=model, protocol=protocol, api_key_env=api_key_env,
        key=key, headers=headers, extra_body=extra_body,
    )  # fmt: skip
    workload = Workload.of(prompt_tokens, output_tokens, batch, shared_prefix_tokens)
    load = load_of(concurrency, rate, arrivals, burstiness, requests, seconds, precision, ramp_s)
    judged = Limits.of(limits)
    price = None if price is None else known(price)
    timeout_s = positive("timeout_s", timeout_s, "(seconds)")
    purses: list[Purse] = []
    if spend_limit_usd is not None:
        price = price or Price.listed(target.url, target.model, workload.prompt_tokens)
        purses.append(Purse.of(spend_limit_usd, price, workload))
    if token_limit is not None:
        purses.append(TokenPurse.of_tokens(token_limit, workload))
    if isinstance(load, Load):  # an open loop sends what it can, and tells of the rest
        check(max(load.concurrency), usable_cores())
    if not confirm:
        ask_first(target, workload, load, price, token_limit)
        load = restrained(target, load)
    BACKGROUND.cancel()  # two measurements at once would disturb each other
    return Measurement(target, workload, load, timeout_s, price, purses, judged).begin()


SETTINGS = tuple(
    name for name, parameter in inspect.signature(start).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
)  # fmt: skip
"""The keywords that `start`, `measure` and the Explorer take."""


def measure(endpoint: "str | Endpoint", *, progress: bool | None = None, **settings: Any) -> Run:
    """Measure and return the run: in a cell, a script or a shell.

    Takes what `start` takes. Interrupting it (Kernel → Interrupt, Ctrl-C) stops the measurement
    and returns what there is.

    Parameters
    ----------
    progress : bool, optional
        Show how far it is; None: in a notebook and in a terminal.

    Raises
    ------
    EndpointError, MeasurementError
        If nothing could be measured; the message says what to do.
    """
    return waited(start(endpoint, **settings), progress)


def waited(measurement: "UnderWay[Found]", progress: bool | None) -> "Found":
    """Show how far it is until it has ended, or is interrupted; return what there is."""
    from .progress import shown

    try:
        with shown(measurement, progress):
            return measurement.wait()
    except KeyboardInterrupt:
        measurement.stop()  # it ends soon, be it that its process is killed
        return measurement.wait()
