"""aiohttp in the shape of ``vllm bench serve``: chunks as they come, split into SSE messages."""

import asyncio
from typing import Any

import aiohttp

from . import Settings
from .control import Stream, closed_loop


async def main() -> None:
    settings = Settings.given()
    connector = aiohttp.TCPConnector(
        limit=settings.streams, limit_per_host=settings.streams, keepalive_timeout=60
    )
    timeout = aiohttp.ClientTimeout(total=6 * 60 * 60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def post(body: dict[str, Any]) -> Stream:
            stream = Stream()
            headers = {"x-request-id": stream.request_id}
            buffer = ""
            async with session.post(
                f"{settings.url}/chat/completions", json=body, headers=headers
            ) as response:
                response.raise_for_status()
                async for chunk in response.content.iter_any():
                    buffer += chunk.decode()
                    while "\n\n" in buffer:
                        message, buffer = buffer.split("\n\n", 1)
                        stream.event(message.strip().removeprefix("data: "))
            return stream

        (await closed_loop(settings, post)).save(settings.result)


if __name__ == "__main__":
    asyncio.run(main())
