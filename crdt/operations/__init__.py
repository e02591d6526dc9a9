"""What a user does to a library: one function an intent, which returns the update that it made.

Each writes as little as says it: a register, a key of a map, or the changed part of a text; setting what is set already writes nothing.
Ids, times and devices are the caller's. What is written to and is not there, or is of another kind than it should be, is `Missing`,
whatever clients have written; what cannot be written is a ValueError. Everything is checked before anything is written. Several make one
update within `library.edit`; where a later one of them raises, the earlier have happened, and the library is to be thrown away.
"""

from crdt.operations.categories import (
    CATEGORY_REGISTERS,
    create_category,
    delete_category,
    restore_category,
    set_category_fields,
)
from crdt.operations.items import (
    CONTEXT_REGISTERS,
    TEMPLATE_REGISTERS,
    create_context,
    create_template,
    delete_context,
    delete_template,
    restore_context,
    restore_template,
    set_context_fields,
    set_template_fields,
)
from crdt.operations.models import MODEL_REGISTERS, remove_model, set_model_fields
from crdt.operations.preferences import (
    add_device_prefs,
    add_preferences,
    delete_variable,
    merge_device_prefs,
    merge_preferences,
    set_variable,
)
from crdt.operations.prompts import (
    REGISTERS,
    NewPrompt,
    add_examples,
    add_tags,
    change_tags,
    check_prompt,
    count_use,
    create_prompt,
    delete_prompt,
    edit_original,
    purge_prompt,
    purge_prompts,
    raise_uses,
    remove_tags,
    restore_prompt,
    set_fields,
    set_tags,
)
from crdt.operations.tags import delete_tag, merge_tags, register_tag, register_tags, rename_tag, restore_tag, set_tag_color
from crdt.operations.versions import NewVersion, add_version, choose_version, edit_version, label_version
from crdt.operations.writing import Exists, Missing
from crdt.tags import normalise_tag

__all__ = [
    "CATEGORY_REGISTERS",
    "CONTEXT_REGISTERS",
    "MODEL_REGISTERS",
    "REGISTERS",
    "TEMPLATE_REGISTERS",
    "Exists",
    "Missing",
    "NewPrompt",
    "NewVersion",
    "add_device_prefs",
    "add_examples",
    "add_preferences",
    "add_tags",
    "add_version",
    "change_tags",
    "check_prompt",
    "choose_version",
    "count_use",
    "create_category",
    "create_context",
    "create_prompt",
    "create_template",
    "delete_category",
    "delete_context",
    "delete_prompt",
    "delete_tag",
    "delete_template",
    "delete_variable",
    "edit_original",
    "edit_version",
    "label_version",
    "merge_device_prefs",
    "merge_preferences",
    "merge_tags",
    "normalise_tag",
    "purge_prompt",
    "purge_prompts",
    "raise_uses",
    "register_tag",
    "register_tags",
    "remove_model",
    "remove_tags",
    "rename_tag",
    "restore_category",
    "restore_context",
    "restore_prompt",
    "restore_tag",
    "restore_template",
    "set_category_fields",
    "set_context_fields",
    "set_fields",
    "set_model_fields",
    "set_tag_color",
    "set_tags",
    "set_template_fields",
    "set_variable",
]
