"""`adln serve`: the HTTP API and the web page over a gallery."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adln.cli import options
from adln.cli.progress import counting, warn
from adln.errors import GalleryError, SettingsError, require_package
from adln.gallery.records import ModelKey
from adln.gallery.spaces import admit
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.roster import read_cameras
from adln.scenes.walking_scene import CAMERA_IDS
from adln.service.demo import PLAN, Demo, demo_in, draw_demo
from adln.service.frames import open_finder
from adln.service.logs import set_up_logs
from adln.service.network import Network, open_network
from adln.service.settings import ServeSettings, is_loopback, read_serve_settings
from adln.service.state import TOKENS_FILE, Role, ServiceState, write_tokens
from adln.service.tidying import Tidying

if TYPE_CHECKING:
    from adln.service.cameras import WatchedCameras


@click.command()
@options.path("--config", "config_path", help="Settings, a TOML file.")
@click.option("--gallery", help="Folder of the gallery; made if there is none.")
@click.option("--network", help="Exported network, a file or res1 or res2; '' for none.")
@options.quality
@click.option("--watch", help="Watch the cameras of this file, too; see `adln watch`.")
@options.path(
    "--demo",
    "demo_folder",
    is_flag=False,
    flag_value="adln-demo",
    help="Draw people and cameras into a folder and serve these.  [folder: adln-demo]",
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port.  [default: 8484]")
@options.flag("--keep-pictures", help="Keep a small picture of each sighting.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Any other setting.")
def serve(
    config_path: Path | None,
    demo_folder: Path | None,
    keep_pictures: bool,
    overrides: tuple[str, ...],
    **given: str | int | None,
) -> None:
    """Serve a gallery to browsers and programs.

    To see what it is like: adln serve --demo

    It listens on this machine only, unless --host says otherwise; then every request needs a
    token. The first time that tokens are needed, one for each role is made and shown once, on a
    terminal; else they are in a file in the gallery that only its owner can read.
    """
    for package in ("fastapi", "uvicorn"):
        require_package(package, extra="serve", purpose="Serving", raises=SettingsError)
    from adln.service.app import make_app
    from adln.service.live import Events
    from adln.service.parts import Parts
    from adln.service.running import address, listening, run

    demo = None if demo_folder is None else demo_in(demo_folder)
    if demo is not None:
        given |= {"gallery": str(demo.gallery), "watch": str(demo.watch)}
        given |= {"keep_pictures": True, "repeat_recordings": True}
    if keep_pictures:
        given["keep_pictures"] = True
    from_options = [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in given.items()
        if value is not None
    ]
    settings = read_serve_settings(config_path, os.environ, [*overrides, *from_options])
    if settings.watch is None and settings.own_watch.exists():
        settings = replace(settings, watch=str(settings.own_watch))
    opened_network, scale = open_network(settings)
    # Before anything is made, shown or drawn.
    sockets = click.get_current_context().with_resource(listening(settings))
    settings = replace(settings, port=sockets[0].getsockname()[1])
    if demo is not None:
        _draw(demo, opened_network)
    cameras = _cameras(settings, opened_network)
    with SqliteGallery(settings.gallery, create=True, actor="service") as opened:
        if opened_network is not None:
            _require_family(opened.models, opened_network.model, settings)
        settings = _with_camera_names(settings, opened.folder)
        with closing(ServiceState(settings.state_folder)) as state:
            # Where none is asked for, none is made: who would look after it?
            tokens = state.create_first_tokens() if settings.tokens_required else {}
            _greet(tokens, address(settings), settings)
            if scale is None:
                warn("No calibration: answers have scores but no verdict.")
            if not is_loopback(settings.host) and settings.tls_certificate is None:
                warn(
                    "Without TLS everybody on the network can read tokens and answers; see "
                    "docs/security.md."
                )
            if demo is not None:
                click.echo(f"Drop a picture of {demo.pictures} on the page.", err=True)
            set_up_logs(settings.log_format, cameras.sources)
            events = Events()
            parts = Parts(
                settings=settings,
                gallery=opened,
                network=opened_network,
                scale=scale,
                state=state,
                source=cameras,
                events=events,
                tidying=Tidying(opened, state, every_s=settings.retention_every_s),
                find_people=open_finder(),
            )
            run(make_app(parts), settings, events, sockets)


def _draw(demo: Demo, network: Network | None) -> None:
    """Draw the demonstration, unless that was done before."""
    if network is None:
        raise SettingsError("--demo recognises people and needs a network; leave --network out.")
    if demo.is_ready(network):
        return
    click.echo(f"Drawing people and cameras into {demo.folder}, once.", err=True)
    with counting(PLAN.num_frames * len(CAMERA_IDS), "drawing") as on_progress:
        draw_demo(demo, network, on_progress=on_progress)


def _cameras(settings: ServeSettings, network: Network | None) -> "WatchedCameras":
    """What watches the cameras that the settings name, and those that are added on the page."""
    from adln.service.camera_file import read_cameras_of
    from adln.service.camera_process import Order
    from adln.service.cameras import WatchedCameras

    path = settings.own_watch if settings.watch is None else Path(settings.watch)
    if settings.watch is not None and not path.exists():
        raise SettingsError(f"no such settings file: {path}")
    watched = read_cameras_of(path)
    order = Order(
        settings=replace(watched, pictures=watched.pictures or settings.keep_pictures),
        folder=path.resolve().parent,
        gallery=Path(settings.gallery).resolve(),
        models=() if network is None else (network.model,),
        log_format=settings.log_format,
    )
    return WatchedCameras(order, repeat=settings.repeat_recordings, stop_s=settings.stop_s)


def _with_camera_names(settings: ServeSettings, gallery: Path) -> ServeSettings:
    """Cameras are called what the settings say, else what they were watched as."""
    from adln.service.camera_file import read_cameras_of

    names = {number: name for name, number in read_cameras(gallery).items()}
    if settings.watch is not None:
        watched = read_cameras_of(Path(settings.watch))
        names |= {camera.number: camera.name for camera in watched.cameras}
    return replace(settings, camera_names=names | settings.camera_names)


def _require_family(models: Sequence[ModelKey], own: ModelKey, settings: ServeSettings) -> None:
    try:
        admit(models, [own], place=str(settings.gallery))
    except GalleryError as error:
        raise SettingsError(
            f"{error} Name the network that the gallery was made with, one of its space, or none "
            f'(network = "") in place of {settings.network!r}.'
        ) from error


def _greet(tokens: Mapping[Role, str], where: str, settings: ServeSettings) -> None:
    click.secho(where, bold=True, err=True)
    if not settings.tokens_required:
        click.echo("Open to this machine only; no token is needed.", err=True)
        return
    if tokens and sys.stderr.isatty():
        click.echo("Tokens, shown this once; keep them where only you can read:", err=True)
        for role, token in tokens.items():
            click.echo(f"  {role:<9}{token}", err=True)
    elif tokens:
        # What is no terminal keeps what it gets: a journal, a log, a container.
        write_tokens(settings.state_folder, tokens)
    path = settings.state_folder / TOKENS_FILE
    if path.exists():
        warn(
            f"The first tokens are in {path}, for its owner only; keep them elsewhere, then delete "
            "it."
        )
