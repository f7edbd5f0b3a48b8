"""`adln frigate`: names for the people of Frigate's events."""

import logging
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from adln.cli import options
from adln.cli.gallery_words import actor
from adln.cli.progress import print_json
from adln.cli.watch_view import WatchView
from adln.embeddings import chosen_depth
from adln.errors import DeliveryError, SettingsError
from adln.gallery.records import ModelKey
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.assembly import open_scales
from adln.pipeline.broker import Broker
from adln.pipeline.depths import DepthEmbedder
from adln.pipeline.frigate import FrigateNamer
from adln.pipeline.frigate_api import FrigateApi
from adln.pipeline.frigate_news import FrigateNews
from adln.pipeline.watch import stopping_on_signals
from adln.pipeline.watch_settings import ThresholdSettings, WatchSettings


@click.command()
@click.argument("url")
@options.path("--gallery", "folder", required=True)
@options.network()
@options.depth
@click.option("--match", type=float, help="Cosine of a match, for a network without a calibration.")
@click.option(
    "--history",
    type=options.duration,
    default="0s",
    metavar="TIME",
    help="First process the events of this long: 30d. It fills the gallery with unknowns.",
)
@options.flag("--once", help="Stop after that; otherwise go on as events end.")
@options.flag("--write", help="Write names to Frigate, as sub labels.")
@options.flag("--pictures", help="Keep a small picture of each in the gallery.")
@click.option(
    "--every", "every_s", type=options.duration, default="10s", help="How often to ask Frigate."
)
@click.option(
    "--per-second", type=click.FloatRange(0.01), default=5.0, help="Limit of requests a second."
)
@click.option("--user", default="", help="User at Frigate's port 8971.")
@click.option("--password-env", default="", help="Variable that holds the user's password.")
@click.option("--token-env", default="", help="Variable that holds a token, instead of a user.")
@options.path("--ca-file", help="Certificates to trust (PEM).")
@options.flag("--allow-plain-http", help="Password or token may go unencrypted.")
@click.option(
    "--mqtt", "mqtt_host", default="", help="MQTT broker of Frigate, to be told of events."
)
@options.shown("--mqtt-port", default=1883)
@click.option("--mqtt-user", default="")
@click.option("--mqtt-password-env", default="", help="Variable that holds the broker's password.")
@options.shown("--mqtt-topic", default="frigate", help="Frigate's topic_prefix.")
def frigate(
    url: str,
    folder: Path,
    network: str,
    depth: int | None,
    match: float | None,
    history: float,
    once: bool,
    write: bool,
    pictures: bool,
    every_s: float,
    password_env: str,
    token_env: str,
    mqtt_host: str,
    mqtt_port: int,
    mqtt_user: str,
    mqtt_password_env: str,
    mqtt_topic: str,
    **access: Any,
) -> None:
    """Name the people in the events of the Frigate server at URL.

    URL looks like http://frigate:5000. Without --write nothing is changed in Frigate.
    """
    if once and not history:
        raise click.UsageError(
            "--once stops after the events of --history, which was not given: --history 30d."
        )

    def secret(variable: str) -> str:
        value = os.environ.get(variable, "") if variable else ""
        if variable and not value:
            raise SettingsError(f"{variable} is not set in the environment.")
        return value

    api = FrigateApi(url, password=secret(password_env), token=secret(token_env), **access)
    embedder = DepthEmbedder([network])
    chosen = chosen_depth(embedder.depths, depth, network=network)
    thresholds = ThresholdSettings()
    if match is not None:
        thresholds = ThresholdSettings(match=match, candidate=min(match, thresholds.candidate))
    log = logging.getLogger("adln.frigate")
    with ExitStack() as stack:
        stack.enter_context(WatchView(quiet=False).taking_logs(logging.getLogger("adln")))
        gallery = stack.enter_context(SqliteGallery(folder, create=True, actor=actor()))
        namer = FrigateNamer(
            api,
            gallery,
            embedder,
            model=ModelKey(embedder.digest, chosen, embedder.dim, embedder.spaces.get(chosen, "")),
            scales=open_scales(WatchSettings(thresholds=thresholds), embedder),
            write=write,
            pictures=pictures,
        )
        now_s = time.time()
        if history:
            namer.take_all(api.events(after_s=now_s - history, before_s=now_s))
        if not once:
            stop = threading.Event()
            news = FrigateNews(stop)
            if mqtt_host:
                broker = Broker(
                    mqtt_host,
                    mqtt_port,
                    username=mqtt_user or None,
                    password=secret(mqtt_password_env) or None,
                )
                news.listen(broker, mqtt_topic)
                stack.callback(news.close)
            is_down = False
            with stopping_on_signals(news.stop):
                while not stop.is_set():
                    # Whoever came before now may still be there; events are listed as they end.
                    try:
                        since_s = now_s - 3600.0
                        namer.poll(after_s=since_s, before_s=time.time())
                        if is_down:
                            log.warning("%s: Frigate answers again", url)
                        now_s, is_down = time.time(), False
                    except DeliveryError as error:
                        if not is_down:
                            log.warning("%s", error)
                        is_down = True
                    news.wait(every_s)
    print_json(dict(namer.counts), indent=None)
