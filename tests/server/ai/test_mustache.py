"""The part of Mustache that templates use, against what the specification says of it, and against templates that mean harm."""

import json
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ai.errors import InvalidTemplate
from server.ai.mustache import MAX_DEPTH, MAX_OUTPUT, Template, Value

TEXTS = st.text(st.characters(codec="utf-8"))


def render(template: str, context: Mapping[str, Value]) -> str:
    return Template(template).render(context)


@pytest.mark.parametrize(
    ("template", "made"),
    [
        ("Hello {{name}}!", "Hello Ada!"),
        ("{{{html}}} {{&html}} {{html}}", "<b>&</b> <b>&</b> <b>&</b>"),
        ("{{missing}}|{{a.b}}|{{a.c}}", "|deep|"),
        ("{{#name}}yes {{.}}{{/name}}{{^name}}no{{/name}}", "yes Ada"),
        ("{{#empty}}yes{{/empty}}{{^empty}}no{{/empty}}", "no"),
        ("{{#list}}<{{x}}>{{/list}}", "<1><2>"),
        ("{{^none}}none{{/none}}{{#none}}some{{/none}}", "none"),
        ("a{{! a comment }}b", "ab"),
        ("{{> partial}}x", "x"),
        ("{{#name}}\n  kept\n{{/name}}\nend", "  kept\nend"),
        ('{"p": {{#helpers.toJson}}{{{quoted}}}{{/helpers.toJson}}}', r'{"p": "say \"hi\"\n{{name}}"}'),
        ("no tags } { }}", "no tags } { }}"),
    ],
)
def test_templates_are_filled_as_the_specification_says(template: str, made: str) -> None:
    context: dict[str, Value] = {
        "name": "Ada",
        "html": "<b>&</b>",
        "a": {"b": "deep"},
        "empty": "",
        "list": [{"x": "1"}, {"x": "2"}],
        "none": [],
        "quoted": 'say "hi"\n{{name}}',
    }
    assert render(template, context) == made


@given(TEXTS)
def test_a_value_is_put_in_as_it_is_and_never_read_as_a_template(value: str) -> None:
    assert render("<{{{value}}}|{{value}}>", {"value": value, "name": "no"}) == f"<{value}|{value}>"


@given(TEXTS)
def test_to_json_makes_one_string_of_whatever_stands_in_it(value: str) -> None:
    assert json.loads(render("{{#helpers.toJson}}{{{value}}}{{/helpers.toJson}}", {"value": value})) == value


@given(st.text(st.sampled_from("{}#^/!>&= ab\n.")))
def test_any_text_is_rendered_or_refused(template: str) -> None:
    with suppress(InvalidTemplate):
        render(template, {"a": "1", "b": [{"a": "2"}]})


@pytest.mark.parametrize(
    "template",
    [
        "{{#a}}",
        "{{/a}}",
        "{{#a}}{{#b}}{{/a}}{{/b}}",
        "{{=<% %>=}}",
        "{{#a}}" * (MAX_DEPTH + 1) + "{{/a}}" * (MAX_DEPTH + 1),
    ],
)
def test_a_template_that_does_not_hold_together_is_refused(template: str) -> None:
    with pytest.raises(InvalidTemplate):
        render(template, {"a": "1"})


@pytest.mark.timeout(20)
def test_a_template_that_grows_without_end_is_refused() -> None:
    many: list[Value] = [{"x": str(number)} for number in range(100)]
    nested = "{{#many}}" * 10 + "x" + "{{/many}}" * 10
    with pytest.raises(InvalidTemplate, match="steps"):
        render(nested, {"many": many})
    with pytest.raises(InvalidTemplate, match="long"):
        render("{{#many}}{{big}}{{/many}}", {"many": many, "big": "b" * (MAX_OUTPUT // 50)})
    quoted = "{{#helpers.toJson}}" * MAX_DEPTH + "{{{q}}}" + "{{/helpers.toJson}}" * MAX_DEPTH
    with pytest.raises(InvalidTemplate):
        render(quoted, {"q": '"\\' * 10})


def test_a_template_that_is_rendered_again_has_nothing_of_the_time_before() -> None:
    template = Template("{{#list}}{{x}}{{/list}}{{#helpers.toJson}}{{name}}{{/helpers.toJson}}")

    assert template.render({"list": [{"x": "1"}], "name": "Ada"}) == '1"Ada"'
    assert template.render({"list": [], "name": ""}) == '""'
