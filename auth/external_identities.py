"""What another provider says of who signs in, and how much of it is believed."""

from dataclasses import dataclass

from auth import emails
from auth.emails import Address
from auth.errors import InvalidEmail
from auth.new_accounts import MAX_NAME_CHARACTERS
from storage.identities import Provider

MAX_SUBJECT_CHARACTERS = 255
"""Of a provider's name for a person (OpenID Connect Core, 2, for `sub`). Past it the provider's word is not accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalIdentity:
    """What a provider has said of who signs in, checked already.

    `keys` are the (namespace, subject) pairs it is known by, at least one. `authoritative` means that the provider owns the mailbox
    `email`, so that its word counts as much as a mail that was answered. `method` is what the session and the audit log call it.
    """

    provider: Provider
    keys: tuple[tuple[str, str], ...]
    email: str | None = None
    email_verified: bool = False
    authoritative: bool = False
    name: str | None = None
    method: str

    @property
    def is_well_formed(self) -> bool:
        """Whether its keys can be those of a person."""
        return bool(self.keys) and all(0 < len(text) <= MAX_SUBJECT_CHARACTERS and text.isprintable() for key in self.keys for text in key)

    @property
    def shown_name(self) -> str:
        """The name as it may be stored: one printable line, maybe empty."""
        return "".join(each for each in self.name or "" if each.isprintable()).strip()[:MAX_NAME_CHARACTERS].strip()

    @property
    def address(self) -> Address | None:
        """The mail address, if there is one, the provider calls it verified, and it can have an account here."""
        if self.email is None or not self.email_verified:
            return None
        try:
            return emails.parse(self.email)
        except InvalidEmail:
            return None

    @property
    def shown_email(self) -> str | None:
        """The address as it may be stored beside the identity, verified or not."""
        try:
            return emails.parse(self.email).text if self.email else None
        except InvalidEmail:
            return None
