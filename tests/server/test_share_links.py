"""The codes of share links."""

import string

from hypothesis import given
from hypothesis import strategies as st

from server.share_links import CODE_BYTES, CODE_CHARACTERS, draw_code, is_code

RANDOM = st.binary(min_size=CODE_BYTES, max_size=CODE_BYTES)


@given(RANDOM, RANDOM)
def test_other_bytes_make_another_code(one: bytes, other: bytes) -> None:
    first, second = draw_code(lambda size: one[:size]), draw_code(lambda size: other[:size])
    assert (first == second) == (one == other)
    assert is_code(first)
    assert set(first) <= set(string.digits + string.ascii_lowercase) - set("ilou")


def test_it_has_160_bits() -> None:
    assert draw_code(bytes) == "0" * CODE_CHARACTERS
    assert draw_code(lambda size: b"\xff" * size) == "z" * CODE_CHARACTERS
    assert 8 * CODE_BYTES == 5 * CODE_CHARACTERS == 160


@given(st.text(alphabet=string.printable, min_size=CODE_CHARACTERS - 1, max_size=CODE_CHARACTERS + 1))
def test_nothing_else_is_looked_for(text: str) -> None:
    assert is_code(text) == (len(text) == CODE_CHARACTERS and set(text) <= set("0123456789abcdefghjkmnpqrstvwxyz"))
