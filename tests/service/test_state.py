import hashlib
import os
import sqlite3
from pathlib import Path

import pytest

from adln.errors import ServiceError
from adln.service.state import DATABASE_NAME, ROLES, ServiceState


def test_first_tokens_are_made_once_and_work(tmp_path: Path) -> None:
    state = ServiceState(tmp_path)
    tokens = state.create_first_tokens()
    assert list(tokens) == list(ROLES)
    assert state.create_first_tokens() == {}
    for role, token in tokens.items():
        caller = state.caller(token)
        assert caller is not None
        assert caller.role == role
        assert not state.is_slow(token)
    state.close()
    again = ServiceState(tmp_path)
    assert again.create_first_tokens() == {}
    assert again.caller(tokens["admin"]) is not None
    again.close()


def test_no_secret_is_in_any_file_and_only_the_owner_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    state = ServiceState(folder)
    token = state.create_token("box 7", "operator")
    secret = token.split("_", 2)[2].encode()
    for path in folder.iterdir():
        assert secret not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
    assert folder.stat().st_mode & 0o077 == 0
    state.close()


def test_wrong_tokens_are_nobodys(tmp_path: Path) -> None:
    state = ServiceState(tmp_path)
    token = state.create_token("a", "viewer")
    other = state.create_token("b", "admin")
    swapped = f"{token[:13]}_{other.split('_', 2)[2]}"
    for wrong in ("", "adln_", token[:-1], token + "x", token.upper(), swapped, "é" * 57):
        assert state.caller(wrong) is None
    state.close()


def test_a_revoked_token_is_worthless_at_once_even_if_it_was_used(tmp_path: Path) -> None:
    state, other = ServiceState(tmp_path), ServiceState(tmp_path)
    token = state.create_token("a", "viewer")
    assert state.caller(token) is not None
    other.revoke(other.tokens()[0].token_id)
    assert state.caller(token) is None
    with pytest.raises(ServiceError, match="no valid token"):
        state.revoke("00000000")
    state.close()
    other.close()


def test_a_token_of_an_earlier_version_is_valid_and_quick_from_its_first_use_on(
    tmp_path: Path,
) -> None:
    state = ServiceState(tmp_path)
    token = state.create_token("a", "viewer")
    secret = token.split("_", 2)[2]
    with sqlite3.connect(tmp_path / DATABASE_NAME) as connection:
        (salt,) = connection.execute("SELECT salt FROM tokens").fetchone()
        slow = hashlib.scrypt(secret.encode(), salt=salt, n=2**14, r=8, p=1)
        connection.execute("UPDATE tokens SET digest = ?", (slow,))
    connection.close()
    assert state.is_slow(token)
    assert state.caller(token[:-1] + ("A" if token[-1] != "A" else "B")) is None
    assert state.is_slow(token)
    caller = state.caller(token)
    assert caller is not None
    assert caller.role == "viewer"
    assert not state.is_slow(token)
    assert state.caller(token) == caller
    state.close()


def test_searches_are_on_the_disk_after_a_sync_and_all_else_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), real(file))[1])
    state = ServiceState(tmp_path)

    def how() -> int:
        (level,) = state._connection.execute("PRAGMA synchronous").fetchone()
        return int(level)

    state.record("anna", "search", {}, synced=False)
    assert how() == 1
    state.sync()
    state.sync()
    assert len(synced) == 1
    state.record("anna", "forget", {"person": 3})
    # FULL: SQLite itself has synced, with the transaction.
    assert how() == 2
    state.sync()
    assert len(synced) == 1
    state.close()


def test_a_state_that_was_readable_for_all_is_so_no_more(tmp_path: Path) -> None:
    (tmp_path / DATABASE_NAME).touch(mode=0o644)
    (tmp_path / DATABASE_NAME).chmod(0o644)
    ServiceState(tmp_path).close()
    assert (tmp_path / DATABASE_NAME).stat().st_mode & 0o077 == 0


def test_names_that_would_blur_the_log_are_refused(tmp_path: Path) -> None:
    state = ServiceState(tmp_path)
    for name in ("", "a\nb", "x" * 65, "<b>"):
        with pytest.raises(ServiceError):
            state.create_token(name, "viewer")
    assert state.tokens() == []
    state.close()


def test_the_log_tells_who_did_what_and_shows_when_it_is_rewritten(tmp_path: Path) -> None:
    state = ServiceState(tmp_path, clock=lambda: 12.0)
    state.record("anna", "search", {"k": 3})
    state.record("bela", "forget", {"person": 4})
    newest = state.check().newest_digest
    entries = state.entries(newest=1)
    assert [(one.actor, one.action, one.details) for one in entries] == [
        ("bela", "forget", {"person": 4})
    ]
    assert state.check(expected_digest=newest).is_sound
    connection = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("UPDATE audit SET actor = 'nobody'")
    connection.execute("DROP TRIGGER audit_is_not_changed")
    connection.execute("UPDATE audit SET actor = 'nobody' WHERE number = 2")
    connection.close()
    assert state.check().first_broken == 2
    state.close()


def test_a_state_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / DATABASE_NAME).write_bytes(b"no database at all, but long enough" * 100)
    with pytest.raises(ServiceError, match="cannot open tokens and audit log"):
        ServiceState(tmp_path)


def test_what_changes_something_is_synced_and_what_only_looks_is_not(tmp_path: Path) -> None:
    state = ServiceState(tmp_path)
    statements: list[str] = []
    state._connection.set_trace_callback(statements.append)
    state.revoke(state.create_token("box", "viewer").split("_")[1])
    state.record("ann", "forget", {})
    state.record("ann", "search", {}, synced=False)
    state.record("ann", "merge", {})
    synced = [one.split()[-1] for one in statements if "synchronous" in one]
    assert synced == ["FULL", "FULL", "FULL", "NORMAL", "FULL"]
    state.close()


@pytest.mark.parametrize("gone", [False, True], ids=["replaced", "removed"])
def test_tokens_of_a_file_that_was_replaced_are_worth_nothing(tmp_path: Path, gone: bool) -> None:
    # `adln tokens revoke` could not reach them any more.
    state = ServiceState(tmp_path / "a")
    token = state.create_token("box 7", "admin")
    caller = state.caller(token)
    assert caller is not None
    if gone:
        (tmp_path / "a" / DATABASE_NAME).unlink()
    else:
        ServiceState(tmp_path / "b").close()
        (tmp_path / "b" / DATABASE_NAME).replace(tmp_path / "a" / DATABASE_NAME)
    assert state.caller(token) is None
    assert not state.is_valid(caller.token_id)
    with pytest.raises(ServiceError, match="replaced or removed"):
        state.revoke(caller.token_id)
    state.close()
