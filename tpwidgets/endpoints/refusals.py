"""What a server's refusals and failures mean, each in one sentence that says what to do."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from math import isfinite
from typing import TYPE_CHECKING, Any

from .. import addresses
from ..engine.throttle import THROTTLES, pause_s
from ..errors import EndpointError, bare
from ..masking import Mask
from ..protocols import Outcome, error_message
from ..samples import USED_UP
from .endpoint import Endpoint

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
    r"(models?|deployment)\b.*"
    r"(not exist|not found|unknown|no such|invalid|does not|not supported|not available)"
    r"|(no such|unknown|invalid|not a valid) model|^model: "
)
_BAD_KEY = r"api[ _-]?key.{0,20}(not valid|invalid|incorrect|missing|expired)"
"""Gemini's word for what others call 401."""
_CONTEXT = (
    r"context|too long|too large|exceed|n_ctx|max_model_len|max_(new|input)_tokens"
    r"|maximum (allowed )?number of|min_tokens must be less than or equal to max_tokens"
)
_BODY = 4 * 1024 * 1024
_FRAMING = "content-encoding", "content-length", "transfer-encoding"


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
    kept = {name: value for name, value in response.headers.items() if name not in _FRAMING}
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
    sentence, kind = _meaning(response, endpoint, model, models or [])
    return EndpointError(sentence, kind, response.status_code)


def _meaning(
    response: "httpx.Response", endpoint: Endpoint, model: str, models: list[str]
) -> tuple[str, str]:
    code, said = response.status_code, error_message(response.content)
    where, lower = endpoint.label, said.lower()
    if code in (401, 403) or (code == 400 and re.search(_BAD_KEY, lower)):
        do = (
            f"Check the key ({endpoint.key.source})."
            if endpoint.key is not None
            else "It wants a key: name the environment variable that holds it (api_key_env)."
        )
        # a key that is known may be too little
        why = f": {said}" if code == 403 and said and endpoint.key is not None else ""
        return f"{where} refused access ({code}{why}). {do}", "auth"
    if code in (400, 413, 422) and re.search(_CONTEXT, lower):
        return said, "context"
    # a model that the server lists is not what it misses, whatever else it does not know
    unlisted = bool(model) and model not in models
    if unlisted and code in (400, 404) and re.search(_NO_MODEL, lower):
        if models:
            return str(no_model(where, model, models)), "model"
        return f"{where} has no model {model!r}: {said}", "model"
    if code in (404, 405):
        asked = response.request.url
        do = "The base URL usually ends in /v1."
        if re.search("/v1|/api/", asked.path):
            do = "It may not speak this protocol, or at another path."
        if addresses.is_azure(endpoint.url) and b"api-version" not in asked.query:
            do = (
                "Azure wants its API's version in the URL, such as ?api-version=2024-10-21, or a "
                "base URL that ends in /openai/v1."
            )
        return f"{where} has nothing at {asked.path} ({code}). {do}", "not_found"
    if code in THROTTLES:
        wait_s = pause_s(code, response.headers, said)
        if code == 429 and not isfinite(wait_s):
            do = "Look into the account's quota and billing."
        elif wait_s > 1:
            do = f"Wait {wait_s:.0f} s, or lower the concurrency."
        else:
            do = "Wait, or lower the concurrency."
        what = "rate-limited" if code == 429 else "overloaded or not ready"
        return (
            f"{where} is {what} right now ({code}: {said or 'without a word'}). {do}",
            "rate_limited" if code == 429 else "http",
        )
    if 300 <= code < 400:
        do = "Give that one directly; a key is not taken along."
        return f"{where} redirects to another address ({code}). {do}", "http"
    return f"{where} answered {code}: {said or 'without a word'}", "http"


def no_model(where: str, model: str, models: list[str]) -> EndpointError:
    """Return the error of a model that the server does not list, with the nearest that it does."""
    near = get_close_matches(model, models, n=1, cutoff=0.4)
    hint = f"Did you mean {near[0]!r}? " if near and len(models) > 1 else ""
    shown = ", ".join(models[:5]) + (f" and {len(models) - 5} more" if len(models) > 5 else "")
    return EndpointError(f"{where} has no model {model!r}. {hint}It has: {shown}.", "model")


def check_stream(
    outcome: Outcome, raw: bytes, kind: str, endpoint: Endpoint, *, streamed: bool
) -> None:
    """Raise the error of a response under HTTP 200 in which nothing came that was asked for."""
    where = endpoint.label
    if outcome.error:
        raise EndpointError(f"{where} reported an error in its stream: {outcome.error}", "http")
    if outcome.token_ns or outcome.items:
        return
    if (outcome.finish_reason or "").lower() in USED_UP:
        raise EndpointError(
            f"{where} used up all the output tokens before it said one: it thinks in secret. Ask "
            "for more (output_tokens).",
            "empty_stream",
        )
    if not streamed:
        said = error_message(raw, 120) or "nothing"
        raise EndpointError(
            f"{where} answered with something else than was asked for ({said}): check the URL and "
            "the model.",
            "empty_stream",
        )
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
    why = f" ({outcome.malformed})" if outcome.malformed else ""
    raise EndpointError(
        f"{where} answered with an empty stream: no token came{why}. Look into the server's log.",
        "empty_stream",
    )
