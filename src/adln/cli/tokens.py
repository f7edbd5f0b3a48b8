"""`adln tokens`: who may use a service."""

import time
from contextlib import closing
from pathlib import Path
from typing import get_args

import click

from adln.cli import options
from adln.errors import ServiceError
from adln.service.state import DATABASE_NAME, Role, ServiceState


@click.group()
def tokens() -> None:
    """Manage the access tokens of a service.

    FOLDER is its gallery, or its `state` folder if that is elsewhere.
    """


@tokens.command("list")
@options.folder
def list_tokens(folder: Path) -> None:
    """List the tokens, without their secrets."""
    with closing(_open(folder)) as state:
        for token in state.tokens():
            made = time.strftime("%Y-%m-%d", time.gmtime(token.created_s))
            note = "" if token.revoked_s is None else "  revoked"
            click.echo(f"{token.token_id}  {token.role:<9} {made}  {token.name}{note}")


@tokens.command()
@options.folder
@click.argument("name")
@options.shown("--role", type=click.Choice(get_args(Role)), default="viewer")
def add(folder: Path, name: str, role: Role) -> None:
    """Make a token for NAME and show it, once."""
    with closing(_open(folder)) as state:
        click.echo(state.create_token(name, role))


@tokens.command()
@options.folder
@click.argument("token_id")
def revoke(folder: Path, token_id: str) -> None:
    """Revoke a token, at once."""
    with closing(_open(folder)) as state:
        state.revoke(token_id)
        click.echo(f"{token_id} is revoked")


def _open(folder: Path) -> ServiceState:
    for place in (folder, folder / "service"):
        if (place / DATABASE_NAME).exists():
            return ServiceState(place)
    raise ServiceError(f"{folder}: no service has run here; start `adln serve` first.")
