"""What answers: the base URL, the models and the server behind an endpoint; servers on loopback."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from .endpoints import Endpoint, http_client
from .errors import EndpointError
from .refusals import masked, refusal, sentences, whole

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
    """The context length in tokens of the model that was chosen, where the server tells it."""
    contexts: dict[str, int] = field(default_factory=dict)
    """The context lengths that the model list tells."""
    unlisted: EndpointError | None = None
    """Why there is no model list, as the server puts it."""
    notes: list[str] = field(default_factory=list)


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
    unlisted: EndpointError | None = None
    for url, mended in tried:
        response = _ask(client, endpoint.at(url, "models"), endpoint, timeout_s, headers)
        if response.status_code == 200:
            found = _model_list(response)
            if found is not None:
                names, contexts, owner = found
                base = Base(url, names, _server(response, owner), contexts=contexts)
                if mended:
                    base.notes.append(f"the URL was mended ({mended}): {url}")
                if base.server == "llama.cpp":
                    base.context = _llama_context(client, url, endpoint, timeout_s, headers)
                return base
            continue
        refused = refusal(response, endpoint)
        if refused.kind == "auth" and not _keyless_list(response):
            raise refused
        unlisted = unlisted or refused
    # some servers list no models and serve all the same: the first request will tell
    return Base(tried[0][0], notes=["the server lists no models"], unlisted=unlisted)


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
    with http_client(endpoint, timeout_s) as client, masked(endpoint) as mask:
        return [mask(name) for name in find_base(client, endpoint, timeout_s).models]


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


def _model_list(response: "httpx.Response") -> tuple[list[str], dict[str, int], str] | None:
    """Return the models' names, their context lengths and who owns the first."""
    try:
        said = response.json()
    except (ValueError, RecursionError):
        return None
    rows = said.get("data", said.get("models")) if isinstance(said, dict) else said
    if not isinstance(rows, list):
        return None
    rows = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
    contexts = {}
    for row in rows:
        context = row.get("max_model_len") or row.get("context_length")
        if type(context) is int and context > 0:
            contexts[row["id"]] = context
    return [row["id"] for row in rows], contexts, str(rows[0].get("owned_by", "")) if rows else ""


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
    client: "httpx.Client", url: str, endpoint: Endpoint, timeout_s: float, headers: dict[str, str]
) -> int | None:
    root = urlsplit(url)._replace(path=urlsplit(url).path.removesuffix("/v1")).geturl()
    try:
        props = _ask(client, endpoint.at(root, "props"), endpoint, timeout_s, headers)
        found = props.json()["default_generation_settings"]["n_ctx"]
    except (EndpointError, ValueError, KeyError, TypeError, RecursionError):
        return None  # good to know, not more
    return found if type(found) is int and found > 0 else None


def _ask(
    client: "httpx.Client", url: str, endpoint: Endpoint, timeout_s: float, headers: dict[str, str]
) -> "httpx.Response":
    with (
        sentences(endpoint, timeout_s),
        client.stream("GET", url, headers=headers, timeout=timeout_s) as response,
    ):
        return whole(response, endpoint, timeout_s)
