"""What a server's refusals and failures mean, each in one sentence that says what to do."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .endpoints import Endpoint
from .errors import EndpointError, bare
from .masking import Mask
from .protocols import Outcome, error_message

if TYPE_CHECKING:
    import httpx


class sentences:  # noqa: N801 - reads as a statement
    """Turn httpx's exceptions into an EndpointError of one sentence that says what to do.

    The chain is cut (``from None``): httpx's exceptions hold the request, and with it the key.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint, self._timeout_s = endpoint, timeout_s

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import httpx

        if not isinstance(error, (httpx.HTTPError, httpx.InvalidURL, UnicodeError)):
            return
        where, said = self._endpoint.label, str(error)
        if isinstance(error, httpx.TimeoutException):
            raise timed_out(self._endpoint, self._timeout_s) from None
        if "CERTIFICATE" in said.upper() or "SSL" in said.upper():
            raise EndpointError(
                f"The HTTPS certificate of {where} was not accepted ({_short(said)}). Use the host "
                "name that the certificate is for, or put its authority into SSL_CERT_FILE.",
                "tls",
            ) from None
        # UnicodeError: no host can be called that
        if isinstance(error, (httpx.ConnectError, UnicodeError)):
            raise EndpointError(
                f"Nothing answers at {where} ({_short(said)}). Start the server, or check host and "
                "port.",
                "unreachable",
            ) from None
        raise EndpointError(
            f"{where} broke off before it had answered ({type(error).__name__}). Look into the "
            "server's log.",
            "unreachable",
        ) from None


@contextmanager
def masked(endpoint: Endpoint) -> Iterator[Mask]:
    """Take secrets out of errors and logs: a server may quote a key that it refuses."""
    mask = endpoint.mask()
    try:
        with mask.over_logs():
            yield mask
    except EndpointError as error:
        error.args = (mask(str(error)),)
        bare(error)  # what is behind it, and its frames, hold what was not masked
        raise


def _short(said: str) -> str:
    return re.sub(r"^\[Errno -?\d+\]\s*", "", said).split(" (_ssl.c")[0][:160] or "no reason given"


_NO_MODEL = (
    r"model\b.*(not exist|not found|unknown|no such|invalid|does not|not supported|not available)"
    r"|(no such|unknown|invalid) model"
)
_BODY = 4 * 1024 * 1024


def whole(response: "httpx.Response", endpoint: Endpoint, timeout_s: float) -> "httpx.Response":
    """Read a streamed response to its end, but neither for ever nor without bounds."""
    import httpx

    deadline = time.monotonic() + timeout_s
    body = bytearray()
    for data in response.iter_bytes():
        body += data
        if time.monotonic() > deadline:
            raise timed_out(endpoint, timeout_s)
        if len(body) > _BODY:
            break
    kept = {name: response.headers.get(name, "") for name in ("content-type", "server")}
    return httpx.Response(
        response.status_code, headers=kept, content=bytes(body), request=response.request
    )


def timed_out(endpoint: Endpoint, timeout_s: float) -> EndpointError:
    """Return the error of an endpoint that was silent for too long."""
    return EndpointError(
        f"{endpoint.label} did not answer within {timeout_s:g} s. Check the address, or raise the "
        "time limit (timeout_s).",
        "timeout",
    )


def refusal(
    response: "httpx.Response", endpoint: Endpoint, model: str = "", models: list[str] | None = None
) -> EndpointError:
    """Return what a status other than 200 means, in one sentence."""
    code, said = response.status_code, error_message(response.content)
    where = endpoint.label
    if code in (401, 403):
        do = (
            f"Check the key ({endpoint.key.source})."
            if endpoint.key is not None
            else "It wants a key: name the environment variable that holds it (api_key_env)."
        )
        return EndpointError(f"{where} refused access ({code}). {do}", "auth")
    lower = said.lower()
    if code in (400, 413, 422) and re.search(
        r"context|too long|too large|exceed|n_ctx|max_model_len|max_(new|input)_tokens", lower
    ):
        return EndpointError(said, "context")
    # a model that the server lists is not what it misses, whatever else it does not know
    unlisted = bool(model) and model not in (models or ())
    if unlisted and code in (400, 404) and re.search(_NO_MODEL, lower):
        if models:
            return no_model(where, model, models)
        return EndpointError(f"{where} has no model {model!r}: {said}", "model")
    if code in (404, 405):
        path = urlsplit(str(response.request.url)).path
        return EndpointError(
            f"{where} has nothing at {path} ({code}). The base URL usually ends in /v1.",
            "not_found",
        )
    if code == 429:
        return EndpointError(
            f"{where} is rate-limited right now (429: {said}). Wait, or lower the concurrency.",
            "rate_limited",
        )
    if 300 <= code < 400:
        return EndpointError(
            f"{where} redirects to another address ({code}). Give that one directly; a key is not "
            "taken along.",
            "http",
        )
    return EndpointError(f"{where} answered {code}: {said or 'without a word'}", "http")


def no_model(where: str, model: str, models: list[str]) -> EndpointError:
    """Return the error of a model that the server does not list, with the nearest that it does."""
    near = get_close_matches(model, models, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]!r}? " if near and len(models) > 1 else ""
    shown = ", ".join(models[:5]) + (f" and {len(models) - 5} more" if len(models) > 5 else "")
    return EndpointError(f"{where} has no model {model!r}. {hint}It has: {shown}.", "model")


def check_stream(outcome: Outcome, raw: bytes, kind: str, endpoint: Endpoint) -> None:
    """Raise the error of a response under HTTP 200 in which no token came."""
    where = endpoint.label
    if outcome.error:
        raise EndpointError(f"{where} reported an error in its stream: {outcome.error}", "http")
    if outcome.token_ns:
        return
    if "json" in kind or raw.lstrip()[:1] == b"{":
        raise EndpointError(
            f"{where} answered in one piece, without streaming, so time to first token can't be "
            "measured. Turn streaming on in the server, or take out a proxy that buffers.",
            "no_stream",
        )
    if "html" in kind or raw.lstrip()[:1] == b"<":
        raise EndpointError(
            f"{where} answered with an HTML page, not a stream: check the URL's path.", "not_found"
        )
    if outcome.finish_reason == "length":
        raise EndpointError(
            f"{where} used up all the output tokens before it said one: it thinks in secret. Ask "
            "for more (output_tokens).",
            "empty_stream",
        )
    raise EndpointError(
        f"{where} answered with an empty stream: no token came. Look into the server's log.",
        "empty_stream",
    )
