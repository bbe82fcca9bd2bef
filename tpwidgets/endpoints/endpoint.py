"""Endpoint: where, which protocol, which model, whose key."""

import base64
import json
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from .. import addresses
from ..errors import EndpointError, SettingsError
from ..masking import Mask, is_secret_name, looks_like_a_key
from ..protocols import PROTOCOLS, WireProtocol
from . import bodies
from .keys import Key, chosen

if TYPE_CHECKING:
    import httpx

    from ..simulator import Simulation

_PASSWORD_CUT = re.compile(r"[^:]*://(?!localhost)[^/?#@.]+:\d*[/?#][^@]*[^@/]@")
"""A user and a password that has a character which ends a host: its rest would be shown."""
PROTOCOL_TITLES = {name: protocol.title for name, protocol in PROTOCOLS.items()}
"""What an endpoint's `protocol` may be, and what a menu calls it."""

_LENGTHS = {
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens",
         "max_new_tokens", "num_predict", "n_predict"),
        "output_tokens",
    ),
    **dict.fromkeys(("n", "best_of", "candidateCount", "candidate_count"), "batch"),
}  # fmt: skip
"""Body fields that make an answer longer or more, and the setting that is meant for it: what a
measurement sends, and what it may spend, is reckoned from the settings only."""
_HOLD_LENGTHS = "options", "generationConfig", "generation_config"
"""Objects in a body where such fields count too (not so a tool's schema, say)."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True)
class Endpoint:
    """An LLM endpoint. Nothing is contacted until it is measured or probed.

    Parameters
    ----------
    url : str
        The base URL (``http://127.0.0.1:8000/v1``), or that of a request
        (``…/v1/chat/completions``). What lacks or is too much is mended when the endpoint is
        probed, and said so. A user and password in it become a header; a key in its query
        (``?key=…``) is sent, and never shown.
    model : str, optional
        None: the endpoint's only or first model.
    protocol : str, optional
        One of `protocols.PROTOCOLS`. None: the one that the URL names, else chat completions where
        the server has them, else what it has.
    api_key_env : str, optional
        The *name* of the environment variable that holds the key: short for ``Key.env(name)``.
    key : Key, optional
        Where the key comes from: ``Key.env``, ``Key.keyring`` or ``Key.prompt``.
    headers, extra_body : dict, optional
        Sent with every request. Header values are masked wherever an endpoint is shown. How long
        and how many the answers are is set with `output_tokens` and `batch`, not in `extra_body`.

    Raises
    ------
    SettingsError
        If the URL, the protocol or the key can't be meant.
    """

    url: str
    model: str | None = None
    protocol: str | None = None
    api_key_env: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    extra_body: dict[str, Any] = field(default_factory=dict, repr=False)
    profile: str | None = None
    """The name of the simulated profile that answers here, if one does."""
    secret_query: str = field(default="", repr=False)
    """What was taken out of the URL's query because it looks like a key."""
    key: Key | None = None

    def __post_init__(self) -> None:
        parts = _split(self.url)
        headers = _checked(self.headers)
        key = chosen(self.key, self.api_key_env)
        if parts.username or parts.password:
            pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        query = [item for item in parts.query.split("&") if item]
        secret = [item for item in query if is_secret_name(unquote(item.partition("=")[0]))]
        shown = "&".join(item for item in query if item not in secret)
        netloc, path = parts.netloc.rpartition("@")[2], parts.path.rstrip("/")
        for name, value in {
            "headers": headers,
            "url": urlunsplit((parts.scheme, netloc, path, shown, "")),
            "secret_query": "&".join(secret) or self.secret_query,
            "key": key,
            "api_key_env": key.variable if key is not None else None,
        }.items():
            object.__setattr__(self, name, value)
        try:
            json.dumps(self.extra_body)
        except (TypeError, ValueError) as error:
            raise SettingsError(f"extra_body must be a dict that JSON can hold: {error}.") from None
        _check_lengths(self.extra_body)
        if self.protocol is not None and self.protocol not in PROTOCOLS:
            raise SettingsError(
                f"protocol must be one of {', '.join(PROTOCOLS)} (or None), not {self.protocol!r}."
            )

    @property
    def local(self) -> bool:
        """Whether the endpoint is on this machine's loopback."""
        host = urlsplit(self.url).hostname or ""
        return host == "localhost" or host == "::1" or host.startswith("127.")

    @property
    def label(self) -> str:
        """A short name for menus and legends."""
        if self.profile:
            return f"{self.profile} (simulated)"
        return self.url.split("://", 1)[1]

    def auth_headers(self, protocol: WireProtocol = PROTOCOLS["chat"]) -> dict[str, str]:
        """Return the headers that a protocol needs and those that carry the key, read now.

        Raises
        ------
        EndpointError
            If there is no key where it should come from (kind ``missing_key``).
        """
        headers = dict(protocol.headers)
        if self.key is not None:
            key = self.key.read()
            for name, value in addresses.key_headers(self.url, protocol):
                headers[name] = value.format(key=key)
        own = {name.lower() for name in self.headers}
        return {n: v for n, v in headers.items() if n.lower() not in own} | self.headers

    def mask(self) -> Mask:
        """Return what takes this endpoint's secrets out of a text."""
        sent = list(self.headers.items())
        sent += [("key", item.partition("=")[2]) for item in self.secret_query.split("&")]
        sent += [("key", secret) for secret in bodies.secrets(self.extra_body)]
        if self.key is not None:
            with suppress(EndpointError):  # where there is none, none can be shown
                sent.append(("key", self.key.read()))
        return Mask(sent)

    def at(self, base: str, path: str) -> str:
        """Return base/path with the query behind it (Azure's ``api-version``, a key)."""
        parts = urlsplit(base)
        path, _, own = path.partition("?")
        items = [
            item
            for query in (own, parts.query, self.secret_query)
            for item in query.split("&")
            if item
        ]
        query = "&".join(dict.fromkeys(items))
        return urlunsplit(
            (parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{path}", query, "")
        )


def _checked(headers: object) -> dict[str, str]:
    """Return a copy of headers that can be sent; what can't be is refused without echoing it."""
    if not isinstance(headers, Mapping):
        raise SettingsError("headers must be a dict of names and values.")
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise SettingsError("headers has a name that HTTP does not allow.")
        if not isinstance(value, str) or not value.isascii() or not value.strip().isprintable():
            raise SettingsError(f"headers: the value of {name} must be printable ASCII text.")
    return {name: value.strip() for name, value in headers.items()}


def _check_lengths(extra_body: object) -> None:
    """Refuse body fields by which more comes back than the settings say."""
    if not isinstance(extra_body, Mapping):
        return
    inside = [(f"{name}.", extra_body.get(name)) for name in _HOLD_LENGTHS]
    for where, fields in [("", extra_body), *inside]:
        for name in fields if isinstance(fields, Mapping) else ():
            if name in _LENGTHS:
                raise SettingsError(
                    f"extra_body sets {where}{name}: use {_LENGTHS[name]} instead, so that what is "
                    "sent and spent is known before."
                )


def _split(url: object) -> Any:
    if not isinstance(url, str) or not url.strip():
        raise SettingsError("url is empty: give one such as http://127.0.0.1:8000/v1.")
    text = url.strip()
    try:
        if "://" not in text:
            parts = urlsplit(f"//{text}")
            # elsewhere a key must not travel in clear; only a port of one's own says otherwise
            plain = addresses.is_near(parts.hostname or "") or parts.port not in (None, 443)
            text = f"{'http' if plain else 'https'}://{text}"
        parts = urlsplit(text)
        parts.port  # noqa: B018 - raises on a port that is no number
    except ValueError:  # its text may hold the password
        raise SettingsError(
            "url can't be read: give one such as http://127.0.0.1:8000/v1."
        ) from None
    if parts.scheme not in ("http", "https"):
        raise SettingsError(f"url must start with http:// or https://, not {parts.scheme}://.")
    if _PASSWORD_CUT.match(text):
        raise SettingsError(
            "url can't be read: in a password, write / as %2F, ? as %3F, # as %23 and @ as %40."
        )
    if not parts.hostname or " " in parts.netloc:
        raise SettingsError("url names no host: give one such as http://127.0.0.1:8000/v1.")
    return parts


def may_be_url(text: str) -> bool:
    """Tell whether a text can be meant as a URL: no bare word is, nor is a key in a host's place.

    Hosts end in a short word or a number; where a port is told, they may be called anything.
    """
    if not re.search(r"[:/.]", text):
        return text == "localhost"
    _, scheme, rest = text.rpartition("://")
    host, port, _ = re.split(r"[/?#]", rest.rpartition("@")[2], maxsplit=1)[0].partition(":")
    *others, last = host.rstrip(".").split(".")
    may_be_key = last if scheme or others else text  # keys in base64 have slashes
    return bool(port) or not (
        looks_like_a_key(may_be_key) or "+" in host or any(len(part) > _LABEL for part in others)
    )


_LABEL = 63
"""So long may the parts of a host's name be; those of a token in three parts are longer."""

_simulations: dict[str, "Simulation"] = {}
_starting = threading.Lock()


def resolve(target: "str | Endpoint", **overrides: Any) -> Endpoint:
    """Return the endpoint that `target` means: an Endpoint, a simulated profile's name, or a URL.

    A profile's server is started on first use and shared by whoever asks for it in this process.
    Headers and body fields are added to an Endpoint's own.

    Raises
    ------
    SettingsError
        If `target` is none of them.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    if isinstance(target, Endpoint):
        if given.keys() & {"key", "api_key_env"}:  # the one replaces the other
            given = {"key": None, "api_key_env": None} | given
        if "headers" in given:  # added to the endpoint's own, which may hold its password
            given["headers"] = {**target.headers, **_checked(given["headers"])}
        if isinstance(given.get("extra_body"), Mapping):
            given["extra_body"] = {**target.extra_body, **given["extra_body"]}
        return replace(target, **given)
    if not isinstance(target, str):
        url = getattr(target, "url", None)  # a Simulation, say
        if not isinstance(url, str):
            raise SettingsError(
                f"{type(target).__name__} is neither a URL, an Endpoint nor a "
                "simulated profile's name."
            )
        return Endpoint(url, **given)
    from ..simulator import PROFILES, simulate

    name = target.strip()
    if name not in PROFILES:
        if name and not name.startswith(("http://", "https://")) and not may_be_url(name):
            shown = "what was given" if looks_like_a_key(name) else repr(name)
            raise SettingsError(
                f"{shown} is neither a URL nor a simulated profile ({', '.join(PROFILES)})."
            )
        return Endpoint(name, **given)
    with _starting:  # a dashboard asks from several threads at once
        running = _simulations.get(name)
        if running is None or not running.alive:
            running = _simulations[name] = simulate(name)
    return Endpoint(running.url, profile=name, **given)


def http_client(endpoint: Endpoint, timeout_s: float) -> "httpx.Client":
    """Return an httpx client for probing `endpoint`: never a proxy for loopback, no redirects."""
    import httpx

    try:
        return httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
            trust_env=not endpoint.local,
            verify=httpx.create_ssl_context(),  # SSL_CERT_FILE counts on loopback too
            headers={"accept-encoding": "identity"},  # as in the measurement
            # some servers promise to keep a connection and close it after each stream
            limits=httpx.Limits(max_keepalive_connections=0),
        )
    except (ImportError, ValueError):
        raise EndpointError(
            "The proxy that the environment names (ALL_PROXY, HTTPS_PROXY or HTTP_PROXY) can't be "
            "used. Name an http:// one, install httpx[socks] for SOCKS, or set NO_PROXY.",
            "unreachable",
        ) from None
