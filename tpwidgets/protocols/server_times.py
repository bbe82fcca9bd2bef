"""What a server says of its own times, in the body or in the headers, in milliseconds.

Servers name the same spans differently and count in s, ms or ns. What is read here is documented
by its server, unit included; anything else, and every value that can't be a duration, is left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

_MAX_MS = 86_400_000.0
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_S, _MS, _NS = 1e3, 1.0, 1e-6


@dataclass(slots=True)
class ServerTimes:
    """Spans of one request on the server's clock; None where it doesn't tell."""

    server_queue_ms: float | None = None
    """Received → scheduled."""
    server_prefill_ms: float | None = None
    """Scheduled → first token."""
    server_decode_ms: float | None = None
    """First token → last token."""
    server_total_ms: float | None = None
    """The request as a whole, as the server counts it (Groq leaves the queue out)."""
    server_start_ms: float | None = None
    """Received → the answer begins. Headers are written before the first token, so this is all
    that a duration in them can be where the answer is streamed."""

    def note(self, times: "ServerTimes") -> None:
        """Take over what `times` knows."""
        for field in fields(ServerTimes):
            value = getattr(times, field.name)
            if value is not None:
                setattr(self, field.name, value)


_IN_S = {
    "queue_time": "server_queue_ms",
    "prompt_time": "server_prefill_ms",
    "completion_time": "server_decode_ms",
    "total_time": "server_total_ms",
}
_OLLAMA_IN_NS = {
    "prompt_eval_duration": "server_prefill_ms",
    "eval_duration": "server_decode_ms",
    "total_duration": "server_total_ms",
}
_BODY: tuple[tuple[tuple[str, ...], float, dict[str, str]], ...] = (
    # llama.cpp, tools/server/README.md: "timings" in the last chunk, unasked
    (("timings",), _MS, {"prompt_ms": "server_prefill_ms", "predicted_ms": "server_decode_ms"}),
    # vLLM, docs/features/per_request_metrics.md (--enable-per-request-metrics): the usage chunk;
    # its time_to_first_token_ms starts at scheduling, not at arrival
    (
        ("metrics",),
        _MS,
        {
            "queue_time_ms": "server_queue_ms",
            "time_to_first_token_ms": "server_prefill_ms",
            "generation_time_ms": "server_decode_ms",
        },
    ),
    # Groq, console.groq.com/docs/api-reference ("usage"); streamed, it is in x_groq as well
    (("usage",), _S, _IN_S),
    (("x_groq", "usage"), _S, _IN_S),
    # Cerebras, inference-docs.cerebras.ai/api-reference/chat-completions ("time_info")
    (("time_info",), _S, _IN_S),
    # SambaNova, docs.sambanova.ai, chat completion object: end_time - start_time
    (("usage",), _S, {"total_latency": "server_total_ms"}),
    # Ollama, docs/api.md; Open WebUI hands them on, backend/open_webui/utils/response.py
    ((), _NS, _OLLAMA_IN_NS),
    (("usage",), _NS, _OLLAMA_IN_NS),
)

_HEADERS: tuple[tuple[str, float, str], ...] = (
    # Text Generation Inference, router/src/server.rs: whole ms; only where it does not stream
    ("x-queue-time", _MS, "server_queue_ms"),
    ("x-total-time", _MS, "server_start_ms"),
    # OpenAI, API reference, "Debugging requests"; Azure sends it too
    ("openai-processing-ms", _MS, "server_start_ms"),
    # Fireworks, chat completions reference, perf_metrics_in_response: seconds
    ("fireworks-server-time-to-first-token", _S, "server_start_ms"),
    # proxies before the model server; the nearest to it first
    # Envoy, configuration/http/http_filters/router_filter (Anthropic, Azure, Mistral, …)
    ("x-envoy-upstream-service-time", _MS, "server_start_ms"),
    # Kong Gateway: ms until the upstream's headers
    ("x-kong-upstream-latency", _MS, "server_start_ms"),
    # LiteLLM, docs/proxy/response_headers
    ("x-litellm-response-duration-ms", _MS, "server_start_ms"),
)
_SERVER_TIMING = {
    "queue": "server_queue_ms",
    "prefill": "server_prefill_ms",
    "total": "server_start_ms",
}


def server_times_from_body(said: Mapping[str, Any]) -> ServerTimes:
    """Read the durations out of one event of an answer."""
    times = ServerTimes()
    for path, unit_ms, names in _BODY:
        place: Any = said
        for key in path:
            place = place.get(key) if isinstance(place, Mapping) else None
        if isinstance(place, Mapping):
            for name, field in names.items():
                _put(times, field, place.get(name), unit_ms)
    return times


def server_times_from_headers(headers: Mapping[str, str]) -> ServerTimes:
    """Read the durations out of a response's headers.

    Parameters
    ----------
    headers
        By lower-case name, or a mapping that doesn't mind case (`httpx.Headers`).
    """
    times = ServerTimes()
    for name, unit_ms, field in _HEADERS:
        _put(times, field, _number(headers.get(name)), unit_ms)
    # W3C Server Timing: "name;dur=12.3;desc=…, …"; dur in ms, names are the server's own
    for metric in (headers.get("server-timing") or "").split(","):
        name, *params = (part.strip().lower() for part in metric.split(";"))
        for param in params:
            key, _, value = param.partition("=")
            if key.strip() == "dur" and name in _SERVER_TIMING:
                _put(times, _SERVER_TIMING[name], _number(value.strip(' "')), _MS)
    return times


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text.strip()) else None


def _put(times: ServerTimes, field: str, value: Any, unit_ms: float) -> None:
    """Set a field that nobody has set, if the value can be a duration."""
    # compared before it is multiplied: JSON has integers that no float holds
    possible = type(value) in (int, float) and 0 <= value <= _MAX_MS / unit_ms
    if possible and getattr(times, field) is None:
        setattr(times, field, value * unit_ms)
