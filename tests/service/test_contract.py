"""The service against its own OpenAPI document: random requests, sound and broken ones."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fake_service import NOW_S, Served, person_picture
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from adln.service.live import CameraPicture, CameraView, PipelineView

# A stream that does not end is for another test.
_ENDLESS = "/api/v1/events"
_CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # Broken requests bring broken tokens.
    made = Served(tmp_path_factory.mktemp("contract"), failed_tokens_per_minute=10**6)
    made.fill(thumbnails=True)
    # Cameras 0 and 1, of which one has no picture yet.
    made.cameras.views = [
        CameraView(camera_id=at, name="c", state="running", fps=1, people=0, last_frame_s=None)
        for at in range(2)
    ]
    made.cameras.work = PipelineView(state="running", pictures=True)
    made.cameras.pictures = {1: CameraPicture(camera_id=1, time_s=NOW_S, jpeg=person_picture(1))}
    yield made
    made.close()


def test_the_document_says_what_every_route_is_for(served: Served) -> None:
    document = served.client.get("/api/v1/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        assert path.startswith("/api/v1/")
        for method in methods.values():
            assert method["description"]
            assert method["tags"]
            assert method["security"]


def test_no_request_breaks_the_service_or_gets_an_undocumented_answer(served: Served) -> None:
    schema = schemathesis.openapi.from_dict(served.app.openapi())
    operations = [result.ok() for result in schema.get_all_operations()]
    tried = 0
    for operation in operations:
        if operation.path == _ENDLESS:
            continue
        tried += 1
        requests = strategies.one_of(
            *(operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode)
        )

        @settings(
            max_examples=6,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=requests)
        def ask(case: Any) -> None:
            case.call_and_validate(base_url=served.address, checks=_CHECKS)

        ask()
    assert tried == len(operations) - 1 >= 20
    assert served.client.get("/api/v1/health").status_code == 200
