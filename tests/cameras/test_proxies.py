import pytest

from adln.cameras.proxies import is_local, proxies_for


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://10.0.0.9/snapshot.jpg", True),
        ("http://user@192.168.1.4:8080/a.jpg", True),
        ("http://[fe80::1]/a.jpg", True),
        ("http://127.0.0.1:5000", True),
        ("http://camera/snapshot.jpg", True),
        ("http://Door.local./a.jpg", True),
        ("https://hooks.example.com/x", False),
        ("http://93.184.216.34/a.jpg", False),
    ],
)
def test_only_what_is_elsewhere_is_asked_through_a_proxy(
    url: str, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert is_local(url) is local
    proxies: dict[str, str] = proxies_for(url).proxies  # type: ignore[attr-defined]
    assert ("http" in proxies) is not local
