"""What is taken for a secret, and what is not."""

from typing import Any

import pytest
from hypothesis import given

from server.transfer.secrets import is_secret, url_without_secrets, without_secrets
from tests.server.transfer.libraries import VALUES


@pytest.mark.parametrize(
    "name",
    ["apiKey", "api_key", "API-KEY", "x-api-key", "openai_api_key", "authorization", "Proxy-Authorization", "accessToken", "token",
     "refresh_token", "X-Auth-Token", "secret", "client_secret", "secretKey", "password", "passwd", "headers", "customHeaders", "cookie",
     "extra_headers", "bearer", "credentials", "privateKey", "x-goog-api-key", "auth", "accessKeyId", "passphrase"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["max_tokens", "maxTokens", "prompt_tokens", "completion_tokens", "stop_token", "eos_token", "keywords", "keyboard", "monkey",
     "modelKey", "labelKey", "author", "authority", "header", "temperature", "key", "tokens", "", "密钥"],
)  # fmt: skip
def test_names_of_what_is_none(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    "key",
    ["sk-0123456789abcdef0123", "sk-proj-abc_DEF-0123456789", "AIzaSyA-0123456789_abcdefghij", "ghp_0123456789abcdefABCD",
     "gsk_0123456789abcdefABCD", "xai-0123456789abcdefABCD", "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig",
     "Bearer 0123456789", "at 1 use sk-0123456789abcdef01"],
)  # fmt: skip
def test_keys_are_known_wherever_they_stand(key: str) -> None:
    assert without_secrets({"note": key, "list": [1, key], "ok": "ask-me"}) == ({"list": [1, None], "ok": "ask-me"}, ["note", "list/1"])
    assert url_without_secrets(f"https://x.example/{key}/v1") == ("", ["address"])


@given(value=VALUES)
def test_what_has_no_secret_stays_as_it_is(value: Any) -> None:
    assert without_secrets(value) == (value, [])


@given(value=VALUES)
def test_whatever_a_secret_is_it_goes_unless_it_says_nothing(value: Any) -> None:
    kept, places = without_secrets({"deep": [{"apiKey": value, "beside": 1}]})
    if value is None or isinstance(value, bool):
        assert (kept, places) == ({"deep": [{"apiKey": value, "beside": 1}]}, [])
    else:
        assert (kept, places) == ({"deep": [{"beside": 1}]}, ["deep/0/apiKey"])


@pytest.mark.parametrize(
    ("url", "kept", "cut"),
    [
        ("https://api.example/v1", "https://api.example/v1", []),
        ("https://api.example/v1?region=eu&x=", "https://api.example/v1?region=eu&x=", []),
        ("https://me:pw@api.example:8443/v1#x", "https://api.example:8443/v1#x", ["user"]),
        ("https://api.example/v1?key=abc&region=eu&api_key=d", "https://api.example/v1?region=eu", ["key", "api_key"]),
        ("https://[broken@x", "", ["address"]),
        ("https://[broken", "https://[broken", []),
        ("", "", []),
        ("localhost:11434", "localhost:11434", []),
    ],
)
def test_addresses_lose_what_is_secret_in_them(url: str, kept: str, cut: list[str]) -> None:
    assert url_without_secrets(url) == (kept, cut)
