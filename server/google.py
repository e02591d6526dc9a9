"""Google as this server is configured for it."""

import time

from auth.google import ISSUER, OTHER_SPELLING, Google
from auth.identities import Identities
from auth.openid import OpenIdProvider
from auth.social import Client
from auth.social_states import SocialStates
from server.config import Settings

CALLBACK_PATH = "/api/auth/social/google/callback"
"""Below `public_url`: one of the redirect URIs that the web client is registered with at Google."""


def make_google(settings: Settings, states: SocialStates, identities: Identities) -> Google:
    """Google, or what refuses everything where no client ids are set."""
    also_spelt = {OTHER_SPELLING} if settings.google_issuer == ISSUER else set()
    client = None
    if settings.google_client_secret is not None and settings.public_url is not None:
        client = Client(
            id=settings.google_client_ids[0],
            secret=settings.google_client_secret.get_secret_value(),
            redirect_uri=settings.public_url.rstrip("/") + CALLBACK_PATH,
        )
    return Google(
        provider=OpenIdProvider(settings.google_issuer, also_spelt=also_spelt, clock=time.monotonic),
        client_ids=settings.google_client_ids,
        client=client,
        states=states,
        identities=identities,
    )
