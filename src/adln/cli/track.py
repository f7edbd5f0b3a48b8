"""`adln track`: follow the boxes of any detector, in the text format of the MOTChallenge."""

from pathlib import Path

import click

from adln.cameras.appearance import Appearance, crop_appearance
from adln.cameras.box_tracker import BoxTracker, follow_mot, numbered_frames
from adln.cameras.mot_files import read_mot, write_mot
from adln.cameras.tracker import TrackerSettings
from adln.cameras.watching import open_source
from adln.cli import options
from adln.cli.gallery_words import many
from adln.cli.progress import tell
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.shipped import TRACKING, find_network


@click.command()
@options.file_argument("det")
@options.file(
    "--out",
    required=True,
    help="Result to write; boxes that belong to no track are left out.",
)
@click.option("--fps", required=True, type=click.FloatRange(min=0, min_open=True))
@click.option(
    "--pictures",
    type=click.Path(exists=True, path_type=Path),
    help="The sequence's pictures (img1) or video: people are then tracked by appearance as well, "
    "and the motion of the camera is compensated.",
)
@options.network(
    default=TRACKING, help="Network that compares how people look; see `adln networks`."
)
@options.flag("--motion-only", help="No appearance; pictures compensate the camera.")
def track(
    det: Path,
    out: Path,
    fps: float,
    pictures: Path | None,
    network: Path,
    motion_only: bool,
) -> None:
    """Track the people in DET, a file of lines frame,-1,left,top,width,height,confidence,-1,-1,-1.

    Frames and pixels count from 1, as the MOTChallenge has them.
    """
    found = read_mot(det)
    appearance: Appearance | None = None
    if pictures is not None and not motion_only:
        embedder = OnnxEmbedder(find_network(network))
        depth = max(embedder.depths)
        appearance = crop_appearance(lambda crops: embedder.embed(crops)[depth], embedder.crop_size)
    tracker = BoxTracker(frames_per_s=fps, appearance=appearance)
    frame = None
    if pictures is not None:
        frame = numbered_frames(open_source(str(pictures), "sequence", fps=fps))
    followed = follow_mot(found, tracker, frame=frame)
    write_mot(out, followed)
    people = len(set(followed.ids.tolist()))
    click.echo(
        f"{out}: {many(people, 'person', 'people')} in {len(followed)} of {len(found)} boxes; "
        f"{many(tracker.embeddings_made, 'box', 'boxes')} embedded"
    )
    if len(found) and not len(followed):
        least = TrackerSettings().start
        tell(
            "note",
            f"nobody was followed: it takes boxes of confidence {least:g} to 1 that overlap in "
            "successive frames. Are the frames numbered 1, 2, 3, ... as --fps says?",
        )
