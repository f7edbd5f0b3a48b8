import pytest

from adln.cameras.redaction import public_name, public_text


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:s3cret@10.0.0.2/live",
        "rtsp://admin:s3@cret@10.0.0.2/live",
        "rtsp://admin:s3/cret@10.0.0.2/live",
        "rtsp://admin:s3?cret@10.0.0.2/live",
        "rtsp://admin:s3#cret@10.0.0.2/live",
        "rtsp://admin:s3:cret@10.0.0.2:554/live?channel=1",
        "http://10.0.0.2/flv?user=admin&password=s3cret",
        "http://10.0.0.2/flv?user=admin&password=s3@cret",
        "http://10.0.0.2/snapshot.jpg?auth=YWRtaW46czNjcmV0&x=s3cret",
        "rtsp://10.0.0.2/user=admin_password=s3cret_channel=1",
        "rtsp://10.0.0.2/user=admin_password=s3@cret_channel=1",
        "rtsp://10.0.0.2/live#token=s3cret",
    ],
)
def test_no_part_of_a_password_is_shown(address: str) -> None:
    shown = public_name(address)
    assert "cret" not in shown
    assert "s3" not in shown
    assert shown.startswith(address[:7].rstrip("/"))
    assert "cret" not in public_text(f"cannot open '{address}' now", address)


def test_what_is_no_secret_is_shown() -> None:
    assert public_name("rtsp://me:secret@10.0.0.2/live") == "rtsp://***@10.0.0.2/live"
    for plain in ("rtsp://10.0.0.2:554/Streaming/Channels/101", "clips/door.mp4", "usb:0"):
        assert public_name(plain) == plain


def test_names_that_are_no_utf8_can_be_printed() -> None:
    public_name("caf\udce9.mp4").encode()


def test_addresses_in_a_text_are_redacted_even_when_nobody_names_them() -> None:
    text = public_text("connection to rtsp://a:b@h/x refused, see http://c:d@h2")
    assert text == "connection to rtsp://***@h/x refused, see http://***@h2"


def test_what_a_device_answers_cannot_move_the_cursor_or_turn_the_text() -> None:
    told = "answered 500 \x1b[2J\r2026 INFO all is well\u202e\x9b31m, then\nanother line"
    assert public_text(told) == (
        "answered 500 \\x1b[2J\\r2026 INFO all is well\\u202e\\x9b31m, then\nanother line"
    )
