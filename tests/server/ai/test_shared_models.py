"""The operator's file of models: read at the start, refused by the place of what is wrong, and its keys shown nowhere."""

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from server.ai.calls import Usage
from server.ai.shared_models import BadModelsFile, SharedModels, load_shared_models
from server.config import Settings
from tests.support.rest import PRODUCTION

KEY = "sk-canary-operators-0123456789"
MODEL = {"id": "fast", "name": "Fast", "provider": "deepseek", "model": "deepseek-chat", "api_key": KEY}


def load(folder: Path, content: Any, *, mode: int = 0o600, **settings: Any) -> SharedModels:
    file = folder / "models.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    file.chmod(mode)
    chosen: dict[str, Any] = {"models_file": file, **settings}
    return load_shared_models(Settings(**chosen))


def test_without_the_setting_there_are_none() -> None:
    assert load_shared_models(Settings()).targets == ()


def test_a_model_is_called_where_its_provider_is_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    own = {**MODEL, "id": "own", "base_url": "https://gateway.example.com/v1/", "extra_headers": {"x-gateway": "gate-Qm3"}}
    models = load(tmp_path, {"models": [MODEL, {**own, "params": {"temperature": 0.5, "stop": ["a"]}}]})

    fast, gateway = models.targets

    assert (fast.config_id, fast.name, fast.base_url, fast.is_shared) == ("shared:fast", "Fast", "https://api.deepseek.com", True)
    assert (fast.secret.api_key, gateway.secret.headers) == (KEY, {"x-gateway": "gate-Qm3"})
    assert (gateway.base_url, gateway.params) == ("https://gateway.example.com/v1", {"temperature": 0.5, "stop": ["a"]})
    assert (models.target("shared:own"), models.target("own")) == (gateway, None)


def test_a_key_may_lie_in_a_file_of_its_own_beside_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")

    (target,) = load(tmp_path, {"models": [{**{name: MODEL[name] for name in MODEL if name != "api_key"}, "api_key_file": "key"}]}).targets

    assert target.secret.api_key == KEY


def test_a_shared_model_costs_what_its_own_price_says_and_else_what_the_model_costs(tmp_path: Path) -> None:
    price = {"input": 0.27, "output": 1.1, "currency": "USD"}
    models = load(
        tmp_path,
        {
            "models": [MODEL, {**MODEL, "id": "dear", "price": {"input": 10, "output": 0, "currency": "CNY"}}],
            "prices": [{"provider": "deepseek", "model": "deepseek-chat", **price}],
        },
    )

    costs = []
    for target in models.targets:
        found = models.prices.of(target)
        assert found is not None
        costs.append((found.of(Usage(1_000_000, 1_000_000)), found.currency, found.of(Usage(1, None))))

    assert costs == [(Decimal("1.37"), "USD", None), (Decimal(10), "CNY", None)]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("{", "is not JSON"),
        ('{"models": [], "models": []}', "is not JSON"),
        ([], "the file"),
        ({"model": []}, "model"),
        ({"models": [{**MODEL, "provider": KEY}]}, "models[0].provider"),
        ({"models": [MODEL, MODEL]}, "models[1].id"),
        ({"models": [{**MODEL, "id": KEY + " "}]}, "models[0].id"),
        ({"models": [{**MODEL, "api_key": 5}]}, "models[0].api_key"),
        ({"models": [{**MODEL, "api_key": KEY + "\r\nx: y"}]}, "models[0]"),
        ({"models": [{**MODEL, "api_key_file": "key"}]}, "models[0]"),
        ({"models": [{name: MODEL[name] for name in MODEL if name != "api_key"}]}, "models[0] needs api_key"),
        ({"models": [{**MODEL, "base_url": f"https://{KEY}@api.example.com"}]}, "models[0].base_url"),
        ({"models": [{**MODEL, "base_url": "http://10.0.0.1/v1"}]}, "models[0].base_url"),
        ({"models": [{**MODEL, "extra_headers": {"x-a": KEY + "\n"}}]}, "models[0].extra_headers"),
        ({"models": [{**MODEL, "request_style": KEY}]}, "models[0].request_style"),
        ({"models": [{**MODEL, "price": {"input": -1, "output": 1, "currency": "USD"}}]}, "models[0].price.input"),
        ({"models": [{**MODEL, "price": {"input": "1", "output": 1, "currency": "USD"}}]}, "models[0].price.input"),
        ({"prices": [{"provider": KEY, "model": "m", "input": 1, "output": 1, "currency": "USD"}]}, "prices[0].provider"),
        ({"prices": [{"provider": "openai", "model": "m", "input": 1, "output": 1, "currency": "USD"}] * 2}, "prices[1]"),
    ],
)
def test_what_is_wrong_is_told_by_its_place_and_never_by_its_value(tmp_path: Path, content: Any, place: str) -> None:
    with pytest.raises(BadModelsFile) as caught:
        load(tmp_path, content)

    assert place in str(caught.value)
    assert KEY not in str(caught.value)


def test_nothing_shows_a_key(tmp_path: Path) -> None:
    models = load(tmp_path, {"models": [{**MODEL, "extra_headers": {"x-gateway": KEY}}]})

    assert KEY not in f"{models.targets!r} {models.targets[0].secret!r} {vars(models)!r}"


def test_production_reads_no_file_that_others_can_read(tmp_path: Path) -> None:
    with pytest.raises(BadModelsFile, match="chmod 600"):
        load(tmp_path, {"models": [MODEL]}, mode=0o644, env="production", **PRODUCTION)

    assert load(tmp_path, {"models": [MODEL]}, mode=0o600, env="production", **PRODUCTION).targets
    assert load(tmp_path, {"models": [MODEL]}, mode=0o644).targets


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    chosen: dict[str, Any] = {"models_file": tmp_path / "models.json"}

    with pytest.raises(BadModelsFile, match=f"{os.sep}models.json cannot be read"):
        load_shared_models(Settings(**chosen))
