"""A training at a site that is killed leaves the network in use, and the same call goes on."""

import hashlib
import pickle
import signal
import subprocess
import sys
from pathlib import Path

from tests.site import killing
from tests.site.conftest import MakeRequest, draw_folder

from adln.embedders.embedder import OnnxEmbedder
from adln.matching.bridge import bridge_path
from adln.site.crops import list_crops
from adln.site.training import past_outcome, require_new, train_for_site


def test_kill_9_at_any_point_leaves_the_old_network_and_the_run_goes_on(
    make_request: MakeRequest, in_use: Path, tmp_path: Path
) -> None:
    crops = list_crops([draw_folder(tmp_path / "crops")])
    request = make_request(tmp_path)
    file = tmp_path / "request.pickle"
    file.write_bytes(pickle.dumps((request, crops)))
    before = hashlib.sha256(in_use.read_bytes()).digest()
    # While it learns, between learning and export, and after the judgement.
    for point in ("learning", "export_network", "_calibrate"):
        ended = subprocess.run([sys.executable, killing.__file__, file, point], check=False)
        assert ended.returncode == -signal.SIGKILL, point
        assert not request.out.exists(), point
        assert hashlib.sha256(in_use.read_bytes()).digest() == before
        assert past_outcome(request) is None
        require_new(request)
    outcome = train_for_site(request, crops)
    assert outcome.written
    assert OnnxEmbedder(request.out).model.sha256 == outcome.facts["network_sha256"]


def test_kill_9_before_the_bridge_leaves_no_network_and_the_run_goes_on(
    make_request: MakeRequest, learned: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = learned
    crops = list_crops([draw_folder(tmp_path / "crops")])
    request = make_request(tmp_path, network=str(old), new_space=False)
    request.work.mkdir()
    (request.work / "candidate.onnx").write_bytes(new.read_bytes())
    file = tmp_path / "request.pickle"
    file.write_bytes(pickle.dumps((request, crops)))
    ended = subprocess.run([sys.executable, killing.__file__, file, "write_if_better"], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not request.out.exists()
    assert not bridge_path(request.out).exists()
    assert train_for_site(request, crops).written
    assert bridge_path(request.out).exists()
