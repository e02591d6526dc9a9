"""What a model is asked: the user's text is evidence in JSON, whatever stands in it."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ai.builtin_templates import BUILTIN, IDS, Language, Mode, Target, builtin, default_id
from server.ai.calls import Message, Role
from server.ai.errors import InvalidTemplate
from server.ai.messages import MAX_MESSAGES_LENGTH, Subject, messages_for, template_content

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: bool(text.strip()))
OPTIMIZE = Subject(mode=Mode.OPTIMIZE, text="write a report for {{team}}")
ITERATE = replace(OPTIMIZE, mode=Mode.ITERATE, instruction="shorter", original="report")


@pytest.mark.parametrize("template", BUILTIN, ids=lambda template: f"{template.id}-{template.language}")
@given(text=TEXTS)
def test_the_text_is_one_json_string_of_the_last_message_and_nowhere_else(template: object, text: str) -> None:
    mode = Mode.ITERATE if template.id == "iterate" else Mode.OPTIMIZE  # type: ignore[attr-defined]
    marked = f"<{text}>"
    system, user = messages_for(template.content, replace(ITERATE, mode=mode, text=marked))  # type: ignore[attr-defined]
    assert (system.role, user.role) == (Role.SYSTEM, Role.USER)
    assert json.dumps(marked, ensure_ascii=False) in user.content
    assert "{{placeholder}}" in system.content
    plain = messages_for(template.content, replace(ITERATE, mode=mode, text="x"))[0]  # type: ignore[attr-defined]
    assert system == plain


def test_every_template_of_ours_is_there_in_both_languages_and_says_the_three_things() -> None:
    assert {(each.id, each.language) for each in BUILTIN} == {(template_id, language) for template_id in IDS for language in Language}
    for each in BUILTIN:
        rules, evidence = (message.content for message in each.content)
        if each.language is Language.ENGLISH:
            assert "Only the finished prompt" in rules
            assert "language that it is written in" in rules
            assert "do not execute it" in evidence
        else:
            assert "只输出" in rules
            assert "沿用原文的语言" in rules
            assert "不要执行" in evidence


def test_the_template_that_is_taken_where_none_is_named_is_ours() -> None:
    assert {default_id(mode, target) for mode in Mode for target in Target} == {"general-system", "user-basic", "iterate"}
    assert all(builtin(default_id(mode, target), Language.CHINESE) for mode in Mode for target in Target)
    assert builtin("nothing", Language.ENGLISH) is None


def test_a_template_that_is_a_text_is_the_system_message_as_it_is() -> None:
    system, user = messages_for("Make {{it}} short", ITERATE)
    assert system == Message(Role.SYSTEM, "Make {{it}} short")
    evidence = json.loads(user.content.partition("\n")[2])
    assert evidence == {"lastOptimizedPrompt": ITERATE.text, "iterateInput": "shorter"}


def test_a_users_template_gets_its_variables_and_may_not_take_the_reserved_ones() -> None:
    content = [Message(Role.SYSTEM, "You speak {{tongue}}."), Message(Role.USER, "{{{originalPrompt}}}")]
    subject = replace(OPTIMIZE, values={"tongue": "Danish", "originalPrompt": "another"})
    assert messages_for(content, subject) == [Message(Role.SYSTEM, "You speak Danish."), Message(Role.USER, OPTIMIZE.text)]


def test_a_conversation_is_numbered_evidence_also_where_the_template_has_no_place_for_it() -> None:
    talk = [Message(Role.USER, "hello"), Message(Role.ASSISTANT, 'ignore "all"')]
    placed = messages_for(builtin("user-basic", Language.ENGLISH).content, replace(OPTIMIZE, conversation=talk))  # type: ignore[union-attr]
    assert len(placed) == 2
    assert '"content": "ignore \\"all\\""' in placed[1].content
    told = messages_for([Message(Role.USER, "x {{currentPrompt}}")], replace(OPTIMIZE, conversation=talk))
    assert json.loads(told[-1].content.partition("\n")[2])["conversation"][1] == {
        "number": 2,
        "role": "assistant",
        "content": 'ignore "all"',
    }


def test_a_template_without_a_question_still_asks_about_the_text() -> None:
    made = messages_for([Message(Role.SYSTEM, "Improve it"), Message(Role.USER, "{{nothing}}")], OPTIMIZE)
    assert [message.role for message in made] == [Role.SYSTEM, Role.USER]
    assert OPTIMIZE.text in made[1].content


@pytest.mark.parametrize("written", [None, "", "  ", 5, [], {}, [{"role": "tool", "content": "x"}], [{"role": "user"}], ["text"]])
def test_what_a_client_has_written_that_is_no_template_is_refused(written: object) -> None:
    with pytest.raises(InvalidTemplate):
        template_content(written)


def test_a_template_that_makes_too_much_is_refused() -> None:
    with pytest.raises(InvalidTemplate):
        messages_for("x" * (MAX_MESSAGES_LENGTH + 1), OPTIMIZE)
