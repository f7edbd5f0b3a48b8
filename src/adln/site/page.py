"""A page on a training at a site: before and after, where the network comes from, and its terms.

One file without anything beside it. Pictures of people stand in it only if they are asked for.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from adln.atomic import atomic_write
from adln.errors import SettingsError
from adln.matching.network_gate import NetworkComparison

_TRACKS_SHOWN = 12
_CROPS_SHOWN = 4
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;"
    "color:#1c2730;background:#fff}table{border-collapse:collapse}"
    "th,td{text-align:left;padding:.3rem 1rem .3rem 0;border-bottom:1px solid #d5dde3;"
    "vertical-align:top}img{height:128px;margin:2px}"
)


def write_page(path: Path, facts: Mapping[str, Any], tracks: Sequence[Sequence[Path]] = ()) -> None:
    """Write the page.

    Args:
        path: .html file.
        facts: of `adln.site.training.SiteOutcome`.
        tracks: pictures of tracks, those first that gained most; none are shown without.

    Raises:
        SettingsError: the disk refuses.
    """
    with atomic_write(path, raises=SettingsError) as file:
        file.write(page(facts, tracks).encode())


def most_gained(comparison: NetworkComparison, paths: Sequence[Path]) -> list[list[Path]]:
    """Pictures of the tracks that gained most.

    Args:
        comparison: with the rows of its tracks.
        paths: of the crops that judged, in the order of these rows.
    """
    order = comparison.track_gains.argsort()[::-1][:_TRACKS_SHOWN]
    return [
        [paths[row] for row in comparison.track_rows[at].tolist()[:_CROPS_SHOWN]]
        for at in order.tolist()
    ]


def page(facts: Mapping[str, Any], tracks: Sequence[Sequence[Path]] = ()) -> str:
    """The page as HTML."""
    compared = facts["comparison"]
    title = "A network for this site" if facts["written"] else "No new network for this site"
    rows = [
        (
            f"True pairs recognised at {compared['rate']:.1%} false ones",
            f"{compared['recognised_before']:.1%}",
            f"{compared['recognised']:.1%}",
            f"{compared['gain']:+.1%} (certainly {compared['gain_least']:+.1%})",
        ),
        (
            "False pairs that score as high as a true one, times fewer",
            "1",
            f"{10 ** compared['log_gain']:.2f}",
            f"certainly {10 ** compared['log_gain_least']:.2f}",
        ),
    ]
    if compared["own_camera"] is not None:
        before, after = compared["own_camera_before"], compared["own_camera"]
        rows.append(
            (
                "Nearest neighbours under the same camera",
                f"{before:.0%}",
                f"{after:.0%}",
                f"{after - before:+.0%}",
            )
        )
    if compared["recognised_stored"] is not None:
        gain = compared["recognised_stored"] - compared["recognised_before"]
        rows.append(
            (
                "The first line, where the new network searches what the old one has stored",
                f"{compared['recognised_before']:.1%}",
                f"{compared['recognised_stored']:.1%}",
                f"{gain:+.1%}",
            )
        )
    table = "".join(
        "<tr>"
        + f'<th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    about = [
        ("Why", facts["reason"]),
        ("Crops", f"{facts['crops']}; {facts['learned_from']}"),
        (
            "Judged by",
            f"{compared['num_tracks']:,} tracks, {compared['num_together']:,} pairs of "
            "which were seen together; none of them was learned from",
        ),
        ("Started from", facts["start"]["file"]),
        ("Teacher", facts["teacher"]["name"]),
        ("Network in use", facts["network_in_use"]["name"]),
        ("Stored embeddings", "stay comparable" if facts["same_space"] else "need a new gallery"),
        ("Calibration", facts["calibration"] or "none"),
        ("Terms", facts["terms"]),
        ("Made", f"{facts['created_utc']} by adln {facts['adln_version']}"),
    ]
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(str(value))}</td></tr>'
        for name, value in about
    )
    shown = "".join(
        "<p>" + "".join(_picture(path, at) for path in track) + "</p>"
        for at, track in enumerate(tracks, 1)
    )
    if shown:
        shown = f"<h2>Tracks that gained most</h2>{shown}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1>"
        '<table><tr><th scope="col"></th><th scope="col">Before</th><th scope="col">After</th>'
        f'<th scope="col">Difference</th></tr>{table}</table>'
        f"<h2>Where it comes from</h2><table>{lines}</table>{shown}</html>\n"
    )


def _picture(path: Path, track: int) -> str:
    kind = "png" if path.suffix.lower() == ".png" else "jpeg"
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="A crop of track {track}" src="data:image/{kind};base64,{data}">'
