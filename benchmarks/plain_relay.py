"""A server that passes calls of models on and does nothing else: `python -m benchmarks.plain_relay <port of the provider>` prints its port.

Written as the vendor's SDK and Starlette show it: nobody is authenticated, no key is looked up, nothing is limited, counted or stored. What
it takes more than a call straight to the provider is what any server in Python takes here.
"""

import json
import socket
import sys
from collections.abc import AsyncIterator

import httpx2
import openai
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


def relay(provider_port: int) -> Starlette:
    """The application."""
    client = httpx2.AsyncClient(trust_env=False, timeout=60)
    sdk = openai.AsyncOpenAI(api_key="unused", base_url=f"http://127.0.0.1:{provider_port}/v1", http_client=client, max_retries=0)

    async def optimize(request: Request) -> Response:
        asked = await request.json()
        return StreamingResponse(events(asked["model_config_id"], asked["text"]), media_type="text/event-stream")

    async def events(model: str, text: str) -> AsyncIterator[str]:
        async for chunk in await sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], stream=True):
            for choice in chunk.choices:
                yield f"event: token\ndata: {json.dumps({'text': choice.delta.content or ''})}\n\n"

    return Starlette(routes=[Route("/api/optimize", optimize, methods=["POST"])])


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(relay(int(sys.argv[1])), log_level="warning", loop="uvloop", http="httptools")
    uvicorn.Server(config).run(sockets=[listener])
