"""What our mails say, and in which language."""

from uuid import UUID

import pytest

from auth.mail import WITH_TOKEN, Kind, Language, Letter
from server.letters import DOORS, preferred, written

TOKEN = "t" * 43
ID = UUID(int=1)


def letter(kind: Kind, language: Language) -> Letter:
    return Letter(mail_id=ID, kind=kind, address="ada@example.com", language=language, token=TOKEN if kind in WITH_TOKEN else None)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("kind", Kind)
def test_every_mail_is_written_in_every_language(kind: Kind, language: Language) -> None:
    subject, text = written(letter(kind, language), app_url="https://app.example/", minutes=10)
    assert subject
    assert "\n" not in subject
    assert "{" not in text
    assert any(ord(character) > 0x3000 for character in subject) == any(ord(character) > 0x3000 for character in text)
    assert any(ord(character) > 0x3000 for character in text) == (language is Language.CHINESE)
    assert (f"https://app.example/#/{DOORS[kind].page}?token={TOKEN}\n" in text) if kind in WITH_TOKEN else ("token" not in text)
    assert ("10" in text) == (kind in WITH_TOKEN)


@pytest.mark.parametrize("kind", sorted(WITH_TOKEN))
def test_without_the_app_the_token_stands_alone_with_where_it_goes(kind: Kind) -> None:
    _, text = written(letter(kind, Language.ENGLISH), app_url=None, minutes=10)
    assert f"POST {DOORS[kind].route}:\n\n{TOKEN}\n\n" in text


def test_a_letter_does_not_show_its_token() -> None:
    assert TOKEN not in repr(letter(Kind.RESET, Language.ENGLISH))


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("zh", "zh"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.1, ZH-hant-TW;q=0.2", "zh"),
        ("de, zh;q=0.5", "zh"),
        ("de, fr", "en"),
        ("zh;q=0", "en"),
        ("zh;q=x, en;q=0.1", "en"),
        ("*", "en"),
        ("zhx", "en"),
        ("zh;q=nan", "en"),
        (",;=,zh", "zh"),
        ("x," * 5_000 + "zh", "en"),
    ],
)
def test_the_language_that_is_liked_best_is_taken(accepted: str, language: str) -> None:
    assert preferred(accepted) == language
