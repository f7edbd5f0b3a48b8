"""A service over a gallery of made-up people, with a network that looks at colours."""

import io
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL import Image

from adln.cameras.finding import FoundPerson
from adln.crops import decode_crop
from adln.embeddings import unit_length
from adln.errors import GalleryError
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.thresholds import StatedThresholds
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch_settings import WatchSettings
from adln.service.app import make_app
from adln.service.camera_file import require_address
from adln.service.live import CameraPicture, CameraView, Events, PipelineView, Scene
from adln.service.network import Network
from adln.service.parts import Parts
from adln.service.running import server_config
from adln.service.settings import ServeSettings
from adln.service.state import Role, ServiceState
from adln.service.tidying import Tidying

DIM = 48
MODEL = ModelKey("c" * 64, 2, DIM)
NOW_S = 1_760_000_000.0
PEOPLE = ("Anna", "Bela", None)


def embed_colours(picture: bytes) -> NDArray[np.float32]:
    """(48,) of how a picture's parts are coloured."""
    crop = decode_crop(picture, height_px=4, width_px=4)
    return unit_length(crop.reshape(-1).astype(np.float32) - 120.5)


def person_picture(person: int, look: int = 0, kind: str = "JPEG", size: int = 16) -> bytes:
    """A picture of somebody made of patches: the same person has nearly the same ones."""
    patches = np.random.default_rng(person).integers(20, 236, (4, 4, 3))
    noise = np.random.default_rng([person, look]).integers(-8, 9, (4, 4, 3))
    pixels = np.clip(patches + noise, 0, 255).astype(np.uint8).repeat(size, 0).repeat(size, 1)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, quality=95)
    return stream.getvalue()


NETWORK = Network(model=MODEL, embed=embed_colours, precision="fp32")
SCALE = StatedThresholds(match=0.9, candidate=0.6)


def show_somebody(source: str) -> bytes:
    """What a camera shows: somebody, if its address is one at all."""
    require_address(source)
    return person_picture(0)


class FakeCameras:
    """Cameras that say what a test tells them to."""

    def __init__(self) -> None:
        self.receive: Callable[[SightingEvent | Scene], None] | None = None
        self.views: list[CameraView] = []
        self.work: PipelineView | None = None
        self.pictures: dict[int, CameraPicture] = {}
        self.has_stopped = False
        self.watched: WatchSettings | None = None
        self.ignored: frozenset[str] = frozenset()
        self.takes_up = True

    def watch(self, settings: WatchSettings) -> bool:
        self.watched = settings
        return self.takes_up

    def ignore(self, names: frozenset[str]) -> None:
        self.ignored = names

    def start(self, receive: Callable[[SightingEvent | Scene], None]) -> None:
        self.receive = receive

    def stop(self) -> None:
        self.has_stopped = True

    def cameras(self) -> list[CameraView]:
        return list(self.views)

    def pipeline(self) -> PipelineView | None:
        return self.work

    def picture(self, camera_id: int) -> CameraPicture | None:
        return self.pictures.get(camera_id)

    def say(self, event: SightingEvent | Scene) -> None:
        assert self.receive is not None
        self.receive(event)


class Served:
    """A service in this process, and what it is made of."""

    def __init__(self, folder: Path, network: Network = NETWORK, **changes: Any) -> None:
        self.settings = replace(
            ServeSettings(
                gallery=str(folder / "gallery"),
                network="",
                requests_per_minute=0,
                camera_names={0: "gate", 1: "yard"},
            ),
            **changes,
        )
        self.gallery = SqliteGallery(self.settings.gallery, create=True)
        self.state = ServiceState(self.settings.state_folder)
        self.cameras = FakeCameras()
        self.events = Events()
        self.people_in_frames: list[FoundPerson] = []
        self.network = network
        self.has_detector = True
        self.ask_camera: Callable[[str], bytes] = show_somebody
        self.app = self._make_app()
        self.listening: tuple[uvicorn.Server, threading.Thread, str] | None = None
        self.http: httpx.Client | None = None

    def _make_app(self, tidying: Tidying | None = None) -> FastAPI:
        return make_app(
            Parts(
                settings=self.settings,
                gallery=self.gallery,
                network=self.network,
                scale=SCALE,
                state=self.state,
                source=self.cameras,
                events=self.events,
                tidying=tidying,
                try_camera=self.try_camera,
                find_people=self.find_people if self.has_detector else None,
            )
        )

    def try_camera(self, source: str) -> bytes:
        """What a camera shows."""
        return self.ask_camera(source)

    def asks_cameras_by(self, ask: Callable[[str], bytes]) -> None:
        """Have cameras answer otherwise."""
        self.ask_camera = ask

    def find_people(self, picture: bytes) -> list[FoundPerson]:
        """Whoever a test says is in pictures; nobody in one that is all of one colour."""
        is_plain = np.ptp(decode_crop(picture, height_px=8, width_px=8)) == 0
        return [] if is_plain else self.people_in_frames

    def without_detector(self) -> None:
        """Serve without anything that finds people; before the first request."""
        self.has_detector = False
        self.app = self._make_app()

    def tidied_by(self, tidying: Tidying) -> None:
        """Serve with rules on what is kept; before the first request."""
        self.app = self._make_app(tidying)

    @cached_property
    def tokens(self) -> dict[Role, str]:
        """A token for each role."""
        return self.state.create_first_tokens()

    @property
    def address(self) -> str:
        """Where the service listens; it starts to when first asked for."""
        if self.listening is None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            config = server_config(self.app, replace(self.settings, port=port, stop_s=2.0))
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()
            until = time.monotonic() + 20
            while not server.started and time.monotonic() < until:
                time.sleep(0.01)
            assert server.started
            self.listening = server, thread, f"http://127.0.0.1:{port}"
        return self.listening[2]

    @property
    def client(self) -> httpx.Client:
        """Asks the service, as a program on this machine."""
        if self.http is None:
            self.http = httpx.Client(base_url=self.address, timeout=30)
        return self.http

    def without_network(self) -> None:
        """Serve without a network and without a scale; before the first request."""
        self.app = make_app(
            Parts(
                settings=self.settings,
                gallery=self.gallery,
                network=None,
                scale=None,
                state=self.state,
                source=self.cameras,
                events=self.events,
            )
        )

    def full_disk(self) -> GalleryError:
        """What the gallery raises when the disk is full."""
        error = GalleryError(f"{self.gallery.folder}: the disk is full.")
        error.__cause__ = OSError(28, "No space left on device")
        return error

    def fill(self, *, thumbnails: bool = False) -> list[int]:
        """Three people, four looks each under two cameras, and two looks at nobody."""
        ids = []
        for number, name in enumerate(PEOPLE):
            person_id = self.gallery.enrol(name)
            ids.append(person_id)
            self.gallery.add([self.look(number, at, person_id, thumbnails) for at in range(4)])
        self.gallery.add([self.look(7, at, None, thumbnails) for at in range(2)])
        return ids

    def look(self, number: int, at: int, person_id: int | None, thumbnails: bool) -> Sighting:
        picture = person_picture(number, at)
        return Sighting(
            embedding=embed_colours(picture),
            model=MODEL,
            camera_id=at % 2,
            time_s=NOW_S + 100 * number + 10 * at,
            person_id=person_id,
            thumbnail=picture if thumbnails else None,
        )

    def as_(self, role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[role]}"}

    def close(self) -> None:
        if self.http is not None:
            self.http.close()
        if self.listening is not None:
            server, thread, _ = self.listening
            self.events.close()
            server.should_exit = True
            thread.join(10)
        self.gallery.close()
        self.state.close()
