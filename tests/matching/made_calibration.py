"""A calibration that nothing was fitted to."""

from adln.matching.calibration import Calibration, CalibrationEvidence, Level, Reliability

CALIBRATION = Calibration(
    depth=2,
    flip=False,
    sizes=(1, 2, 4, 8),
    match=Level(rate=0.01, thresholds=(0.5, 0.55, 0.6, 0.63)),
    candidate=Level(rate=0.1, thresholds=(0.3, 0.4, 0.45, 0.5)),
    slope=20.0,
    size_slope=0.8,
    intercept=-9.0,
    enrolled_share=0.5,
    evidence=CalibrationEvidence(
        kind="persons",
        data="people",
        num_persons=50,
        num_searches=1000,
        num_comparisons=49000,
        across_cameras=True,
    ),
    reliability=Reliability(
        gallery_size=8,
        brier=0.03,
        base_brier=0.25,
        log_loss=0.1,
        calibration_error=0.01,
        matched_strangers=0.012,
        matched_enrolled=0.9,
        candidate_strangers=0.11,
        candidate_enrolled=0.97,
    ),
)
