"""Files as Prompt Optimizer writes them, in the forms that it has had; and ours. The keys in them are made up."""

import io
import json
import zipfile
from copy import deepcopy
from typing import Any

CANARY = "sk-canary-4f1d9c2e7b80a35566"
"""A key that stands in every place where one may: nothing of it may ever be seen again."""
AT = 1_795_380_006_000


def record(chain: str, version: int, text: str, **fields: Any) -> dict[str, Any]:
    """A record of history."""
    made = {
        "id": f"{chain}-r{version}",
        "chainId": chain,
        "version": version,
        "originalPrompt": "write a weekly report",
        "optimizedPrompt": text,
        "type": "optimize" if version == 1 else "iterate",
        "timestamp": AT + version,
        "modelKey": "deepseek",
        "modelName": "DeepSeek",
        "templateId": "general-optimize",
    }
    return made | ({"previousId": f"{chain}-r{version - 1}", "iterationNote": "shorter"} if version > 1 else {}) | fields


def app_data() -> dict[str, Any]:
    """The `data` of the app's export, newest records first."""
    return {
        "history": [
            record("c1", 2, "# Role: Writer, short"),
            record("c1", 1, "# Role: Writer"),
            record("c2", 1, "请把会议记录整理成清单 😀", type="userOptimize", originalPrompt="整理会议记录"),
        ],
        "models": [
            {
                "id": "deepseek",
                "name": "DeepSeek",
                "enabled": True,
                "providerMeta": {"id": "deepseek", "requiresApiKey": True, "connectionSchema": {"fieldTypes": {"apiKey": "string"}}},
                "modelMeta": {"id": "deepseek-chat", "providerId": "deepseek", "capabilities": {"supportsTools": True}},
                "connectionConfig": {
                    "apiKey": CANARY,
                    "baseURL": "https://api.deepseek.com",
                    "requestStyle": "chat_completions",
                    "headers": {"x-auth-token": CANARY},
                },
                "paramOverrides": {"temperature": 0.5, "max_tokens": 100, "extra_headers": {"Authorization": f"Bearer {CANARY}"}},
            }
        ],
        "imageModels": [
            {
                "id": "painter",
                "name": "Painter",
                "providerId": "openrouter",
                "modelId": "banana",
                "enabled": False,
                "connectionConfig": {"apiKey": CANARY, "baseURL": f"https://me:{CANARY}@images.example/v1?key={CANARY}&v=1"},
                "paramOverrides": {},
                "model": {"id": "banana", "capabilities": {"text2image": True}},
            }
        ],
        "userTemplates": [
            {
                "id": "tpl-list",
                "name": "Turns",
                "content": [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "{{x}}"}],
                "metadata": {"version": "1.0.0", "lastModified": AT, "templateType": "iterate", "author": "User"},
                "isBuiltin": False,
            },
            {"id": "tpl-text", "name": "Text", "content": "Shorten.", "metadata": {"lastModified": AT, "templateType": "optimize"}},
        ],
        "userSettings": {
            "app:settings:ui:theme-id": "dark",
            "variableManager.storage": "[object Object]",
            "session/v1/basic-system": "[object Object]",
            "app:provider-api-key": CANARY,
            "app:gateway": json.dumps({"url": "https://x.example", "apiKey": CANARY}),
        },
        "contexts": {
            "type": "context-bundle",
            "version": "1.0.0",
            "currentId": "default",
            "contexts": [
                {
                    "id": "default",
                    "title": "Support",
                    "mode": "system",
                    "updatedAt": "2026-11-22T20:40:06.094Z",
                    "messages": [{"id": "m", "role": "system", "content": "You help with {{product}}."}],
                    "variables": {"product": "Acme"},
                    "tools": [
                        {"type": "function", "function": {"name": "f", "parameters": {"properties": {"api_key": {"type": "string"}}}}},
                        {"type": "http", "apiKey": CANARY},
                    ],
                    "tags": [],
                    "description": "",
                    "meta": {},
                }
            ],
        },
    }


def app_file(data: dict[str, Any] | None = None) -> dict[str, Any]:
    """Form 1."""
    return {"version": 1, "data": app_data() if data is None else data}


def old_app_file() -> dict[str, Any]:
    """Form 1 as it was: the bare data, legacy models, old names of settings."""
    legacy = {
        "key": "my-openai",
        "name": "My OpenAI",
        "baseURL": "https://api.openai.com/v1",
        "apiKey": CANARY,
        "models": ["gpt-4", "gpt-4o"],
        "defaultModel": "gpt-4o",
        "enabled": True,
        "provider": "openai",
        "llmParams": {"temperature": 1, "apiKey": CANARY},
    }
    settings = {"theme-id": "light", "preferred-language": "zh-CN", "builtin-template-language": "zh-CN"}
    return {"history": app_data()["history"], "models": [legacy], "userTemplates": app_data()["userTemplates"], "userSettings": settings}


def favorite(name: str = "fav_1", **fields: Any) -> dict[str, Any]:
    """A favorite of before there were assets, saved from the first record of chain `c1`."""
    made = {
        "id": name,
        "title": "Weekly report",
        "content": "# Role: Writer, short",
        "description": "for the team",
        "createdAt": AT + 100,
        "updatedAt": AT + 110,
        "tags": ["Work", "报告"],
        "category": "cat_child",
        "useCount": 3,
        "functionMode": "basic",
        "optimizationMode": "system",
        "metadata": {
            "originalContent": "write a weekly report",
            "sourceHistoryId": "c1-r1",
            "modelKey": "deepseek",
            "modelName": "DeepSeek",
            "templateId": "general-optimize",
        },
    }
    return made | fields


def with_asset(name: str = "fav_1") -> dict[str, Any]:
    """The same with an asset of two versions, of which the second is used."""
    made = deepcopy(favorite(name))
    made["metadata"]["promptAsset"] = {
        "schemaVersion": "prompt-model/v1",
        "id": f"favorite:{name}",
        "contract": {
            "modeKey": "basic-system",
            "variables": [{"name": "team", "type": "string", "required": True, "defaultValue": "Platform", "options": []}],
        },
        "currentVersionId": f"favorite:{name}:version:2",
        "versions": [
            {"id": f"favorite:{name}:current", "version": 1, "content": {"kind": "text", "text": "# Role: Writer"}, "createdAt": AT + 100},
            {
                "id": f"favorite:{name}:version:2",
                "version": 2,
                "content": {"kind": "text", "text": "# Role: Writer, short"},
                "createdAt": AT + 105,
            },
        ],
        "examples": [
            {
                "id": "ex-1",
                "basedOnVersionId": f"favorite:{name}:version:2",
                "input": {"text": "notes", "parameters": {"apiKey": CANARY}},
                "output": {"text": "Done"},
            }
        ],
        "apiKey": CANARY,
    }
    made["metadata"]["media"] = {"coverAssetId": "img_1", "assetIds": ["img_1", "img_2"], "urls": []}
    return made


def favorites_file(*favorites: dict[str, Any]) -> dict[str, Any]:
    """Form 2."""
    categories = [
        {"id": "cat_child", "name": "Reports", "parentId": "cat_top", "color": "#10B981", "createdAt": AT, "sortOrder": 0},
        {"id": "cat_top", "name": "Work", "createdAt": AT, "sortOrder": 3},
        {"id": "cat_same", "name": "programming", "createdAt": AT, "sortOrder": 1},
    ]
    listed = list(favorites or (with_asset(),))
    return {
        "version": "1.0",
        "exportDate": "2026-11-22T20:40:06Z",
        "favorites": listed,
        "categories": categories,
        "tags": ["Work", "unused"],
    }


def desktop_file() -> dict[str, Any]:
    """The desktop's store: each value JSON in a string."""
    data, favorites = app_data(), favorites_file()
    stores: dict[str, Any] = {
        "prompt_history": data["history"],
        "models": {each["id"]: each for each in data["models"]},
        "image-models": {each["id"]: each for each in data["imageModels"]},
        "user-templates": data["userTemplates"],
        "favorites": favorites["favorites"],
        "favorite_categories": favorites["categories"],
        "favorite_tags": [{"tag": "unused", "createdAt": AT}],
        "favorite_stats": {"total": 1},
        "favorite_categories_initialized": True,
        "ctx:store": {"version": "1.0.0", "currentId": "default", "contexts": {"default": data["contexts"]["contexts"][0]}},
        "pref:app:settings:ui:theme-id": "dark",
        "pref:variableManager.storage": {"customVariables": {"audience": "my team", "api_key": CANARY}, "advancedModeEnabled": True},
        "pref:session/v1/basic-system": {"draft": "x"},
        "pref:gateway": {"token": CANARY},
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in stores.items()}


def packed(files: dict[str, Any], *, images: int = 1) -> bytes:
    """A zip of these files, as JSON unless they are bytes, and some images."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as package:
        for name, value in files.items():
            package.writestr(name, value if isinstance(value, bytes) else json.dumps(value))
        for number in range(images):
            package.writestr(f"resources/images/img_{number}.png", b"\x89PNG" + bytes(66))
    return content.getvalue()


def backup(app: Any = None, favorites: Any = None) -> bytes:
    """Form 3."""
    manifest = {"schemaVersion": "prompt-optimizer/app-backup/v1", "appDataPath": "app-data.json", "favoritesPath": "favorites.json"}
    return packed({"manifest.json": manifest, "app-data.json": app or app_file(), "favorites.json": favorites or favorites_file()})


def favorites_package() -> bytes:
    """Form 4."""
    return packed({"manifest.json": {"schemaVersion": "prompt-optimizer/favorites-package/v1"}, "favorites.json": favorites_file()})


def own_file(**sections: Any) -> dict[str, Any]:
    """A library in our own format."""
    version = {"id": "v1", "text": "# Role: Writer", "kind": "optimize", "at": AT, "device": "d", "model": "deepseek"}
    prompt = {
        "id": "p1",
        "title": "Report",
        "original": "write",
        "tags": ["Work"],
        "category": "k1",
        "favorite": True,
        "order": "a0",
        "current": "v1",
        "versions": [version],
        "labels": {"production": "v1"},
        "uses": {"d": 2},
        "examples": {"e": {"input": "x"}},
        "created_at": AT,
        "touched_at": AT,
        "created_by": "d",
    }
    made = {
        "format": "promptsync/library",
        "version": 1,
        "exported_at": AT,
        "name": "Mine",
        "prompts": [prompt, prompt | {"id": "p2", "versions": [], "current": None, "labels": {}, "deleted_at": AT + 5}],
        "categories": [{"id": "k1", "name": "Mine", "order": "b0", "created_at": AT}],
        "tags": [
            {"tag": "work", "label": "Work", "created_at": AT},
            {"tag": "job", "label": "Job", "created_at": AT, "merged_into": "work"},
        ],
        "templates": [{"id": "t1", "name": "T", "content": "Shorten {{x}}", "updated_at": AT}],
        "contexts": [{"id": "x1", "title": "C", "messages": [{"role": "user", "content": "hi"}], "updated_at": AT}],
        "models": [
            {
                "id": "m1",
                "name": "M",
                "provider": "openai",
                "base_url": f"https://a.example/v1?api_key={CANARY}",
                "params": {"temperature": 1, "apiKey": CANARY, "headers": {"x": CANARY}},
            }
        ],
        "variables": {"audience": "my team", "apiKey": CANARY},
        "preferences": {"theme": "dark", "nothing": {"in": None}, "gateway": {"secret": CANARY}},
        "device_preferences": {"d1": {"panel": 320, "token": CANARY}},
    }
    return made | sections


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def every_file() -> dict[str, bytes]:
    """One of each kind, by the kind."""
    return {
        "promptsync/library": json_bytes(own_file()),
        "promptsync/library-package": packed({"library.json": own_file()}, images=0),
        "prompt-optimizer/app-data": json_bytes(app_file()),
        "prompt-optimizer/app-data-old": json_bytes(old_app_file()),
        "prompt-optimizer/favorites": json_bytes(favorites_file()),
        "prompt-optimizer/template": json_bytes(app_data()["userTemplates"][0]),
        "prompt-optimizer/desktop": json_bytes(desktop_file()),
        "prompt-optimizer/app-backup": backup(),
        "prompt-optimizer/favorites-package": favorites_package(),
    }
