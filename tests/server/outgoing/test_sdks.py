"""The vendors' libraries on the guarded client: what is refused is found behind their errors, and bounds hold whatever they ask for."""

import httpx2
import pytest

from server.config import load_settings
from server.outgoing.client import make_client
from server.outgoing.errors import MAX_CAUSES, Reason, RefusedAddress, refusal_in
from tests.support.upstream import PRIVATE, answered, upstream


async def test_openai_s_error_comes_from_the_refusal() -> None:
    import openai

    async with upstream() as canary, make_client(load_settings()) as client:
        vendor = openai.AsyncOpenAI(api_key="sk-canary", base_url=f"https://127.0.0.1:{canary.port}/v1", http_client=client, max_retries=0)
        with pytest.raises(openai.APIConnectionError) as error:
            await vendor.models.list()
        refusal = refusal_in(error.value)
        assert refusal is not None
        assert refusal.reason is Reason.PORT
        assert canary.connections == 0


async def test_anthropic_s_error_comes_from_the_refusal() -> None:
    import anthropic

    async with upstream() as canary, make_client(load_settings()) as client:
        vendor = anthropic.AsyncAnthropic(
            api_key="sk-canary", base_url=f"http://127.0.0.1:{canary.port}", http_client=client, max_retries=0
        )
        with pytest.raises(anthropic.APIConnectionError) as error:
            await vendor.models.list()
        refusal = refusal_in(error.value)
        assert refusal is not None
        assert refusal.reason is Reason.SCHEME
        assert canary.connections == 0


async def test_a_redirect_is_not_followed_for_them_either() -> None:
    import openai

    async with upstream() as host, upstream(PRIVATE) as elsewhere:
        host.answer = answered(b"", f"Location: http://{PRIVATE}:{elsewhere.port}/", status="307 Temporary Redirect")
        settings = load_settings(model_hosts=f"127.0.0.1:{host.port},{PRIVATE}:{elsewhere.port}")
        async with make_client(settings) as client:
            vendor = openai.AsyncOpenAI(api_key="sk-canary", base_url=f"http://127.0.0.1:{host.port}/v1", http_client=client, max_retries=0)
            with pytest.raises(openai.APIConnectionError):
                await vendor.models.list()
        assert (len(host.requests), elsewhere.connections) == (1, 0)


def test_an_error_of_something_else_comes_from_no_refusal() -> None:
    assert refusal_in(httpx2.ConnectError("down")) is None
    loop = ValueError()
    loop.__cause__ = loop
    assert refusal_in(loop) is None


def test_a_refusal_is_found_behind_several_errors() -> None:
    error: BaseException = RefusedAddress(Reason.PRIVATE)
    for _ in range(MAX_CAUSES - 1):
        outer = RuntimeError()
        outer.__cause__ = error
        error = outer
    found = refusal_in(error)
    assert found is not None
    assert found.reason == "private"
