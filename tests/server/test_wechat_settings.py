"""Which settings for WeChat go together, and what production asks of them."""

from typing import Any

import pytest
import typer
from pydantic import ValidationError

from server.config import load_settings
from server.terminal import explained
from tests.support.rest import PRODUCTION

SECRET = "a-secret-that-is-not-shown"
PLACE = {"public_url": "https://sync.example", "app_url": "https://app.example"}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("WEB", "APP", "MINI"):
        for name in ("APPID", "SECRET"):
            monkeypatch.delenv(f"PROMPTSYNC_WECHAT_{kind}_{name}", raising=False)


@pytest.mark.parametrize("kind", ["web", "app", "mini"])
def test_an_app_has_an_id_and_a_secret(kind: str) -> None:
    pair = {f"wechat_{kind}_appid": "wx1", f"wechat_{kind}_secret": SECRET}
    settings = load_settings(**PLACE, **pair)
    assert SECRET not in repr(settings)
    for name in pair:
        with pytest.raises(ValidationError, match="go together"):
            load_settings(**PLACE, **{name: pair[name]})


@pytest.mark.parametrize("appid", ["wx 1", "wx&secret=", "", "x" * 65, "wx/1"])
def test_an_id_has_no_room_for_anything_else(appid: str) -> None:
    with pytest.raises(ValidationError):
        load_settings(wechat_app_appid=appid, wechat_app_secret=SECRET)


@pytest.mark.parametrize("missing", PLACE)
def test_a_website_takes_the_addresses_of_server_and_app(missing: str) -> None:
    place = {name: url for name, url in PLACE.items() if name != missing}
    with pytest.raises(ValidationError, match="WEB_APPID needs"):
        load_settings(**place, wechat_web_appid="wx1", wechat_web_secret=SECRET)


@pytest.mark.parametrize("name", ["wechat_api_url", "wechat_qr_url"])
def test_production_asks_wechat_over_https_only(name: str) -> None:
    given: dict[str, Any] = {"env": "production", **PRODUCTION, **PLACE}
    assert load_settings(**given, **{name: "https://wechat.example"})
    with pytest.raises(ValidationError, match="https"):
        load_settings(**given, **{name: "http://wechat.example"})
    assert load_settings(**{name: "http://127.0.0.1:1"})


@pytest.mark.parametrize("url", ["ftp://a", "https://a/b", "https://a?b", "https://u:p@a", "https://a#b", "a", "https://a b"])
def test_where_wechat_is_is_a_scheme_and_a_host(url: str) -> None:
    for name in ("wechat_api_url", "wechat_qr_url"):
        with pytest.raises(ValidationError):
            load_settings(**{name: url})


def test_a_mistake_is_told_without_the_secret(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), explained():
        load_settings(wechat_web_appid="wx1", wechat_web_secret=SECRET)
    told = capsys.readouterr()
    assert "PROMPTSYNC_WECHAT_WEB_APPID needs" in told.out + told.err
    assert SECRET not in told.out + told.err
