"""The simulated endpoints, as data. Each figure says where it comes from.

"Chosen" marks a figure that no source gives: it was set so that what a client sees comes out as
the neighbouring sources say.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """Token buckets, as hosted APIs keep them."""

    requests_per_minute: float
    tokens_per_minute: float
    """Prompt tokens plus the output tokens asked for."""
    burst_s: float
    """How many seconds' worth an idle bucket holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Shares of the requests that go wrong, and how."""

    error: float = 0.0
    """Answered with HTTP 500."""
    cut: float = 0.0
    """Connection closed in mid-stream."""
    stall: float = 0.0
    """Nothing for `stall_s` in mid-stream, then everything at once."""
    stall_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One simulated endpoint.

    A step of its engine takes ``fixed_ms + per_sequence_ms × batch + per_kv_token_ms × Σ context
    + prefill tokens / prefill_rate``.
    """

    name: str
    model: str
    description: str
    """One sentence in plain words."""
    max_model_len: int
    fixed_ms: float
    per_sequence_ms: float
    per_kv_token_ms: float
    prefill_rate: float
    """Prompt tokens per second."""
    step_tokens: int
    """The most tokens that a step takes on; longer prompts are prefilled in chunks."""
    max_sequences: int
    kv_tokens: int
    cache_tokens: int
    """Size of the prefix cache; 0 for none."""
    front_ms: float
    """What a request spends before it reaches the engine's queue: network, front end, routing."""
    front_sigma: float
    noise_sigma: float = 0.03
    reasoning_share: float = 0.0
    """The part of the output that is reasoning, and comes first."""
    rate_limit: RateLimit | None = None
    faults: Faults = Faults()
    price_hour: float | None = None
    """USD per replica and hour; None if it is paid by the token."""
    replicas: int = 1
    price_input: float | None = None
    """USD per 1M prompt tokens."""
    price_output: float | None = None
    """USD per 1M output tokens."""
    sources: Mapping[str, str] = field(repr=False)
    """Field → where its figure comes from."""


_VLLM_LLAMA_70B = Profile(
    name="vllm-llama-70b",
    model="llama-3.3-70b",
    description="A 70B model on your own server of four H100 GPUs, served by vLLM.",
    max_model_len=32_768,
    fixed_ms=21.5,
    per_sequence_ms=0.04,
    per_kv_token_ms=0.00005,
    prefill_rate=16_000,
    step_tokens=8192,
    max_sequences=256,
    kv_tokens=400_000,
    cache_tokens=200_000,
    front_ms=50,
    front_sigma=0.15,
    price_hour=10.0,
    sources={
        "fixed_ms": "141 GB of BF16 weights over 4 x 3.35 TB/s (NVIDIA H100 SXM data sheet) are"
        " 10.5 ms; at half the peak, as tensor parallelism leaves it, 21 ms: 45 tokens/s alone",
        "per_sequence_ms": "chosen: sampling, detokenising and scheduling per sequence",
        "per_kv_token_ms": "80 layers x 8 KV heads x 128 x 2 x 2 B = 328 kB per token, at half of"
        " 13.4 TB/s",
        "prefill_rate": "141 GFLOP per token at 57 % of 4 x 989 TFLOPS (BF16, dense)",
        "step_tokens": "vLLM's max_num_batched_tokens, by default 8192 on GPUs of this size",
        "max_sequences": "vLLM's --max-num-seqs, set to 256",
        "kv_tokens": "0.9 x 320 GB less the weights and activations, at 328 kB per token",
        "cache_tokens": "chosen: half of the KV cache",
        "front_ms": "chosen: TTFT near 90 ms for 256 tokens on an idle server",
        "front_sigma": "chosen",
        "max_model_len": "chosen: a common --max-model-len for this model",
        "price_hour": "chosen: four H100 at 2.50 USD per hour, a usual on-demand price in 2025",
    },
)

_GPT_4_API = Profile(
    name="gpt-4-api",
    model="gpt-4o-simulated",
    description="A hosted GPT-4 class API: quick and steady for each user, limited per minute,"
    " paid by the token.",
    max_model_len=128_000,
    fixed_ms=9.8,
    per_sequence_ms=0.002,
    per_kv_token_ms=0.0,
    prefill_rate=400_000,
    step_tokens=65_536,
    max_sequences=2048,
    kv_tokens=16_000_000,
    cache_tokens=1_000_000,
    front_ms=430,
    front_sigma=0.2,
    noise_sigma=0.05,
    rate_limit=RateLimit(requests_per_minute=5000, tokens_per_minute=800_000, burst_s=2.0),
    price_input=2.50,
    price_output=10.00,
    sources={
        "fixed_ms": "about 100 tokens/s per request: output speed of GPT-4o class APIs as published"
        " by Artificial Analysis (80 to 140 tokens/s)",
        "per_sequence_ms": "chosen: next to nothing, since a fleet absorbs one customer's load",
        "per_kv_token_ms": "chosen: the fleet hides it",
        "prefill_rate": "chosen: a fleet, of which one customer's prompts take little",
        "step_tokens": "chosen: the fleet's, so that one customer doesn't meet it",
        "max_sequences": "chosen: the rate limit bites first",
        "kv_tokens": "chosen: the rate limit bites first",
        "cache_tokens": "chosen",
        "front_ms": "TTFT of 0.4 to 0.5 s as published by Artificial Analysis for GPT-4o",
        "front_sigma": "chosen: p95 about 1.4 times the median",
        "max_model_len": "OpenAI's model page for GPT-4o",
        "rate_limit": "OpenAI's tier 3 for GPT-4o: 5000 RPM, 800k TPM; OpenAI enforces them over"
        " shorter periods than a minute (platform.openai.com/docs/guides/rate-limits): 2 s, chosen",
        "price_input": "OpenAI's price list for GPT-4o, 2025",
        "price_output": "OpenAI's price list for GPT-4o, 2025",
    },
)

_LAPTOP_8B = Profile(
    name="laptop-8b",
    model="llama-3.1-8b-q4",
    description="An 8B model on a laptop, served by llama.cpp to at most four users at a time.",
    max_model_len=8192,
    fixed_ms=42.0,
    per_sequence_ms=6.0,
    per_kv_token_ms=0.001,
    prefill_rate=225,
    step_tokens=512,
    max_sequences=4,
    kv_tokens=32_768,
    cache_tokens=32_768,
    front_ms=5,
    front_sigma=0.2,
    price_hour=0.02,
    sources={
        "fixed_ms": "Llama 3.1 8B Q4_K_M on an Apple M4 with llama.cpp: tg128 20.87 tokens/s"
        " (github.com/brand-o/normiebench/issues/3); most of a step is reading the weights",
        "per_sequence_ms": "chosen: the rest of those 48 ms",
        "per_kv_token_ms": "32 layers x 8 KV heads x 128 x 2 x 2 B = 131 kB per token over 120 GB/s"
        " (Apple M4)",
        "prefill_rate": "the same source: pp512 224.8 tokens/s",
        "step_tokens": "llama.cpp's default micro-batch (--ubatch-size 512)",
        "max_sequences": "llama-server --parallel 4",
        "kv_tokens": "four slots of 8192 tokens",
        "cache_tokens": "llama-server keeps each slot's prompt",
        "front_ms": "chosen: a local socket and the chat template",
        "front_sigma": "chosen",
        "max_model_len": "llama-server --ctx-size 32768 over four slots",
        "price_hour": "60 W at 0.30 USD per kWh",
    },
)

_REASONING_API = Profile(
    name="reasoning-api",
    model="reasoner",
    description="A hosted reasoning model: it thinks aloud before it answers, and bills both.",
    max_model_len=65_536,
    fixed_ms=16.0,
    per_sequence_ms=0.01,
    per_kv_token_ms=0.0,
    prefill_rate=300_000,
    step_tokens=32_768,
    max_sequences=1024,
    kv_tokens=8_000_000,
    cache_tokens=1_000_000,
    front_ms=700,
    front_sigma=0.2,
    noise_sigma=0.05,
    reasoning_share=0.6,
    price_input=0.55,
    price_output=2.19,
    sources={
        "fixed_ms": "chosen: about 60 tokens/s, between slow and quick hosts of DeepSeek-R1",
        "per_sequence_ms": "chosen: a fleet absorbs one customer's load",
        "per_kv_token_ms": "chosen: the fleet hides it",
        "prefill_rate": "chosen: a fleet, of which one customer's prompts take little",
        "step_tokens": "chosen",
        "max_sequences": "chosen",
        "kv_tokens": "chosen",
        "cache_tokens": "chosen",
        "front_ms": "chosen: TTFT near 0.7 s",
        "front_sigma": "chosen",
        "max_model_len": "DeepSeek's API documentation for deepseek-reasoner (64k), 2025",
        "reasoning_share": "chosen: more thought than answer",
        "price_input": "DeepSeek's price list for R1 at its release, January 2025",
        "price_output": "DeepSeek's price list for R1 at its release, January 2025",
    },
)

_FLAKY_API = Profile(
    name="flaky-api",
    model="flaky",
    description="A hosted API on a bad day: some requests fail, break off or hang for seconds.",
    max_model_len=32_768,
    fixed_ms=15.0,
    per_sequence_ms=0.05,
    per_kv_token_ms=0.0,
    prefill_rate=20_000,
    step_tokens=8192,
    max_sequences=256,
    kv_tokens=2_000_000,
    cache_tokens=200_000,
    front_ms=250,
    front_sigma=0.4,
    noise_sigma=0.08,
    faults=Faults(error=0.02, cut=0.02, stall=0.02, stall_s=5.0),
    price_input=0.50,
    price_output=1.50,
    sources={
        "fixed_ms": "chosen: about 65 tokens/s",
        "per_sequence_ms": "chosen",
        "per_kv_token_ms": "chosen",
        "prefill_rate": "chosen",
        "step_tokens": "chosen",
        "max_sequences": "chosen",
        "kv_tokens": "chosen",
        "cache_tokens": "chosen",
        "front_ms": "chosen: TTFT near 0.3 s",
        "front_sigma": "chosen: a long tail",
        "max_model_len": "chosen",
        "faults": "chosen: a hundred requests are enough to see each kind",
        "price_input": "chosen",
        "price_output": "chosen",
    },
)

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (_VLLM_LLAMA_70B, _GPT_4_API, _LAPTOP_8B, _REASONING_API, _FLAKY_API)
}

METRONOME = Profile(
    name="metronome",
    model="metronome",
    description="A token every 10 ms for everybody, at once: to check the measuring side.",
    max_model_len=1_000_000,
    fixed_ms=10.0,
    per_sequence_ms=0.0,
    per_kv_token_ms=0.0,
    prefill_rate=1e12,
    step_tokens=1_000_000,
    max_sequences=10_000,
    kv_tokens=1_000_000_000,
    cache_tokens=0,
    front_ms=50.0,
    front_sigma=0.0,
    noise_sigma=0.0,
    sources={},
)
"""No endpoint to learn from, hence not among the `PROFILES`; see `selfcheck`."""
