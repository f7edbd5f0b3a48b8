"""A calibration as a table for a terminal."""

from adln.matching.calibration import Calibration, Level

_SIZES_SHOWN = (1, 10, 100, 1_000, 10_000)


def calibration_text(calibration: Calibration, *, called: str = "") -> str:
    """The main figures of a calibration, in 80 columns; `called` names the network, else Res2."""
    evidence, held = calibration.evidence, calibration.reliability
    largest = calibration.largest_size
    sizes = sorted({*(size for size in _SIZES_SHOWN if size < largest), largest, 10 * largest})
    heads = [f"{size:,}{'*' if size > largest else ''}" for size in sizes]
    flip = ", with the mirrored crop" if calibration.flip else ""
    stored = calibration.gallery_depth
    among = "" if stored is None else f" in a gallery of Res{stored}"

    def row(name: str, level: Level) -> str:
        cells = [f"{calibration.threshold(level, size):.3f}" for size in sizes]
        return f"{name:<30}" + "".join(f"{cell:>9}" for cell in cells)

    def held_row(name: str, strangers: float, enrolled: float, rate: float) -> str:
        return (
            f"  {name:<22}{100 * strangers:>6.2f} % of strangers (asked: {100 * rate:g} %), "
            f"{100 * enrolled:.1f} % of enrolled people"
        )

    words = evidence.kind
    lines = [
        f"{called or f'Res{calibration.depth}'}{among}{flip}: {evidence.num_persons:,} {words} of "
        f"{evidence.data}, {evidence.num_searches:,} searches,",
        f"{evidence.num_comparisons:,} comparisons with others"
        + (", searches across cameras" if evidence.across_cameras else ""),
        "",
        f"{'score from, persons in gallery:':<30}"[:30] + "".join(f"{head:>9}" for head in heads),
        "─" * (30 + 9 * len(sizes)),
        row("matched", calibration.match),
        row("candidate", calibration.candidate),
        f"* extrapolated; measured up to {largest:,} persons",
        "",
        f"On the half of the {words} not fitted to, in galleries of {held.gallery_size:,}:",
        held_row("matched", held.matched_strangers, held.matched_enrolled, calibration.match.rate),
        held_row(
            "matched or candidate",
            held.candidate_strangers,
            held.candidate_enrolled,
            calibration.candidate.rate,
        ),
        f"  {'probability':<22}{100 * held.calibration_error:>6.1f} points off on average; Brier "
        f"{held.brier:.4f}",
        f"  {'':<22}       (the mean of all: {held.base_brier:.4f}), log loss {held.log_loss:.3f}",
    ]
    if not evidence.across_cameras:
        lines += [
            "",
            "Here, searches were within one camera, which is easier than between cameras: expect",
            "fewer enrolled people to be found than stated. The share of strangers is as stated.",
        ]
    return "\n".join(lines)
