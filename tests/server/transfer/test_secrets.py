"""What is cut out of a file's items, and what is not."""

import json
import time
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.transfer.json_text import MAX_DEPTH, TooDeep
from server.transfer.secrets import content_without_secrets, setting_without_secrets, variable_without_secret, without_secrets

KEY = "canary-4f1d9c2e7b80"


def cut(item: Any, **options: Any) -> tuple[Any, list[tuple[str, str]]]:
    found: list[tuple[str, str]] = []
    kept = without_secrets(item, "m", lambda place, kind: found.append((place, kind)), **options)
    assert KEY not in str(kept)
    assert KEY not in str(found)
    return kept, found


NAMES = (
    "apiKey",
    "api_key",
    "API-KEY",
    "apikey",
    "key",
    "xApiKey",
    "x-api-key",
    "accessKey",
    "access_key_id",
    "secretKey",
    "secret",
    "clientSecret",
    "client_secret",
    "privateKey",
    "token",
    "accessToken",
    "refresh_token",
    "authToken",
    "bearer",
    "Authorization",
    "authorization",
    "auth",
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "credential",
    "credentials",
    "cookie",
    "sessionToken",
    "subscriptionKey",
    "Ocp-Apim-Subscription-Key",
    "openaiKey",
    "apiKey2",
    "signature",
    "apiKey2",
    "apiKeyValue",
    "adminToken",
    "minimaxToken",
    "maxToken",
    "basicAuth",
    "userPass",
    "secretId",
    "ak",
    "API密钥",
    "密码",
)
HARMLESS = (
    "modelKey",
    "max_tokens",
    "maxTokens",
    "max_completion_tokens",
    "tokens",
    "thinkingBudgetTokens",
    "subModeKey",
    "modeKey",
    "labelKey",
    "stop",
    "monkey_business",
    "tokenizer",
    "keyboard",
    "authorName",
    "secretary",
    "baseURL",
    "passes",
    "requestStyle",
    "stop_token_count",
    "compass",
    "密码长度",
)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_called_like_a_secret_goes_from_a_configuration(name: str) -> None:
    for value in (KEY, [KEY], {"a": KEY}):
        kept, found = cut({"connectionConfig": {name: value, "baseURL": "https://a.example"}})
        assert kept == {"connectionConfig": {"baseURL": "https://a.example"}}
        assert [place for place, _ in found] == [f"m/connectionConfig/{name}"]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_only_called_similarly_stays(name: str) -> None:
    item = {name: "https://a.example/v1", "params": {name: 5}}
    assert cut(item) == (item, [])


@pytest.mark.parametrize("name", ["headers", "customHeaders", "extra_headers", "defaultHeaders", "header", "HTTP-Headers"])
def test_all_values_of_headers_go(name: str) -> None:
    kept, found = cut({name: {"x-route": KEY, "x-empty": ""}, "params": {name: [{"name": "a", "value": KEY}]}})
    assert kept == {"params": {}}
    assert ("m/headers/x-route".replace("headers", name), "header") in found
    assert all(kind == "header" for _, kind in found)


@pytest.mark.parametrize(
    "text",
    [
        "sk-abcdefghijklmnop",
        "note: sk-proj-abcdefghijkl",
        "AIzaSyA1234567890abcdefghijklmnop",
        "gsk_abcdefghijklmnopqrst",
        "Bearer abcdefghijk",
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2",
        "AKIAIOSFODNN7EXAMPLE",
        "0123456789abcdef0123456789abcdef.AbCdEfGhIjKlMnOp",
        "github_pat_11AAAAAAA0123456789",
        "Basic dXNlcjpwYXNzd29yZA==",
    ],
)
def test_what_looks_like_a_key_goes_wherever_it_stands(text: str) -> None:
    assert cut({"name": "n", "notes": [text, "ok"]}) == ({"name": "n", "notes": ["ok"]}, [("m/notes/0", "looks_like_a_key")])


@pytest.mark.parametrize(
    ("address", "left"),
    [
        (f"https://me:{KEY}@a.example:8443/v1", "https://a.example:8443/v1"),
        (f"https://a.example/v1?key={KEY}&v=1", "https://a.example/v1?v=1"),
        (f"https://a.example/?api-version=2&access_token={KEY}#x", "https://a.example/?api-version=2#x"),
        (f"https://a.example/#access_token={KEY}&state=x", "https://a.example/#state=x"),
        (f"//me:{KEY}@a.example/v1", "//a.example/v1"),
        (f"socks5://me:{KEY}@a.example:1080", "socks5://a.example:1080"),
        (f"HTTPS://a.example/?sig={KEY}&subscription-key={KEY}", "https://a.example/"),
        (f"wss://a.example/v1?token={KEY}", "wss://a.example/v1"),
        (f"postgres://me:{KEY}@db.example/x", "postgres://db.example/x"),
        (f"https://a.example/cb#access_token={KEY}&state=1", "https://a.example/cb#state=1"),
        (f"at https://me:{KEY}@a.example/v1", "at https://a.example/v1"),
    ],
)
def test_an_address_loses_its_password_and_its_keys(address: str, left: str) -> None:
    kept, found = cut({"baseURL": address})
    assert kept["baseURL"].lower() == left
    assert found == [("m/baseURL", "address")]


def test_an_address_without_secrets_stays_as_it_is_written() -> None:
    for address in (
        "http://localhost:11434/v1",
        " https://a.example/ \n",
        "// a remark: me",
        "https://a.example/#key",
        "https://a.example/v1/?api-version=2024-10&x=%20",
        "https://[::1]:8/v1",
    ):
        assert cut({"baseURL": address}) == ({"baseURL": address}, [])


def test_json_within_a_text_is_looked_into() -> None:
    kept, found = cut({"extra": json.dumps({"url": "x", "apiKey": KEY}), "plain": '{"url": "x"}'})
    assert json.loads(kept["extra"]) == {"url": "x"}
    assert kept["plain"] == '{"url": "x"}'
    assert found == [("m/extra/apiKey", "api_key")]
    assert cut({"extra": f' {{"apiKey": "{KEY}"}}'}) == ({"extra": "{}"}, [("m/extra/apiKey", "api_key")])


@pytest.mark.parametrize("wrap", [" \n{}".format, json.dumps, lambda text: json.dumps(json.dumps(text)), lambda text: json.dumps([text])])
def test_json_within_json_is_looked_into_however_it_is_written(wrap: Callable[[str], str]) -> None:
    kept, _ = cut({"extra": wrap(json.dumps({"url": "x", "apiKey": KEY}))})
    assert "url" in kept["extra"]


def test_of_two_members_of_one_name_none_passes_unseen() -> None:
    assert cut({"extra": f'{{"apiKey": "{KEY}", "apiKey": ""}}'}) == ({"extra": "{}"}, [])


def test_json_within_a_text_that_is_too_deep_to_be_looked_into_goes() -> None:
    for depth in (MAX_DEPTH + 2, 100_000):
        assert cut({"extra": '{"a":' * depth + f'"{KEY}"' + "}" * depth}) == ({}, [("m/extra", "secret")])


def test_numbers_of_tokens_stay() -> None:
    assert cut({"maxToken": 4096, "outputToken": 1.5}) == ({"maxToken": 4096, "outputToken": 1.5}, [])


def test_of_a_pair_nothing_else_passes_unseen() -> None:
    kept, _ = cut({"list": [{"name": "Authorization", "value": KEY, "apiKey": KEY, "n": 1}, {"name": "apiKey", "value": [KEY]}]})
    assert kept == {"list": [{"name": "Authorization", "n": 1}, {"name": "apiKey"}]}
    assert cut({"list": [{"header": "X-Route", "value": KEY}]})[0] == {"list": [{"header": "X-Route"}]}


def test_a_name_can_be_a_secret() -> None:
    assert cut({"keysInUse": {f"sk-{KEY}": {"on": True}}}) == ({"keysInUse": {}}, [("m/keysInUse", "looks_like_a_key")])


@pytest.mark.parametrize(
    "item", [{"a": "-eyJ" * 250_000}, {"max" * 300_000 + "secret": "x"}, {"a": "://" * 300_000}, {"a": "bearer " * 150_000}]
)
def test_no_text_takes_longer_than_it_is_long(item: dict[str, str]) -> None:
    began = process_time()
    cut(item)
    assert process_time() - began < 5


def test_named_values_and_descriptions_of_forms() -> None:
    kept, found = cut({"list": [{"name": "api_key", "value": KEY}], "connectionSchema": {"fieldTypes": {"apiKey": "string"}}})
    assert kept == {"list": [{"name": "api_key"}]}
    assert found == [("m/list/0/value", "api_key")]
    for value in ([KEY], {"is": KEY}, 4711):
        named = {"name": "api_key", "value": value, "raw": "sk-abcdefghijklmnop", "enabled": True}
        assert cut({"list": [named]})[0] == {"list": [{"name": "api_key", "enabled": True}]}
    assert cut({"list": [{"name": "token", "value": ""}, {"name": "token", "value": True}]})[1] == []


@pytest.mark.parametrize("part", ["max", "x", "api", "access", "model", "header", "token", "secret", "sk-", "bearer "])
def test_long_names_and_texts_are_looked_at_once(part: str) -> None:
    long = part * (300_000 // len(part))
    begun = time.process_time()
    cut({f"{long}{end}": "v" for end in ("key", "token", "z")} | {"text": long, "address": f"https://{long}"})
    assert time.process_time() - begun < 2  # as the square of the length it is minutes


def test_empty_ones_are_taken_out_without_a_word_and_flags_stay() -> None:
    assert cut({"apiKey": "", "secrets": {}, "requiresApiKey": True, "token": None}) == ({"requiresApiKey": True, "token": None}, [])


def test_numbers_can_be_secrets() -> None:
    assert cut({"password": 123456}) == ({}, [("m/password", "password")])


def test_a_legacy_models_id_is_none() -> None:
    assert cut({"key": "my-openai", "apiKey": KEY}, plain=frozenset({"key"})) == ({"key": "my-openai"}, [("m/apiKey", "api_key")])


def test_a_setting_is_judged_by_the_last_part_of_its_name_and_by_those_above_that_leave_no_doubt() -> None:
    def of(name: str, value: Any) -> tuple[Any, list[tuple[str, str]]]:
        found: list[tuple[str, str]] = []
        return setting_without_secrets(name, value, f"preferences/{name}", lambda place, kind: found.append((place, kind))), found

    assert of("app:provider:api-key", KEY) == (None, [("preferences/app:provider:api-key", "api_key")])
    assert of("apiKeys.openai", KEY) == (None, [("preferences/apiKeys.openai", "api_key")])
    assert of("apiKeys/openai", KEY) == (None, [("preferences/apiKeys/openai", "api_key")])
    assert of("app:selected-template", "general") == ("general", [])
    assert of("ui", {"a": {"token": KEY}, "b": 1}) == ({"a": {}, "b": 1}, [("preferences/ui/a/token", "token")])


def test_a_variable_goes_where_its_name_or_its_look_leaves_no_doubt() -> None:
    found: list[tuple[str, str]] = []
    values = {"api_key": KEY, "note": "sk-abcdefghijklmnop", "token": "design", "signature": "Kind regards", "apiKey": ""}
    kept = {
        name: variable_without_secret(name, value, name, lambda place, kind: found.append((place, kind))) for name, value in values.items()
    }
    assert kept == {"api_key": None, "note": None, "token": "design", "signature": "Kind regards", "apiKey": ""}
    assert found == [("api_key", "api_key"), ("note", "looks_like_a_key")]


def test_content_loses_only_what_is_beyond_doubt() -> None:
    found: list[tuple[str, str]] = []
    item = {
        "messages": [{"role": "user", "content": "my key is sk-abcdefghijklmnop", "apiKey": KEY}],
        "tools": [{"parameters": {"properties": {"api_key": {"type": "string"}}}, "headers": {"Authorization": KEY, "x-trace": "1"}}],
        "variables": {"key": "value", "token": "design token", "signature": "Kind regards"},
    }
    kept = content_without_secrets(item, "c", lambda place, kind: found.append((place, kind)))
    assert kept["messages"] == [{"role": "user", "content": "my key is sk-abcdefghijklmnop"}]
    assert kept["tools"] == [{"parameters": {"properties": {"api_key": {"type": "string"}}}, "headers": {"x-trace": "1"}}]
    assert kept["variables"] == item["variables"]
    assert found == [("c/messages/0/apiKey", "api_key"), ("c/tools/0/headers/Authorization", "header")]


def test_what_content_says_of_a_secret_stays_but_not_what_it_is() -> None:
    described = {"apiKey": {"type": "string", "defaultValue": KEY}, "pair": {"name": "x-api-key", "value": KEY}, "password": [KEY]}
    kept = content_without_secrets(described, "c", lambda place, kind: None)
    assert kept == {"apiKey": {"type": "string"}, "pair": {"name": "x-api-key"}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(KEY),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(NAMES[:8]) | st.text(max_size=4), each, max_size=3),
)


@given(st.lists(st.sampled_from(["params", "connectionConfig", "x"]), max_size=5), st.sampled_from(NAMES), JSON)
def test_below_a_secrets_name_nothing_is_left_at_any_depth(path: list[str], name: str, value: Any) -> None:
    item: Any = {name: [value, KEY]}
    for part in path:
        item = {part: item, "more": 1}
    _, found = cut({"item": item})
    assert found


def test_what_is_nested_too_deeply_is_not_looked_at_at_all() -> None:
    item: Any = {"apiKey": KEY}
    for _ in range(MAX_DEPTH + 1):
        item = {"a": item}
    for look in (without_secrets, content_without_secrets):
        with pytest.raises(TooDeep):
            look(item, "m", lambda place, kind: None)
