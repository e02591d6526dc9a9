"""WeChat as this server is configured for it."""

from auth.identities import Identities
from auth.social_states import SocialStates
from auth.wechat import App, Kind, WeChat
from auth.wechat_sign_in import WeChatSignIn
from server.config import Settings
from storage.pool import Database

CALLBACK_PATH = "/api/auth/social/wechat/callback"
"""Below `public_url`, whose host is the website's authorisation callback domain at WeChat."""


def make_wechat(settings: Settings, database: Database, states: SocialStates, identities: Identities) -> WeChatSignIn:
    """Sign-ins by the kinds of apps that are registered; every other kind is refused."""
    registered = {
        Kind.WEB: (settings.wechat_web_appid, settings.wechat_web_secret),
        Kind.APP: (settings.wechat_app_appid, settings.wechat_app_secret),
        Kind.MINI: (settings.wechat_mini_appid, settings.wechat_mini_secret),
    }
    apps = {kind: App(appid, secret.get_secret_value()) for kind, (appid, secret) in registered.items() if appid and secret}
    return WeChatSignIn(
        database=database,
        identities=identities,
        states=states,
        wechat=WeChat(apps, api_url=settings.wechat_api_url, qr_url=settings.wechat_qr_url),
        redirect_uri=(settings.public_url or "").rstrip("/") + CALLBACK_PATH,
    )
