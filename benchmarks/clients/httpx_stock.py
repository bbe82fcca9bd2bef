"""httpx as its documentation shows it: one AsyncClient, `aiter_lines`."""

import asyncio
from typing import Any

import httpx

from . import Settings
from .control import Stream, closed_loop


async def main() -> None:
    settings = Settings.given()
    limits = httpx.Limits(
        max_connections=settings.streams, max_keepalive_connections=settings.streams
    )
    async with httpx.AsyncClient(limits=limits, timeout=600) as client:

        async def post(body: dict[str, Any]) -> Stream:
            stream = Stream()
            headers = {"x-request-id": stream.request_id}
            async with client.stream(
                "POST", f"{settings.url}/chat/completions", json=body, headers=headers
            ) as response:
                response.raise_for_status()
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        stream.event(line[6:])
            return stream

        (await closed_loop(settings, post)).save(settings.result)


if __name__ == "__main__":
    asyncio.run(main())
