"""What software answers, in which version, with which context: by what it tells about itself."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

_Dig = Callable[[Any], Any]


@dataclass(frozen=True)
class Server:
    """What is known about the software behind an endpoint."""

    name: str = ""
    version: str = ""
    context: int | None = None
    """The context length in tokens, where the server tells it."""


@dataclass(frozen=True)
class _Kind:
    """A kind of server, and where it tells about itself; each value raises if it isn't there."""

    name: str
    path: str
    words: tuple[str, ...] = ()
    """What betrays it in the model list's ``owned_by`` and in the ``server`` header."""
    proof: _Dig | None = None
    """What nobody else has there; None: the answer alone doesn't prove it."""
    version: _Dig = lambda said: said["version"]
    context: _Dig = lambda _: None


def _lm_studio_context(said: Any) -> Any:
    rows = [row for row in said["data"] if row.get("state", "loaded") == "loaded"]
    return rows[0].get("loaded_context_length") or rows[0]["max_context_length"]


_KINDS = (
    _Kind("tpwidgets", "version", ("tpwidgets",)),
    _Kind("sglang", "server_info", ("sglang",), lambda said: said["max_total_num_tokens"]),
    _Kind("sglang", "get_server_info", ("sglang",), lambda said: said["max_total_num_tokens"]),
    _Kind("vllm", "version", ("vllm",)),
    _Kind(
        "llama.cpp", "props", ("llamacpp", "llama.cpp"),
        lambda said: said["default_generation_settings"],
        lambda said: said["build_info"],
        lambda said: said["default_generation_settings"]["n_ctx"],
    ),
    _Kind("ollama", "api/version", ("ollama", "library"), lambda said: said["version"]),
    _Kind(
        "TGI", "info", (), lambda said: (said["model_id"], said["max_total_tokens"]),
        context=lambda said: said["max_total_tokens"],
    ),
    _Kind(
        "TEI", "info", (), lambda said: (said["model_id"], said["max_input_length"]),
        context=lambda said: said["max_input_length"],
    ),
    _Kind(
        "LM Studio", "api/v0/models", ("organization_owner", "organization-owner"),
        lambda said: said["data"][0]["max_context_length"],
        lambda _: "",
        _lm_studio_context,
    ),
    _Kind(
        "LiteLLM", "health/liveliness", ("litellm",), lambda said: {"I'm alive!": True}[said],
        lambda _: "",  # its answers have that in a header
    ),
)  # fmt: skip


def identify(betrayed: str, ask: Callable[[str], Any]) -> Server:
    """Find out what answers.

    Parameters
    ----------
    betrayed : str
        What the model list and the headers say about who serves.
    ask : callable
        Returns the JSON at a path below the server's root, or None; called from several threads.
        Where nothing betrays the server it is asked for all paths at once, else for its own.
    """
    said = betrayed.lower()
    likely = [kind for kind in _KINDS if any(word in said for word in kind.words)]
    kinds = [kind for kind in likely if kind.name == likely[0].name] or [
        kind for kind in _KINDS if kind.proof is not None
    ]
    paths = list(dict.fromkeys(kind.path for kind in kinds))
    with ThreadPoolExecutor(max_workers=len(paths), thread_name_prefix="tpwidgets-ask") as pool:
        answers = dict(zip(paths, pool.map(ask, paths), strict=True))
    for kind in kinds:
        answer = answers[kind.path]
        if _value(kind.proof or kind.version, answer) is not None:
            version, context = _value(kind.version, answer), _value(kind.context, answer)
            return Server(
                kind.name,
                version if isinstance(version, str) else "",
                context if type(context) is int and context > 0 else None,
            )
    return Server(likely[0].name if likely else "")


def told_by(headers: Mapping[str, str], known: Server) -> Server:
    """Return what the headers of an answer tell besides what is known: LiteLLM's version."""
    version = headers.get("x-litellm-version")
    return Server("LiteLLM", version, known.context) if version else known


def _value(dig: _Dig, said: Any) -> Any:
    try:
        return dig(said)
    except (LookupError, TypeError, AttributeError):
        return None
