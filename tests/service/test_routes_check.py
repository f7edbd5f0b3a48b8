"""Whether recognising works here, and what would make it better."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from fake_service import DIM, MODEL, NETWORK, Served

from adln.gallery.adapting import space_name
from adln.matching.adaptation import Method, TrackedCrops, fit_adaptation

MakeServed = Callable[..., Served]


def test_a_network_that_was_not_tried_says_what_to_do(served: Served) -> None:
    answer = served.client.get("/api/v1/setup/check").json()
    assert answer["network"]["is_proved"] is False
    assert answer["network"]["depth"] == 2
    assert answer["next_step"] == "prove"
    assert answer["adaptations"] == []


def test_with_few_sightings_nothing_is_missing_and_with_many_an_adaptation_is(
    make_served: MakeServed,
) -> None:
    proved = replace(NETWORK, verdict="proved", is_proved=True)
    served = make_served(network=proved)
    served.fill()
    assert served.client.get("/api/v1/setup/check").json()["next_step"] == "none"
    served.gallery.add([served.look(0, at, 1, False) for at in range(200)])
    answer = served.client.get("/api/v1/setup/check").json()
    assert answer["network"]["verdict"] == "proved"
    assert answer["next_step"] == "adapt"


def test_an_adaptation_says_since_when_and_what_it_gave(make_served: MakeServed) -> None:
    served = make_served(network=replace(NETWORK, verdict="proved", is_proved=True))
    served.fill()
    rows = np.random.default_rng(1).normal(1, 1, (80, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    numbers = np.arange(80)
    crops = TrackedCrops(rows, numbers % 2, numbers // 4 * 2 + numbers % 2)
    method = Method(name="camera means", by_camera=True)
    adaptation = fit_adaptation(
        crops, method, space=space_name(MODEL), fitted_on="80 sightings of 40 tracks"
    )
    served.gallery.adapt(adaptation, recognised=(0.25, 0.5))
    answer = served.client.get("/api/v1/setup/check").json()
    (found,) = answer["adaptations"]
    (logged,) = served.gallery.audit_entries(action="adapt")
    assert found == {
        "method": "camera means",
        "fitted_on": "80 sightings of 40 tracks",
        "num_tracks": 40,
        "since_s": logged.time_s,
        "recognised_before": 0.25,
        "recognised": 0.5,
    }
    assert answer["next_step"] == "none"


def test_without_a_network_there_is_nothing_to_try(served: Served) -> None:
    served.without_network()
    answer = served.client.get("/api/v1/setup/check").json()
    assert answer["network"] is None
    assert answer["next_step"] == "network"
