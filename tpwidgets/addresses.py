"""What a URL says, as people paste it: the base URL, the protocol, the model, whose API it is."""

import ipaddress
import re
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit, urlunsplit

from .protocols import PROTOCOLS, WireProtocol

_PUBLIC = {
    # whose API it is, by the end of its host's name, and the path of its base URL
    "api.openai.com": "/v1",
    "api.groq.com": "/openai/v1",
    "openrouter.ai": "/api/v1",
    "api.mistral.ai": "/v1",
    "api.deepseek.com": "/v1",
    "api.together.xyz": "/v1",
    "api.together.ai": "/v1",
    "api.fireworks.ai": "/inference/v1",
    "api.cerebras.ai": "/v1",
    "api.x.ai": "/v1",
    "api.perplexity.ai": "",
    "api.cohere.ai": "/compatibility/v1",
    "api.cohere.com": "/compatibility/v1",
    "integrate.api.nvidia.com": "/v1",
    "api.sambanova.ai": "/v1",
    "api.deepinfra.com": "/v1/openai",
    "router.huggingface.co": "/v1",
}
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_VERSIONED = re.compile(r"/v\d+[a-z0-9]*$")
_COMPATIBLE = "/openai"
"""A path of many hosts below which they speak OpenAI's protocols, whatever they speak besides."""


@dataclass(frozen=True)
class Address:
    """What a URL says: nothing was asked yet."""

    url: str
    """The URL without what follows the base URL."""
    protocol: WireProtocol | None = None
    """The protocol that the URL names, if it does."""
    model: str | None = None
    """The model that the URL names, if it does."""
    left_out: str = ""


def read(url: str) -> Address:
    """Return what a URL says."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    address = Address(url, model=_deployment(url))
    for tail, protocol in _TAILS:
        found = tail.search(path)
        # the path /models of some of Azure's hosts is a base URL
        if found and (protocol is not None or not is_azure(url)):
            base = parts._replace(path=path[: found.start()])
            named = found.groupdict().get("model")
            address = replace(
                address,
                url=urlunsplit(base),
                protocol=protocol,
                model=unquote(named) if named else address.model,
                left_out=found[0],
            )
            break
    if address.protocol is None and not path.removesuffix("/v1").endswith(_COMPATIBLE):
        host = parts.hostname or ""
        speaks = next((p for p in PROTOCOLS.values() if host in p.hosts), None)
        address = replace(address, protocol=speaks)
    return address


def candidates(url: str, protocol: WireProtocol) -> list[tuple[str, str]]:
    """Return ``(base URL, what was mended)`` for a URL as people paste it, best first."""
    address = read(url)
    parts = urlsplit(address.url)
    path = parts.path.rstrip("/")
    notes = [f"left out {address.left_out}"] if address.left_out else []
    while path.endswith("/v1/v1"):
        path = path.removesuffix("/v1")
        notes.append("left out a doubled /v1")
    paths = [(path, notes)]
    usual = _public_path(url) if protocol.version == "/v1" else None
    if not protocol.version:
        root = _VERSIONED.sub("", path).removesuffix("/api")
        if root != path:
            paths.insert(0, (root, [*notes, f"left out {path.removeprefix(root)}"]))
    elif not path and usual is not None:
        paths = [(usual, [*notes, f"added {usual}"] if usual else notes)]
    elif not _VERSIONED.search(path) and _deployment(url) is None:
        added = (f"{path}{protocol.version}", [*notes, f"added {protocol.version}"])
        paths.insert(0 if not path else 1, added)
    return [(urlunsplit(parts._replace(path=p)), ", ".join(n)) for p, n in paths]


def root(base: str) -> str:
    """Return a base URL without its version: where a server tells about itself."""
    parts = urlsplit(base)
    return urlunsplit(parts._replace(path=_VERSIONED.sub("", parts.path.rstrip("/"))))


def is_azure(url: str) -> bool:
    """Tell whether a URL leads to Azure, which wants keys, versions and models its own way."""
    return (urlsplit(url).hostname or "").endswith(_AZURE)


def is_public(url: str) -> bool:
    """Tell whether a URL leads to a known public API, which gets only what it documents."""
    host = urlsplit(url).hostname or ""
    return (
        is_azure(url)
        or _public_path(url) is not None
        or any(host in protocol.hosts for protocol in PROTOCOLS.values())
    )


def key_headers(url: str, protocol: WireProtocol) -> list[tuple[str, str]]:
    """Return the headers that carry a key, as names and patterns."""
    usual = "Authorization", "Bearer {key}"
    if is_azure(url) and protocol.key_header == usual:
        return [("api-key", "{key}")]
    if protocol.key_header == usual or (urlsplit(url).hostname or "") in protocol.hosts:
        return [protocol.key_header]
    # servers that speak another's protocol often check the key as they do for OpenAI's
    return [protocol.key_header, usual]


def _public_path(url: str) -> str | None:
    """Return the path of the base URL of a known public API."""
    if is_azure(url):
        return "/openai/v1"
    host = urlsplit(url).hostname or ""
    return next((p for end, p in _PUBLIC.items() if host == end or host.endswith("." + end)), None)


def _deployment(url: str) -> str | None:
    """Return the name of Azure's deployment, which stands for the model."""
    found = re.search(r"/deployments/([^/]+)", urlsplit(url).path)
    return unquote(found[1]) if found else None


def _tails() -> list[tuple[re.Pattern[str], WireProtocol | None]]:
    """Return how URLs of requests end, the longest first."""
    tails: list[tuple[str, WireProtocol | None]] = [("/models", None)]
    for protocol in PROTOCOLS.values():
        path = re.escape("/" + protocol.path.partition("?")[0])
        # generateContent, which does not stream, is what people copy as often
        path = path.replace(r"\{model\}", r"(?P<model>[^/:]+)")
        path = path.replace(":streamGenerateContent", ":(?:stream)?[gG]enerateContent")
        tails.append((path, protocol))
    tails.sort(key=lambda tail: len(tail[0]), reverse=True)
    return [(re.compile(path + "$"), protocol) for path, protocol in tails]


_TAILS = _tails()


# Whoever has an address in these is one's own machine, or a colleague's at the next desk: no bill
# comes from there, and a big load is what such a server is measured for.
_PRIVATE = [
    ipaddress.ip_network(network)
    for network in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
        "::1/128", "fc00::/7", "fe80::/10",
    )
]  # fmt: skip


def is_near(host: str) -> bool:
    """Tell whether a host is in one's own network.

    Loopback, private and link-local addresses are, names under ``.local``, and names without a dot,
    which only the own network (or a container's) can resolve. A public name that leads to a private
    address is not: it is not looked up.
    """
    host = host.rstrip(".")
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        number = host[:1].isdigit()  # the system takes 134744072 for 8.8.8.8
        return ("." not in host and not number) or host.endswith((".local", ".localhost"))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_unspecified or any(address in network for network in _PRIVATE)
