from pathlib import Path

from click.testing import CliRunner

from adln.cli.tokens import tokens
from adln.errors import ServiceError
from adln.service.state import ServiceState


def test_tokens_are_added_listed_and_revoked(tmp_path: Path) -> None:
    state = ServiceState(tmp_path / "service")
    state.create_first_tokens()
    run = CliRunner().invoke
    token = run(tokens, ["add", str(tmp_path), "box 7", "--role", "operator"]).output.strip()
    caller = state.caller(token)
    assert caller is not None
    assert caller.role == "operator"
    listed = run(tokens, ["list", str(tmp_path)]).output
    assert "box 7" in listed
    assert token.split("_", 2)[2] not in listed
    run(tokens, ["revoke", str(tmp_path), token.split("_")[1]])
    assert state.caller(token) is None
    assert "revoked" in run(tokens, ["list", str(tmp_path / "service")]).output
    state.close()


def test_a_folder_without_a_service_is_said(tmp_path: Path) -> None:
    result = CliRunner().invoke(tokens, ["list", str(tmp_path)])
    assert isinstance(result.exception, ServiceError)
