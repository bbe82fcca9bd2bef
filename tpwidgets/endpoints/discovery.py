"""What answers: the base URL, the models and the server behind an endpoint; servers on loopback."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import addresses
from ..errors import EndpointError
from ..protocols import PROTOCOLS, WireProtocol
from .endpoint import Endpoint, http_client
from .refusals import masked, refusal, sentences, whole
from .servers import Server, identify

if TYPE_CHECKING:
    import httpx

USUAL_PORTS = {8000: "vLLM", 8080: "llama.cpp", 11434: "Ollama", 1234: "LM Studio", 30000: "SGLang"}

_USUAL = next(iter(PROTOCOLS.values()))
_CURIOUS_S = 3.0
"""How long, at most, a server may take to tell what it is."""
_CONTEXTS = (
    *("max_model_len", "loaded_context_length", "context_length", "max_context_length"),
    *("context_window", "inputTokenLimit", "max_input_tokens"),
)
_BETRAY = "server", "x-litellm-version"


@dataclass
class Base:
    """A base URL that answers, and what its model list said."""

    url: str
    mended: str = ""
    """What is other than in the URL that was given."""
    protocol: WireProtocol | None = None
    """The protocol that the settings or the URL name, or whose model list answered."""
    models: list[str] = field(default_factory=list)
    complete: bool = True
    """Whether a model that isn't listed is none of the server's."""
    contexts: dict[str, int] = field(default_factory=dict)
    """The context lengths that the model list tells."""
    unlisted: EndpointError | None = None
    """Why there is no model list, as the server puts it."""
    betrayed: str = ""
    """What the headers and the list betray about the server."""
    server: Server = field(default_factory=Server)
    context: int | None = None
    """The context length in tokens of the model that was chosen, where it is told."""
    notes: list[str] = field(default_factory=list)


def find_base(client: "httpx.Client", endpoint: Endpoint, timeout_s: float) -> Base:
    """Ask for the model list at the URL, mended where that helps.

    Raises
    ------
    EndpointError
        If nothing answers in time, TLS fails, or the key is missing or refused.
    """
    address = addresses.read(endpoint.url)
    named = PROTOCOLS[endpoint.protocol] if endpoint.protocol else address.protocol
    protocol = named or _USUAL
    tries = [(*at, protocol) for at in addresses.candidates(endpoint.url, protocol)]
    base = Base(*tries[0])
    base.protocol = named
    if address.model and addresses.is_azure(endpoint.url):
        return base  # a deployment has no list
    if named is None and not addresses.is_public(endpoint.url):
        others = [p for p in PROTOCOLS.values() if p.models != protocol.models]
        tries += [(*addresses.candidates(endpoint.url, p)[0], p) for p in others[:1]]
    for url, mended, asked in tries:
        headers = endpoint.auth_headers(asked)
        response = _ask(client, endpoint.at(url, asked.models), endpoint, timeout_s, headers)
        if response.status_code == 200:
            found = Base(url, mended, named if asked is protocol else asked)
            if _read_list(response, found):
                return found
            continue
        refused = refusal(response, endpoint)
        if refused.kind == "auth" and not _keyless_list(response):
            raise refused
        base.unlisted = base.unlisted or refused
    # some servers list no models and serve all the same: the first request will tell
    base.notes.append("the server lists no models")
    return base


def look_at(client: "httpx.Client", base: Base, endpoint: Endpoint, timeout_s: float) -> None:
    """Note which software answers, but ask no public API: it has nothing of that kind to tell."""
    if addresses.is_public(endpoint.url):
        return
    headers = endpoint.auth_headers(base.protocol or _USUAL)
    root, limit_s = addresses.root(base.url), min(_CURIOUS_S, timeout_s)

    def ask(path: str) -> Any:
        try:
            response = _ask(client, endpoint.at(root, path), endpoint, limit_s, headers)
            return response.json() if response.status_code == 200 else None
        except (EndpointError, ValueError, RecursionError):
            return None  # good to know, not more

    base.server = identify(base.betrayed, ask)
    base.context = base.server.context


def _keyless_list(response: "httpx.Response") -> bool:
    """Tell whether a 403 may concern the list alone (restricted keys may not read it)."""
    return response.status_code == 403 and b"scope" in response.content


def list_models(endpoint: Endpoint, timeout_s: float = 5.0) -> list[str]:
    """Return the names in the server's own list of models; empty if it lists none.

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


def _read_list(response: "httpx.Response", base: Base) -> bool:
    """Note what a model list says: ``data`` or ``models``, with rows of many kinds."""
    try:
        said = response.json()
    except (ValueError, RecursionError):
        return False
    paged = False
    if isinstance(said, dict):
        paged = bool(said.get("has_more") or said.get("nextPageToken"))
        listed = [said[name] for name in ("data", "models") if name in said]
        said = (listed[0] or []) if listed else None
    if not isinstance(said, list):
        return False
    owner = ""
    for row in said:
        name = _name(row)
        if name is None:
            continue
        owner = owner or str(row.get("owned_by", ""))
        base.models.append(name)
        lengths = [row[key] for key in _CONTEXTS if type(row.get(key)) is int and row[key] > 0]
        if lengths:
            base.contexts[name] = lengths[0]
    # a proxy's list may have patterns, a public API's leaves out what models are called besides
    base.complete = not (
        paged or any("*" in name for name in base.models) or addresses.is_public(base.url)
    )
    base.betrayed = " ".join(
        [owner, *(f"{n} {response.headers[n]}" for n in _BETRAY if n in response.headers)]
    )
    return True


def _name(row: Any) -> str | None:
    """Return what a row of a list calls its model: OpenAI's ``id``, Ollama's and Gemini's name."""
    if not isinstance(row, dict):
        return None
    name = row.get("id", row.get("name"))
    return name.removeprefix("models/") if isinstance(name, str) and name else None


def _ask(
    client: "httpx.Client", url: str, endpoint: Endpoint, timeout_s: float, headers: dict[str, str]
) -> "httpx.Response":
    with (
        sentences(endpoint, timeout_s),
        client.stream("GET", url, headers=headers, timeout=timeout_s) as response,
    ):
        return whole(response, endpoint, timeout_s)
