from pathlib import Path

import pytest

from adln.errors import SettingsError
from adln.service.settings import ServeSettings, is_loopback, read_serve_settings


def test_options_win_over_environment_and_that_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text('port = 1\nhost = "::1"\ngallery = "a"\n[camera_names]\n3 = "gate"\n')
    environment = {"ADLN_SERVE_PORT": "2", "ADLN_SERVE_GALLERY": "b", "HOME": "/root"}
    settings = read_serve_settings(path, environment, ["port=3"])
    assert (settings.port, settings.host, settings.gallery) == (3, "::1", "b")
    assert settings.camera_names == {3: "gate"}


@pytest.mark.parametrize(
    "text",
    ["colour = 1", 'port = "80"', "port = 70000", "match = 0.5", 'tls_key = "a"', "stop_s = 0.0"],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(SettingsError):
        read_serve_settings(path, {})


def test_a_mistyped_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="ADLN_SERVE_PROT"):
        read_serve_settings(None, {"ADLN_SERVE_PROT": "1"})


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text("port = 70000\nthreads = 0\nmatch = 0.5\nstop_s = 0\n")
    with pytest.raises(SettingsError) as caught:
        read_serve_settings(path, {})
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    for what in ("port must be 0 to 65535, got 70000", "threads must", "match and", "times must"):
        assert what in told
    with pytest.raises(SettingsError, match=r"ADLN_SERVE_COLOUR.*ADLN_SERVE_PROT"):
        read_serve_settings(None, {"ADLN_SERVE_PROT": "1", "ADLN_SERVE_COLOUR": "red"})


def test_beyond_loopback_tokens_are_required_whatever_the_settings_say() -> None:
    assert not ServeSettings().tokens_required
    assert ServeSettings(require_token=True).tokens_required
    for host in ("0.0.0.0", "::", "192.168.1.4", "myhost"):
        assert ServeSettings(host=host, require_token=False).tokens_required


def test_loopback_is_recognised() -> None:
    assert [is_loopback(host) for host in ("localhost", "127.0.0.9", "::1", "", "10.0.0.1")] == [
        True,
        True,
        True,
        False,
        False,
    ]
