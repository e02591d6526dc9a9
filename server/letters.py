"""What our mails say, in each language: a subject and a text. Nothing in them comes from anybody else but the addresses' owners."""

from dataclasses import dataclass

from auth.mail import Kind, Language, Letter

MAX_ACCEPTED = 1_000
"""Characters of Accept-Language that are read; browsers send fewer than 100."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where a token goes: a page of the web app, in whose fragment it stands so that no server logs it; and the request behind that."""

    page: str
    route: str


DOORS = {
    Kind.VERIFY: Door("verify", "/api/auth/email/verify"),
    Kind.REGISTER: Door("register", "/api/auth/register/confirm"),
    Kind.RESET: Door("reset", "/api/auth/password/reset"),
    Kind.CHANGE: Door("confirm-email", "/api/auth/email/confirm"),
}
_ENGLISH = {
    Kind.VERIFY: (
        "Please confirm your address",
        "An account of the prompt library was made with this address. If it was you, confirm that the mailbox is yours:",
        "If it was not you, do not confirm it.",
    ),
    Kind.REGISTER: (
        "Complete your registration",
        "Somebody wants to register this address at the prompt library. If it was you, go on here, with the password that you chose:",
        "If it was not you, do nothing: no account is made.",
    ),
    Kind.RESET: (
        "Choose a new password",
        "Somebody asked for a new password for your account of the prompt library. Choose one here:",
        "If it was not you, do nothing: your password stays as it is.",
    ),
    Kind.CHANGE: (
        "Please confirm your new address",
        "Somebody wants to use this address for an account of the prompt library. If it was you, confirm it while you are signed in:",
        "If it was not you, do nothing.",
    ),
    Kind.CHANGE_ASKED: (
        "Your address is about to change",
        "Somebody who is signed in to your account of the prompt library wants to use another address for it."
        " Nothing has changed until that one is confirmed.",
        "If it was not you, set a new password now: that ends what was begun.",
    ),
    Kind.CHANGED: (
        "Your address was changed",
        "Your account of the prompt library uses another address from now on.",
        "If it was not you, ask whoever runs the server for help at once.",
    ),
    Kind.PASSWORD_CHANGED: (
        "Your password was changed",
        "Your account of the prompt library has a new password, and other devices were signed out.",
        "If it was not you, ask for a new password at once.",
    ),
    Kind.HAS_ACCOUNT: (
        "You have an account already",
        "Somebody wanted to register this address at the prompt library, and it has an account already. If it was you, sign in;"
        " if you do not know the password any more, ask for a new one.",
        "If it was not you, there is nothing to do.",
    ),
    Kind.TAKEN: (
        "This address has an account already",
        "Somebody wanted to use this address for another account of the prompt library. It has an account already, so nothing was changed.",
        "If it was not you, there is nothing to do.",
    ),
}
_CHINESE = {
    Kind.VERIFY: ("请确认您的邮箱", "有人用此邮箱注册了提示词库账户。如果是您本人,请确认此邮箱归您所有:", "如果不是您本人,请不要确认。"),
    Kind.REGISTER: (
        "请完成注册",
        "有人想用此邮箱注册提示词库账户。如果是您本人,请用您设置的密码继续:",
        "如果不是您本人,无需任何操作,账户不会被创建。",
    ),
    Kind.RESET: ("请设置新密码", "有人请求为您的提示词库账户设置新密码。请在此设置:", "如果不是您本人,无需任何操作,密码保持不变。"),
    Kind.CHANGE: (
        "请确认您的新邮箱",
        "有人想将此邮箱用于提示词库账户。如果是您本人,请在登录状态下确认:",
        "如果不是您本人,无需任何操作。",
    ),
    Kind.CHANGE_ASKED: (
        "您的邮箱即将更改",
        "有已登录您提示词库账户的人想更换邮箱。在新邮箱确认之前,一切保持不变。",
        "如果不是您本人,请立即设置新密码,更改将随之作废。",
    ),
    Kind.CHANGED: ("您的邮箱已更改", "您的提示词库账户从现在起使用另一个邮箱。", "如果不是您本人,请立即联系服务器管理员。"),
    Kind.PASSWORD_CHANGED: ("您的密码已更改", "您的提示词库账户已设置新密码,其他设备已退出登录。", "如果不是您本人,请立即重新设置密码。"),
    Kind.HAS_ACCOUNT: (
        "您已有账户",
        "有人想用此邮箱注册提示词库账户,但它已有账户。如果是您本人,请直接登录;忘记密码时可以请求设置新密码。",
        "如果不是您本人,无需任何操作。",
    ),
    Kind.TAKEN: ("此邮箱已有账户", "有人想将此邮箱用于另一个提示词库账户。它已有账户,因此没有任何更改。", "如果不是您本人,无需任何操作。"),
}
_TEXTS = {Language.ENGLISH: _ENGLISH, Language.CHINESE: _CHINESE}
_ONCE = {
    Language.ENGLISH: "It works once, within {minutes} minutes.",
    Language.CHINESE: "仅能使用一次,{minutes} 分钟内有效。",
}
_BARE = {
    Language.ENGLISH: "Your token, for POST {route}:",
    Language.CHINESE: "您的令牌,用于 POST {route}:",
}


def written(letter: Letter, *, app_url: str | None, minutes: int) -> tuple[str, str]:
    """The subject and the text of a letter. Without the web app's address, the bare token and where it goes."""
    subject, about, otherwise = _TEXTS[letter.language][letter.kind]
    parts = [about]
    if letter.token is not None:
        door = DOORS[letter.kind]
        if app_url is None:
            parts.append(_BARE[letter.language].format(route=door.route))
            parts.append(letter.token)
        else:
            parts.append(f"{app_url.rstrip('/')}/#/{door.page}?token={letter.token}")
        parts.append(_ONCE[letter.language].format(minutes=minutes))
    return subject, "\n\n".join([*parts, otherwise]) + "\n"


def preferred(accepted: str) -> Language:
    """The language that this Accept-Language (RFC 9110, 12.5.4) likes best of those that we write; English where it names none."""
    best, liked = Language.ENGLISH, 0.0
    for part in accepted[:MAX_ACCEPTED].split(","):
        tag, _, rest = part.strip().partition(";")
        quality = _quality(rest)
        language = next((each for each in Language if tag.strip().lower().partition("-")[0] == each.value), None)
        if language is not None and quality > liked:
            best, liked = language, quality
    return best


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return min(1.0, max(0.0, float(value)))
    except ValueError:
        return 0.0
