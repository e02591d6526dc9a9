"""What may be a base URL, and in which one form it is kept (cases 45, 46 and 50 of the rule for outgoing addresses, when saving)."""

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.outgoing.addresses import MAX_URL, BaseUrl, checked_base_url
from server.outgoing.errors import RefusedAddress

ALLOWED = ("localhost:11434", "[fd00::7]:8080", "ollama.lan:80", "10.0.0.5:443")
FORM, SCHEME, USERINFO, QUERY, HOST, PORT, PRIVATE = "form", "scheme", "userinfo", "query", "host", "port", "private"


@pytest.mark.parametrize(
    ("given", "url", "origin"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1", "https://api.openai.com"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1", "https://api.openai.com"),
        ("https://api.openai.com", "https://api.openai.com", "https://api.openai.com"),
        ("https://api.openai.com///", "https://api.openai.com", "https://api.openai.com"),
        ("HTTPS://API.OpenAI.com.:443/v1/chat/completions", "https://api.openai.com/v1", "https://api.openai.com"),
        ("https://api.openai.com/v1/chat/completions/", "https://api.openai.com/v1", "https://api.openai.com"),
        ("https://a.example/chat/completions/x", "https://a.example/chat/completions/x", "https://a.example"),
        ("https://a.example/x/../v1/./y", "https://a.example/v1/y", "https://a.example"),
        ("https://a.example/%E4%BD%A0/你", "https://a.example/%E4%BD%A0/%E4%BD%A0", "https://a.example"),
        ("https://模型.example/v1", "https://xn--xgs754b.example/v1", "https://xn--xgs754b.example"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://8.8.8.8/v1", "https://8.8.8.8/v1", "https://8.8.8.8"),
        ("https://[2606:4700:0:0::1111]/v1", "https://[2606:4700::1111]/v1", "https://[2606:4700::1111]"),
        ("https://my_gateway.example/v1", "https://my_gateway.example/v1", "https://my_gateway.example"),
        ("https://a.example/accounts/@cf/v1", "https://a.example/accounts/@cf/v1", "https://a.example"),
        # what the operator lists
        ("http://localhost:11434/v1", "http://localhost:11434/v1", "http://localhost:11434"),
        ("http://LOCALHOST.:11434/", "http://localhost:11434", "http://localhost:11434"),
        ("https://localhost:11434", "https://localhost:11434", "https://localhost:11434"),
        ("http://[fd00:0::7]:8080/v1", "http://[fd00::7]:8080/v1", "http://[fd00::7]:8080"),
        ("http://ollama.lan/v1", "http://ollama.lan/v1", "http://ollama.lan"),
        ("https://10.0.0.5/v1", "https://10.0.0.5/v1", "https://10.0.0.5"),
    ],
)
def test_an_address_is_kept_in_one_form(given: str, url: str, origin: str) -> None:
    assert checked_base_url(given, allowed=ALLOWED) == BaseUrl(url, origin)
    assert checked_base_url(url, allowed=ALLOWED) == BaseUrl(url, origin)


REFUSED = [
    # 45: what clouds tell a machine of itself
    ("http://169.254.169.254/", SCHEME),
    ("https://169.254.169.254/latest/meta-data", PRIVATE),
    ("http://metadata.google.internal/", SCHEME),
    ("https://metadata.google.internal/", PRIVATE),
    ("http://100.100.100.200/", SCHEME),
    ("https://100.100.100.200/", PRIVATE),
    ("http://168.63.129.16/", SCHEME),
    ("https://168.63.129.16/", PRIVATE),
    ("http://[fd00:ec2::254]/", SCHEME),
    ("https://[fd00:ec2::254]/", PRIVATE),
    # 46: this machine, in its spellings
    ("https://localhost/", PRIVATE),
    ("https://LOCALHOST/", PRIVATE),
    ("https://localhost./", PRIVATE),
    ("https://a.localhost/", PRIVATE),
    ("https://ollama/", PRIVATE),
    ("https://printer.local/", PRIVATE),
    ("https://nas.lan/", PRIVATE),
    ("https://box.home.arpa/", PRIVATE),
    ("https://127.0.0.1/", PRIVATE),
    ("https://127.0.0.1./", HOST),
    ("https://127.1/", HOST),
    ("https://127.0.1/", HOST),
    ("https://2130706433/", HOST),
    ("https://0x7f.1/", HOST),
    ("https://0x7f000001/", HOST),
    ("https://a.0x/", HOST),
    ("https://0177.0.0.1/", HOST),
    ("https://127.0.0.01/", HOST),
    ("https://0/", HOST),
    ("https://0.0.0.0/", PRIVATE),
    ("https://256.1.1.1/", HOST),
    ("https://[::1]/", PRIVATE),
    ("https://[::]/", PRIVATE),
    ("https://[::ffff:127.0.0.1]/", PRIVATE),
    ("https://[::ffff:7f00:1]/", PRIVATE),
    ("https://[64:ff9b::7f00:1]/", PRIVATE),
    ("https://[2002:7f00:1::]/", PRIVATE),
    ("https://[fe80::1%25eth0]/", HOST),
    ("https://[fe80::1%eth0]/", HOST),
    ("https://[::1/", HOST),
    ("https://::1/", HOST),
    ("https://①②⑦.0.0.1/", HOST),
    ("https://１２７.0.0.1/", HOST),
    ("https://127。0。0。1/", PRIVATE),
    ("https://ｌｏｃａｌｈｏｓｔ/", HOST),
    ("https://ⓛocalhost/", HOST),
    ("https://127%2e0%2e0%2e1/", HOST),
    ("https://%6cocalhost/", HOST),
    ("https://local\u00adhost/", FORM),
    ("https://local\u200bhost/", FORM),
    # 50: schemes and ports
    ("file:///etc/passwd", SCHEME),
    ("ftp://a.example/", SCHEME),
    ("gopher://a.example:70/_x", SCHEME),
    ("http+unix://%2Frun%2Fdocker.sock/", SCHEME),
    ("data:text/plain,x", SCHEME),
    ("ws://a.example/", SCHEME),
    ("wss://a.example/", SCHEME),
    ("javascript:alert(1)", SCHEME),
    ("//a.example/", SCHEME),
    ("a.example/v1", SCHEME),
    ("https:a.example", SCHEME),
    ("https:/a.example", SCHEME),
    ("http://a.example/v1", SCHEME),
    ("https://a.example:80/", PORT),
    ("https://a.example:8443/", PORT),
    ("https://a.example:22/", PORT),
    ("https://a.example:0/", PORT),
    ("https://a.example:99999/", PORT),
    ("https://a.example:/", HOST),
    ("https://a.example:+443/", HOST),
    ("https://a.example:４４３/", HOST),
    ("https://a.example:443:443/", HOST),
    # only exactly what the operator lists
    ("http://localhost:11435/v1", SCHEME),
    ("https://localhost:11435/v1", PORT),
    ("http://127.0.0.1:11434/v1", SCHEME),
    ("http://a.localhost:11434/v1", SCHEME),
    ("http://ollama.lan:8080/", SCHEME),
    ("https://10.0.0.6/", PRIVATE),
    # what may hide another host, or a secret
    ("https://user@a.example/", USERINFO),
    ("https://user:pass@a.example/", USERINFO),
    ("https://@a.example/", USERINFO),
    ("https://api.openai.com@127.0.0.1/", USERINFO),
    ("https://a.example?x", QUERY),
    ("https://a.example/?key=1", QUERY),
    ("https://a.example/v1?", QUERY),
    ("https://a.example/v1#", QUERY),
    ("https://a.example#@127.0.0.1/", QUERY),
    ("https://a.example\\@127.0.0.1/", FORM),
    ("https:\\\\a.example/", FORM),
    ("https://a.example /", FORM),
    (" https://a.example/", FORM),
    ("https://a.example/\n", FORM),
    ("https://a.example/v1\tx", FORM),
    ("https://a.example/\r\nHost: b", FORM),
    ("https://a.exa\x00mple/", FORM),
    ("https://a.example/\x7f", FORM),
    ("https://a.example/\u3000", FORM),
    ("https://a.example/\ud800", FORM),
    ("https://a.example/%zz", FORM),
    ("https://a.example/" + "a" * MAX_URL, FORM),
    ("https://", HOST),
    ("https:///v1", HOST),
    ("https://.a.example/", HOST),
    ("https://a..example/", HOST),
    ("https://a.example../", HOST),
    ("https://-a.example/", HOST),
    ("https://a$b.example/", HOST),
    ("https://a,b.example/", HOST),
    ("https://*.example/", HOST),
    ("https://" + "a" * 64 + ".example/", HOST),
    ("https://" + "a." * 126 + "example/", HOST),
    ("", FORM),
]


@pytest.mark.parametrize(("given", "reason"), REFUSED)
def test_an_address_is_refused_for_one_stable_reason(given: str, reason: str) -> None:
    with pytest.raises(RefusedAddress) as refused:
        checked_base_url(given, allowed=ALLOWED)
    assert refused.value.reason == reason
    assert str(refused.value) == reason  # nothing of the address


@given(
    st.text(max_size=40),
    st.sampled_from(["", "https://", "https://a.example/", "https://a.example:", "http://localhost:11434/", "https://["]),
)
def test_any_text_is_refused_or_stays_what_it_became(text: str, begin: str) -> None:
    try:
        checked = checked_base_url(begin + text, allowed=ALLOWED)
    except RefusedAddress:
        return
    assert checked_base_url(checked.url, allowed=ALLOWED) == checked
    assert checked.url.isascii()
    assert checked.url == checked.origin or checked.url.startswith(checked.origin + "/")
    assert str(httpx2.URL(checked.url)).rstrip("/") == checked.url
