"""Making accounts: a user with a data key and a library of the user's own, whatever the user has shown."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from auth.emails import Address
from storage import libraries, users
from storage.cipher import KEY_BYTES, DataKey, user_key_place
from storage.keyring import Keyring
from storage.pool import Connection
from storage.users import NewUser, User

OWN_LIBRARY_NAME = "My library"
MAX_NAME_CHARACTERS = 100
UNNAMED = "Unnamed"
"""Of whom neither a name nor an address is known."""


class NewAccounts:
    """Makes accounts inside the caller's transaction. `first_update` is what the library of every account begins with."""

    def __init__(self, *, keyring: Keyring, first_update: bytes, random: Callable[[int], bytes]) -> None:
        self._keyring = keyring
        self._first_update = first_update
        self._random = random

    async def create(
        self,
        connection: Connection,
        *,
        address: Address | None,
        email_verified_at: datetime | None = None,
        name: str | None,
        password_hash: str | None,
        now: datetime,
    ) -> tuple[User, DataKey]:
        """A new user and the user's data key. Without a name the part of the address before the @ serves.

        Raises:
            Conflict: `users_email_key`, an account with this address exists.
        """
        user_id, library_id = self._new_id(), self._new_id()
        data_key = DataKey.new(self._random(KEY_BYTES))
        key_id, wrapped = self._keyring.wrap(data_key, user_key_place(user_id))
        user = await users.create(
            connection,
            NewUser(
                id=user_id,
                email=address.text if address else None,
                email_key=address.key if address else None,
                name=name or (address.text.partition("@")[0][:MAX_NAME_CHARACTERS] if address else UNNAMED),
                password_hash=password_hash,
                library_id=library_id,
                wrapped_key=wrapped,
                key_id=key_id,
                created_at=now,
                email_verified_at=email_verified_at,
            ),
        )
        library = libraries.new(
            library_id=library_id,
            owner_id=user_id,
            name=OWN_LIBRARY_NAME,
            first_update=self._first_update,
            keyring=self._keyring,
            random=self._random,
            now=now,
        )
        await libraries.create(connection, library)
        return user, data_key

    def _new_id(self) -> UUID:
        return UUID(bytes=self._random(16), version=4)
