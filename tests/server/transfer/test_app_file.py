"""The rest of what Prompt Optimizer's files hold, in the new, the old and the desktop's form."""

from typing import Any

import pytest

from tests.server.transfer.app_files import NOW, prompts_of, reading_of, told
from tests.support.samples import AT, app_data, app_file, desktop_file, old_app_file


def test_templates_keep_their_lists_of_messages() -> None:
    library = reading_of(app_file()).library
    turns, text = library.templates
    assert (turns.id, turns.name, turns.type, turns.updated_at) == ("tpl-list", "Turns", "iterate", AT)
    assert turns.content == [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "{{x}}"}]
    assert text.content == "Shorten."


def test_templates_that_are_none_or_the_apps_own_are_skipped() -> None:
    wrong = [
        {"id": "a", "name": "n"},
        {"id": "b", "name": "n", "content": 7},
        {"name": "n", "content": "x"},
        {"id": "d", "name": "n", "content": "x"} | {"isBuiltin": True},
    ]
    reading = reading_of(app_file({"userTemplates": wrong}))
    assert reading.library.templates == []
    assert [each[2] for each in told(reading.findings)] == ["invalid", "invalid", "invalid", "built_in"]
    assert reading.findings.errors == 3


def test_conversations_are_kept_with_variables_and_tools() -> None:
    (context,) = reading_of(app_file()).library.contexts
    assert (context.id, context.title, context.mode, context.updated_at) == ("default", "Support", "system", 1_795_380_006_094)
    assert (context.messages[0]["content"], context.variables) == ("You help with {{product}}.", {"product": "Acme"})
    assert context.tools[0]["function"]["parameters"] == {"properties": {"api_key": {"type": "string"}}}
    assert context.tools[1] == {"type": "http"}


def test_models_are_kept_without_their_keys_and_headers() -> None:
    reading = reading_of(app_file())
    text, image = reading.library.models
    assert (text.id, text.provider, text.model, text.base_url) == ("deepseek", "deepseek", "deepseek-chat", "https://api.deepseek.com")
    assert (text.request_style, text.enabled, text.params) == ("chat_completions", True, {"temperature": 0.5, "max_tokens": 100})
    assert text.capabilities == {"supportsTools": True}
    assert (image.id, image.provider, image.model, image.enabled) == ("painter", "openrouter", "banana", False)
    assert (image.base_url, image.capabilities) == ("https://images.example/v1?v=1", {"text2image": True})
    assert {each.place for each in reading.findings.left_out if each.place.startswith("models/")} == {
        "models/deepseek/connectionConfig/apiKey",
        "models/deepseek/connectionConfig/headers/x-auth-token",
        "models/deepseek/paramOverrides/extra_headers/Authorization",
        "models/painter/connectionConfig/apiKey",
        "models/painter/connectionConfig/baseURL",
    }


def test_what_a_connection_needs_besides_is_told() -> None:
    model = app_data()["models"][0] | {"connectionConfig": {"accountId": "abc"}}
    reading = reading_of(app_file({"models": [model]}))
    assert told(reading.findings) == [("models", "deepseek", "field_left_out", "connectionConfig.accountId")]


def test_settings_are_kept_but_for_those_in_which_there_is_nothing() -> None:
    reading = reading_of(app_file())
    assert reading.library.preferences == {"app:settings:ui:theme-id": "dark", "app:gateway": '{"url": "https://x.example"}'}
    assert told(reading.findings) == [
        ("preferences", "variableManager.storage", "nothing_in_it", None),
        ("preferences", "session/v1/basic-system", "nothing_in_it", None),
    ]
    assert (reading.findings.errors, reading.findings.skipped["preferences"]) == (0, 2)


def test_the_old_form_is_read_as_the_new_one() -> None:
    reading = reading_of(old_app_file())
    library = reading.library
    assert set(prompts_of(reading)) == {"chain:c1", "chain:c2"}
    (model,) = library.models
    assert (model.id, model.name, model.model, model.provider) == ("my-openai", "My OpenAI", "gpt-4o", "openai")
    assert (model.base_url, model.params) == ("https://api.openai.com/v1", {"temperature": 1})
    ui = "app:settings:ui:"
    assert library.preferences == {f"{ui}theme-id": "light", f"{ui}preferred-language": "zh-CN", f"{ui}builtin-template-language": "zh-CN"}
    assert [each.id for each in library.templates] == ["tpl-list", "tpl-text"]


def test_the_desktops_store_is_read_with_everything_in_it() -> None:
    reading = reading_of(desktop_file())
    library = reading.library
    assert set(prompts_of(reading)) == {"fav:fav_1", "chain:c2"}
    assert [each.id for each in library.models] == ["deepseek", "painter"]
    assert [each.id for each in library.templates] == ["tpl-list", "tpl-text"]
    assert [each.id for each in library.contexts] == ["default"]
    assert library.variables == {"audience": "my team"}
    assert library.preferences == {"app:settings:ui:theme-id": "dark", "gateway": {}}
    assert [(each.tag, each.created_at) for each in library.tags] == [("unused", AT)]
    assert len(library.categories) == 3
    assert told(reading.findings) == [("preferences", "session/v1/basic-system", "not_synced", None)]


def test_a_store_that_is_no_json_costs_no_other() -> None:
    reading = reading_of(desktop_file() | {"favorites": "[{", "pref:plain": "dark", "unheard": "{}", "prompt_history": "7"})
    assert reading.library.preferences["plain"] == "dark"
    assert set(told(reading.findings)) >= {
        ("favorites", "favorites", "malformed", None),
        ("file", "unheard", "unknown_field", None),
        ("history", "history", "invalid", None),
    }
    assert len(reading.library.models) == 2


@pytest.mark.parametrize("section", ["history", "models", "imageModels", "userTemplates", "userSettings", "contexts"])
@pytest.mark.parametrize("wrong", [7, "x", None, [], {}, [7], {"a": 7}, [[]], [None], {"contexts": 7}])
def test_a_section_that_is_none_costs_no_other(section: str, wrong: Any) -> None:
    whole, damaged = reading_of(app_file()).library, reading_of(app_file(app_data() | {section: wrong})).library
    kept = {"history": "prompts", "models": "models", "imageModels": "models", "userTemplates": "templates", "contexts": "contexts"}
    for name in ("prompts", "templates", "contexts", "preferences"):
        if kept.get(section, "preferences") != name:
            assert getattr(damaged, name) == getattr(whole, name), name


def test_an_item_without_a_time_has_the_imports() -> None:
    data = app_data()
    del data["contexts"]["contexts"][0]["updatedAt"]
    assert reading_of(app_file(data)).library.contexts[0].updated_at == NOW
