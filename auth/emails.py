"""Mail addresses as accounts know them."""

from dataclasses import dataclass

from email_validator import EmailNotValidError, validate_email

from auth.errors import InvalidEmail


@dataclass(frozen=True, slots=True)
class Address:
    """A mail address: `text` as its owner writes it, `ascii` as SMTP takes it, `key` as it is compared (ASCII, lower case)."""

    text: str
    ascii: str

    @property
    def key(self) -> str:
        return self.ascii.lower()


def same(one: str | None, other: str) -> bool:
    """Whether an account's address, if it has one, is this mailbox."""
    return one is not None and parse(one).key == parse(other).key


def parse(text: str) -> Address:
    """The address in `text`, normalised. No look-up is made.

    Raises:
        InvalidEmail: it is not one plain ASCII-local-part address with a public domain name.
    """
    try:
        # Without strict and with SMTPUTF8, addresses pass that look alike but compare as different.
        parsed = validate_email(text, check_deliverability=False, allow_smtputf8=False, strict=True, allow_domain_literal=False)
    except (EmailNotValidError, ValueError) as error:
        raise InvalidEmail from error
    if parsed.ascii_email is None:
        raise InvalidEmail
    return Address(parsed.normalized, parsed.ascii_email)
