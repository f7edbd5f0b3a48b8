from dataclasses import replace
from pathlib import Path

from fake_service import NETWORK, Served, person_picture

from adln.service.live import CameraPicture, CameraView, PipelineView

YARD = CameraView(camera_id=1, name="cam-b", state="running", fps=9, people=1, last_frame_s=5.0)


def test_status_tells_of_cameras_by_the_names_that_people_gave_them(served: Served) -> None:
    assert served.client.get("/api/v1/status").json()["pipeline"] is None
    served.cameras.views = [YARD]
    served.cameras.work = PipelineView(state="failed", problem="no detector", restarts=2)
    status = served.client.get("/api/v1/status").json()
    assert [camera["name"] for camera in status["cameras"]] == ["yard"]
    assert status["pipeline"]["state"] == "failed"
    assert status["pipeline"]["problem"] == "no detector"
    assert status["pipeline"]["restarts"] == 2
    metrics = served.client.get("/api/v1/metrics").text
    assert "adln_cameras_running 1.0" in metrics
    assert "adln_cameras_restarts 2.0" in metrics


def test_what_a_camera_sees_is_shown_only_where_that_was_opted_in(served: Served) -> None:
    path = "/api/v1/cameras/1/picture"
    picture = CameraPicture(camera_id=1, time_s=5.25, jpeg=person_picture(1))
    assert served.client.get(path).status_code == 404
    served.cameras.views = [YARD]
    served.cameras.pictures = {1: picture}
    served.cameras.work = PipelineView(state="running")
    assert served.client.get(path).status_code == 404
    served.cameras.work = PipelineView(state="running", pictures=True)
    answer = served.client.get(path)
    assert (answer.status_code, answer.content) == (200, picture.jpeg)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["adln-time"] == "5.25"
    assert answer.headers["cache-control"] == "no-store"
    assert served.client.get("/api/v1/cameras/2/picture").status_code == 404
    served.cameras.pictures = {}
    assert served.client.get(path).status_code == 204


def test_cameras_end_with_the_service(served: Served) -> None:
    served.client.get("/api/v1/health")
    served.close()
    assert served.cameras.has_stopped


def test_health_says_whether_the_network_is_proved_here(tmp_path: Path) -> None:
    for verdict in ("proved", "unproved: no probe in the file"):
        served = Served(tmp_path / verdict[:4], network=replace(NETWORK, verdict=verdict))
        try:
            answer = served.client.get("/api/v1/health").json()
        finally:
            served.close()
        assert answer == {"status": "ok", "network": verdict}
