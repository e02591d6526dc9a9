"""The files of Prompt Optimizer as the app itself writes them (v2.10.3): which members each part has, and of which kind.

Taken down from files that it had written. What may be missing has a `?`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TEXT = re.compile(r"(?s).+")
"""A text that is not empty."""
ANY_MAP = dict

RECORD = {
    "id": UUID, "chainId": UUID, "originalPrompt": TEXT, "optimizedPrompt": TEXT, "version": int, "timestamp": int, "modelKey": TEXT,
    "templateId": TEXT, "modelName?": str, "previousId?": UUID, "iterationNote?": str,
    "type": {
        "optimize", "userOptimize", "iterate", "test", "contextUserOptimize", "contextIterate", "imageOptimize", "contextImageOptimize",
        "imageIterate", "text2imageOptimize", "image2imageOptimize", "multiimageOptimize", "conversationMessageOptimize",
    },
    "metadata?": {
        "optimizationMode?": {"system", "user"}, "functionMode?": str, "localEdit?": bool, "localEditSource?": {"manual", "patch"},
        "messageId?": str, "messageRole?": str,
        "conversationSnapshot?": [{"id": str, "role": str, "content": str, "originalContent?": str, "appliedVersion?": int}],
    },
}  # fmt: skip
PROVIDER = {
    "id": TEXT, "name": TEXT, "description": str, "requiresApiKey": bool, "defaultBaseURL": str, "supportsDynamicModels": bool,
    "apiKeyUrl?": str, "corsRestricted?": bool,
    "connectionSchema": {"required": [str], "optional": [str], "fieldTypes": ANY_MAP},
}  # fmt: skip
MODEL_META = {
    "id": str, "name": str, "description": str, "providerId": TEXT, "capabilities": ANY_MAP, "parameterDefinitions": [ANY_MAP],
    "defaultParameterValues": ANY_MAP,
}  # fmt: skip
CONNECTION = {"apiKey?": str, "baseURL?": str, "requestStyle?": {"chat_completions", "responses"}}
MODEL = {
    "id": TEXT, "name": TEXT, "enabled": bool, "providerMeta": PROVIDER, "modelMeta": MODEL_META, "connectionConfig": CONNECTION,
    "paramOverrides": ANY_MAP, "customParamOverrides?": ANY_MAP,
}  # fmt: skip
IMAGE_MODEL = {
    "id": TEXT, "name": TEXT, "enabled": bool, "providerId": TEXT, "modelId": str, "connectionConfig": CONNECTION,
    "paramOverrides": ANY_MAP, "customParamOverrides?": ANY_MAP, "provider": PROVIDER, "model": MODEL_META,
}  # fmt: skip
TEMPLATE = {
    "id": TEXT, "name": TEXT, "content": (str, list), "isBuiltin": bool,
    "metadata": {
        "version": str, "lastModified": int, "templateType": str, "author?": str, "description?": str, "language?": {"zh", "en"},
    },
}  # fmt: skip
CONTEXT = {
    "id": TEXT, "title": str, "mode": {"system", "user"}, "version": TEXT, "createdAt": ISO, "updatedAt": ISO, "messages": [ANY_MAP],
    "variables": ANY_MAP, "tools": [ANY_MAP], "tags": [str], "description": str, "meta": ANY_MAP,
}  # fmt: skip
APP_DATA = {
    "version": int,
    "data": {
        "history": [RECORD], "models": [MODEL], "imageModels": [IMAGE_MODEL], "userTemplates": [TEMPLATE], "userSettings": ANY_MAP,
        "contexts": {"type": {"context-bundle"}, "version": {"1.0.0"}, "currentId": TEXT, "contexts": [CONTEXT]},
    },
}  # fmt: skip

SOURCE = {"kind": {"workspace", "favorite", "garden", "history", "external", "unknown"}, "id?": TEXT}
VARIABLE = {
    "name": TEXT, "description?": str, "type?": {"string", "number", "boolean", "enum"}, "required": bool, "defaultValue?": str,
    "options": [str],
}  # fmt: skip
MADE_BY = {"originalContent?": str, "sourceHistoryId?": str, "modelKey?": str, "modelName?": str, "templateId?": str}
CONTENT = {"kind": {"text", "messages", "image-prompt"}, "text?": str, "messages?": [ANY_MAP]}
ASSET = {
    "schemaVersion": {"prompt-model/v1"}, "id": TEXT, "title": TEXT, "description?": str, "tags": [str], "category?": TEXT,
    "currentVersionId": TEXT, "source": SOURCE, "createdAt": int, "updatedAt": int,
    "contract": {
        "modeKey": {
            "basic-system", "basic-user", "pro-variable", "pro-conversation", "image-text2image", "image-image2image", "image-multiimage",
        },
        "family": {"basic", "pro", "image"},
        "subMode": {"system", "user", "variable", "conversation", "text2image", "image2image", "multiimage"},
        "variables": [VARIABLE],
    },
    "versions": [
        {
            "id": TEXT, "version": int, "title": str, "content": CONTENT, "createdAt": int, "updatedAt": int, "source": SOURCE,
            "metadata?": MADE_BY,
        }
    ],
    "examples": [
        {
            "id": TEXT, "basedOnVersionId": TEXT, "source?": SOURCE, "metadata?": ANY_MAP,
            "input": {"text?": str, "parameters?": ANY_MAP}, "output?": {"text?": str},
        }
    ],
}  # fmt: skip
FAVORITE = {
    "id": TEXT, "title": TEXT, "content": TEXT, "description?": str, "category?": TEXT, "tags": [str], "createdAt": int, "updatedAt": int,
    "useCount": int, "functionMode": {"basic", "context", "image"}, "optimizationMode?": {"system", "user"},
    "imageSubMode?": {"text2image", "image2image", "multiimage"},
    "metadata": {
        **MADE_BY,
        "media?": {"coverAssetId?": TEXT, "coverUrl?": TEXT, "assetIds": [str], "urls": [str]},
        "reproducibility?": {"variables": [VARIABLE], "examples": [{"id": TEXT, "text?": str, "parameters?": ANY_MAP, "outputText?": str}]},
        "promptAsset": ASSET,
    },
}  # fmt: skip
FAVORITES = {
    "version": {"1.0"}, "exportDate": ISO, "favorites": [FAVORITE], "tags": [str],
    "categories": [
        {"id": TEXT, "name": TEXT, "description?": str, "parentId?": TEXT, "color?": str, "sortOrder": int, "createdAt": int}
    ],
}  # fmt: skip
RESOURCE = {
    "kind": {"image"}, "store?": TEXT, "id": TEXT, "path": TEXT, "mimeType": TEXT, "sizeBytes": int, "createdAt": int, "accessedAt?": int,
    "source": str, "sha256": re.compile("[0-9a-f]{64}"),
}  # fmt: skip
BACKUP_MANIFEST = {
    "schemaVersion": {"prompt-optimizer/app-backup/v1"}, "createdAt": ISO, "appDataPath": TEXT, "favoritesPath": TEXT,
    "resources": [RESOURCE], "missingResources": [ANY_MAP], "resourceCounts": {"imageCache": int, "favoriteImages": int},
    "includedSections": [{"appData", "favorites", "imageCache", "favoriteImages"}],
}  # fmt: skip
FAVORITES_MANIFEST = {
    "schemaVersion": {"prompt-optimizer/favorites-package/v1"}, "createdAt": ISO, "favoriteCount": int, "resourceCount": int,
    "resources": [RESOURCE], "missingResourceIds": [str],
}  # fmt: skip


def misfits(value: Any, shape: Any, place: str = "") -> Iterator[str]:
    """Where a value is other than the app has it."""
    match shape:
        case dict():
            yield from _of_map(value, shape, place)
        case list():
            if isinstance(value, list):
                for number, each in enumerate(value):
                    yield from misfits(each, shape[0], f"{place}[{number}]")
            else:
                yield f"{place}: no list"
        case set():
            if not isinstance(value, str) or value not in shape:
                yield f"{place}: {value!r} is none of these"
        case re.Pattern():
            if not isinstance(value, str) or not shape.fullmatch(value):
                yield f"{place}: {value!r}"
        case type() | tuple():
            if not isinstance(value, shape) or (isinstance(value, bool) and shape is not bool):
                yield f"{place}: a {type(value).__name__}"


def _of_map(value: Any, shape: dict[str, Any], place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: no map"
        return
    known = {name.removesuffix("?"): each for name, each in shape.items()}
    for name in value.keys() - known.keys():
        yield f"{place}.{name}: the app has none"
    for name, each in known.items():
        if name in value:
            yield from misfits(value[name], each, f"{place}.{name}")
        elif name in shape:
            yield f"{place}.{name}: is missing"
