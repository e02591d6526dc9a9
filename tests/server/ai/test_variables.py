"""Which `{{variables}}` a text has, and what has become of them in another."""

import time

from hypothesis import given
from hypothesis import strategies as st

from server.ai.variables import MAX_NAME, changed, variables_of

NAMES = st.from_regex(r"[a-z_中][a-z0-9_.中-]{0,20}", fullmatch=True)


def test_variables_are_found_by_the_rules_of_the_app() -> None:
    text = "{{a}} {{ b }} {{{c}}} {{a}} {{1d}} {{#e}} {{/e}} {{>f}} {{!g}} {{h i}} {{}} {{城市}} {j} {{" + "k" * (MAX_NAME + 1) + "}}"
    assert variables_of(text) == ("a", "b", "c", "城市")


@given(st.lists(NAMES, unique=True), st.randoms(use_true_random=False))
def test_a_text_with_the_same_variables_in_another_order_has_lost_nothing(names: list[str], random: object) -> None:
    before = " ".join(f"{{{{{name}}}}}" for name in names)
    after = "\n".join(f"({{{{ {name} }}}})" for name in reversed(names))
    assert changed(before, after) == ([], [])


@given(st.lists(NAMES, unique=True), st.lists(NAMES, unique=True))
def test_what_is_gone_and_what_is_new_is_told_once_each(old: list[str], new: list[str]) -> None:
    found = changed("".join(f"{{{{{name}}}}}" for name in old * 2), "".join(f"{{{{{name}}}}}" for name in new * 2))
    assert found == ([name for name in old if name not in new], [name for name in new if name not in old])


def test_a_variable_that_the_instruction_asks_for_is_not_made_up() -> None:
    assert changed("Hello", "Hello {{name}} {{other}}", asked="greet {{name}}").new == ["other"]


def test_texts_of_nothing_but_variables_are_compared_at_once() -> None:
    before, after = ("".join(f"{{{{{letter}{number}}}}}" for number in range(25_000)) for letter in "ab")
    began = time.monotonic()
    assert [len(names) for names in changed(before, after)] == [25_000, 25_000]
    assert time.monotonic() - began < 1
