"""What answers: the base URL, the models and the server behind an endpoint; servers on loopback."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from .endpoints import Endpoint, http_client
from .errors import EndpointError
from .refusals import refusal, sentences

if TYPE_CHECKING:
    import httpx

USUAL_PORTS = {8000: "vLLM", 8080: "llama.cpp", 11434: "Ollama", 1234: "LM Studio", 30000: "SGLang"}

_PATHS = ("/chat/completions", "/completions", "/models", "/messages", "/responses")


@dataclass
class Base:
    """A base URL that answers, and what its model list said."""

    url: str
    models: list[str] = field(default_factory=list)
    server: str = ""
    context: int | None = None
    """The context length in tokens, where the server tells it."""
    notes: list[str] = field(default_factory=list)


def at(base: str, path: str) -> str:
    """Return base/path, the base's query kept behind it (Azure's ``api-version`` stands there)."""
    parts = urlsplit(base)
    return urlunsplit(
        (parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{path}", parts.query, "")
    )


def candidates(url: str) -> list[tuple[str, str]]:
    """Return ``(base URL, what was mended)`` for a URL as people paste it, best first."""
    parts = urlsplit(url)
    path, notes = parts.path.rstrip("/"), []
    for tail in _PATHS:
        if path.endswith(tail):
            path = path.removesuffix(tail)
            notes.append(f"left out {tail}")
    while path.endswith("/v1/v1"):
        path = path.removesuffix("/v1")
        notes.append("left out a doubled /v1")
    paths = [(path, list(notes))]
    if not re.search(r"/v\d+[a-z0-9]*$", path):
        added = (f"{path}/v1", [*notes, "added /v1"])
        paths.insert(0 if not path else 1, added)
    return [
        (urlunsplit((parts.scheme, parts.netloc, p, parts.query, "")), ", ".join(n))
        for p, n in paths
    ]


def find_base(client: "httpx.Client", endpoint: Endpoint, timeout_s: float) -> Base:
    """Ask for the model list at the URL, with ``/v1`` mended where that helps.

    Raises
    ------
    EndpointError
        If nothing answers in time, TLS fails, or the key is missing or refused.
    """
    tried = candidates(endpoint.url)
    headers = endpoint.auth_headers()
    refused: EndpointError | None = None
    for url, mended in tried:
        response = _ask(client, "GET", at(url, "models"), endpoint, timeout_s, headers=headers)
        if response.status_code in (401, 403):
            refused = refusal(response, endpoint)
            if not _keyless_list(response):
                raise refused
        found = _model_list(response) if response.status_code == 200 else None
        if found is not None:
            names, context, owner = found
            base = Base(url, names, _server(response, owner), context)
            if mended:
                base.notes.append(f"the URL was mended ({mended}): {url}")
            if base.context is None and base.server == "llama.cpp":
                base.context = _llama_context(client, url, endpoint, timeout_s)
            return base
    # some servers list no models and serve all the same: the first request will tell
    return Base(*tried[0][:1], notes=["the server lists no models"])


def _keyless_list(response: "httpx.Response") -> bool:
    """Tell whether a 403 may concern the list alone (restricted keys may not read it)."""
    return response.status_code == 403 and b"scope" in response.content


def list_models(endpoint: Endpoint, timeout_s: float = 5.0) -> list[str]:
    """Return the names in the server's own ``/v1/models``; empty if it lists none.

    Raises
    ------
    EndpointError
        If nothing answers, or the key is missing or refused.
    """
    with http_client(endpoint, timeout_s) as client:
        return find_base(client, endpoint, timeout_s).models


def scan(ports: dict[int, str] | None = None, timeout_s: float = 0.5) -> list[tuple[str, Endpoint]]:
    """Return ``(label, endpoint)`` of the LLM servers found on loopback's usual ports."""

    def look(item: tuple[int, str]) -> tuple[str, Endpoint] | None:
        port, usual = item
        endpoint = Endpoint(f"http://127.0.0.1:{port}/v1")
        try:
            names = list_models(endpoint, timeout_s)
        except EndpointError as error:
            return (
                (f"127.0.0.1:{port} ({usual}, wants a key)", endpoint)
                if error.kind == "auth"
                else None
            )
        return (f"127.0.0.1:{port} ({names[0]})", endpoint) if names else None

    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="tpwidgets-scan") as pool:
        return [found for found in pool.map(look, (ports or USUAL_PORTS).items()) if found]


def _model_list(response: "httpx.Response") -> tuple[list[str], int | None, str] | None:
    try:
        said = response.json()
    except ValueError:
        return None
    rows = said.get("data", said.get("models")) if isinstance(said, dict) else said
    if not isinstance(rows, list):
        return None
    rows = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
    first = rows[0] if rows else {}
    context = first.get("max_model_len") or first.get("context_length")
    return (
        [row["id"] for row in rows],
        context if isinstance(context, int) else None,
        str(first.get("owned_by", "")),
    )


def _server(response: "httpx.Response", owner: str) -> str:
    said = f"{owner} {response.headers.get('server', '')}".lower()
    for name, words in {
        "tpwidgets": ("tpwidgets",),
        "vllm": ("vllm",),
        "sglang": ("sglang",),
        "llama.cpp": ("llamacpp", "llama.cpp"),
        "ollama": ("ollama",),
    }.items():
        if any(word in said for word in words):
            return name
    return str(response.headers.get("server", ""))


def _llama_context(
    client: "httpx.Client", url: str, endpoint: Endpoint, timeout_s: float
) -> int | None:
    props = _ask(client, "GET", at(url.removesuffix("/v1"), "props"), endpoint, timeout_s)
    try:
        found = props.json()["default_generation_settings"]["n_ctx"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) else None


def _ask(
    client: "httpx.Client",
    method: str,
    url: str,
    endpoint: Endpoint,
    timeout_s: float,
    **kwargs: Any,
) -> "httpx.Response":
    with sentences(endpoint, timeout_s):
        return client.request(method, url, timeout=timeout_s, **kwargs)
