"""OAuth 2.0's code flow with PKCE (RFC 6749, 4.1; RFC 7636), by authlib: to a provider's page and back with an ID token."""

from dataclasses import dataclass, field

from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuthError

from auth.errors import ProviderUnavailable, SocialRefused
from auth.openid import Endpoints
from auth.outbound import BoundedTransport, asking
from auth.social_states import Begun

SCOPE = "openid email profile"
_REFUSED = frozenset({"invalid_grant", "access_denied"})
"""What a provider says of a code that is not good (RFC 6749, 5.2). Anything else it says is about us or itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who we are to the provider, and the address that it sends browsers back to."""

    id: str
    secret: str = field(repr=False)
    redirect_uri: str


def page(client: Client, endpoints: Endpoints, begun: Begun) -> str:
    """The address of the provider's page for this sign-in."""
    url, _ = _asking(client).create_authorization_url(
        endpoints.authorization, state=begun.state, code_verifier=begun.code_verifier, nonce=begun.nonce, prompt="select_account"
    )
    return str(url)


async def exchange(client: Client, endpoints: Endpoints, *, code: str, code_verifier: str) -> str:
    """The ID token that the provider gives for a code. The access token beside it is thrown away: nothing is asked with it.

    Raises:
        SocialRefused: the code is not good (any more), or was not given for this verifier.
        ProviderUnavailable: the provider does not answer, or refuses us.
    """
    async with asking(), _asking(client) as session:
        try:
            answer = await session.fetch_token(
                endpoints.token, grant_type="authorization_code", code=code, code_verifier=code_verifier, redirect_uri=client.redirect_uri
            )
        except OAuthError as error:
            if str(error.error) in _REFUSED:
                raise SocialRefused("code") from None
            raise ProviderUnavailable(f"token endpoint: {error.error}"[:100]) from None
        except (ValueError, TypeError, RecursionError):
            raise ProviderUnavailable("token endpoint: no JSON") from None
    token = answer.get("id_token")
    if not isinstance(token, str):
        raise ProviderUnavailable("token endpoint: no ID token")
    return token


def _asking(client: Client) -> AsyncOAuth2Client:
    return AsyncOAuth2Client(
        client.id,
        client.secret,
        token_endpoint_auth_method="client_secret_post",  # noqa: S106  # a way to send one, not one
        code_challenge_method="S256",
        scope=SCOPE,
        redirect_uri=client.redirect_uri,
        transport=BoundedTransport(),
        trust_env=False,
        follow_redirects=False,
    )
