"""The page of a site training: results before and after, origin of the network, and its terms.

A self-contained file. It contains pictures of people only on request.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adln.atomic import atomic_write, suffix_of
from adln.errors import SettingsError
from adln.matching.network_gate import NetworkComparison
from adln.reports.pages import render

_TRACKS_SHOWN = 12
_CROPS_SHOWN = 4


def write_page(path: Path, facts: Mapping[str, Any], tracks: Sequence[Sequence[Path]] = ()) -> None:
    """Write the facts of a `SiteOutcome`, and pictures of tracks, largest gain first, as .html.

    Raises:
        SettingsError: the file cannot be written.
    """
    with atomic_write(path, raises=SettingsError) as file:
        file.write(page(facts, tracks).encode(errors="backslashreplace"))


def most_gained(comparison: NetworkComparison, paths: Sequence[Path]) -> list[list[Path]]:
    """Pictures of the tracks with the largest gain.

    `paths` are the evaluation crops, in the order of the comparison's rows.
    """
    order = comparison.track_gains.argsort()[::-1][:_TRACKS_SHOWN]
    return [
        [paths[row] for row in comparison.track_rows[at].tolist()[:_CROPS_SHOWN]]
        for at in order.tolist()
    ]


def page(facts: Mapping[str, Any], tracks: Sequence[Sequence[Path]] = ()) -> str:
    """The page as HTML."""
    compared = facts["comparison"]
    rows = [
        (
            f"True pairs recognised at {compared['rate']:.1%} false ones",
            f"{compared['recognised_before']:.1%}",
            f"{compared['recognised']:.1%}",
            f"{compared['gain']:+.1%} (at least {compared['gain_least']:+.1%})",
        ),
        (
            "False pairs that score as high as a true one, times fewer",
            "1",
            f"{10 ** compared['log_gain']:.2f}",
            f"at least {10 ** compared['log_gain_least']:.2f}",
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
        ("Bridge for what is stored", facts.get("bridge", "none")),
        ("Terms", facts["terms"]),
        ("Made", f"{facts['created_utc']} by adln {facts['adln_version']}"),
    ]
    return render(
        "site.html",
        written=facts["written"],
        rows=rows,
        about=about,
        tracks=[[_uri(path) for path in track] for track in tracks],
    )


def _uri(path: Path) -> str:
    kind = "png" if suffix_of(path) == ".png" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
