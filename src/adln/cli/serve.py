"""`adln serve`: the HTTP API and the web page over a gallery."""

import os
from collections.abc import Collection
from pathlib import Path

import click


@click.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="Settings, a TOML file."
)
@click.option("--gallery", help="Folder of the gallery; made if there is none.")
@click.option("--network", help="Exported network, a file or res1 or res2; '' for none.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port.  [default: 8484]")
@click.option("--keep-pictures", is_flag=True, help="Keep a small picture of each sighting.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any other setting.")
def serve(
    config_path: Path | None,
    gallery: str | None,
    network: str | None,
    host: str | None,
    port: int | None,
    keep_pictures: bool,
    overrides: tuple[str, ...],
) -> None:
    """Serve a gallery to browsers and programs.

    It listens to this machine only, unless --host says otherwise; then every request needs a
    token. On the first start a token for each role is made and shown once.
    """
    import json

    from adln.errors import SettingsError

    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f'Serving needs {error.name}, which is not installed: pip install "adln[serve]".'
        ) from error
    from adln.gallery.sqlite_gallery import SqliteGallery
    from adln.service.app import make_app
    from adln.service.live import Events
    from adln.service.logs import set_up_logs
    from adln.service.network import open_network
    from adln.service.running import address, run
    from adln.service.settings import is_loopback, read_serve_settings
    from adln.service.state import ServiceState

    given = {"gallery": gallery, "network": network, "host": host, "port": port}
    from_options = [
        f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None
    ]
    if keep_pictures:
        from_options.append("keep_pictures=true")
    settings = read_serve_settings(config_path, os.environ, [*overrides, *from_options])
    opened_network, scale = open_network(settings)
    with SqliteGallery(settings.gallery, create=True, actor="service") as opened:
        held = opened.model
        own = None if opened_network is None else opened_network.model
        if held is not None and own is not None and held != (own.digest, own.dim):
            raise SettingsError(
                f"{settings.gallery} holds embeddings of model {held[0][:12]}, the network "
                f"{settings.network!r} is {own.digest[:12]}. Name the network that the gallery was "
                'made with, or none (network = "").'
            )
        state = ServiceState(settings.state_folder)
        try:
            _greet(state.create_first_tokens().items(), address(settings), settings.tokens_required)
            if scale is None:
                click.secho(
                    "No calibration: answers have scores but no verdict.", fg="yellow", err=True
                )
            if not is_loopback(settings.host) and settings.tls_certificate is None:
                click.secho(
                    "Without TLS everybody on the network can read tokens and answers; see "
                    "docs/security.md.",
                    fg="yellow",
                    err=True,
                )
            set_up_logs(settings.log_format)
            events = Events()
            app = make_app(
                settings,
                gallery=opened,
                network=opened_network,
                scale=scale,
                state=state,
                events=events,
            )
            run(app, settings, events)
        finally:
            state.close()


def _greet(tokens: Collection[tuple[str, str]], where: str, required: bool) -> None:
    click.secho(where, bold=True, err=True)
    if tokens:
        click.echo("Tokens, shown this once; keep them where only you can read:", err=True)
        for role, token in tokens:
            click.echo(f"  {role:<9}{token}", err=True)
    if not required:
        click.echo("Open to this machine only; no token is asked for.", err=True)
