"""Person re-identification that runs where the cameras are: one network, cut at four depths.

```python
import adln

net = adln.load("res2")                                # a name, or any ONNX / OpenVINO network
embeddings = net.embed(["anna1.jpg", "anna2.jpg"])     # (2, D) float32 of unit length
with adln.Gallery("shop/") as gallery:
    gallery.enrol("Anna", embeddings, network=net)
    answer = gallery.identify(net.embed("who.jpg")[0], network=net)
    print(answer.verdict, answer.person, answer.reason)
```

Cameras and recordings need the extra `camera`:

```python
for sighting in adln.watch("clip.mp4", gallery="shop/"):
    print(sighting.camera_id, sighting.person_id, sighting.verdict)
```
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adln.api.gallery import Gallery
    from adln.api.networks import (
        KnownNetwork,
        Network,
        describe_network,
        find_people,
        load,
        networks,
    )
    from adln.api.watching import watch
    from adln.cameras.box_tracker import BoxTracker as Tracker
    from adln.matching.identification import Identification

__version__ = "0.1.0"

# onnxruntime (1.32, for one) reports starts, processor and program path to Microsoft, on Linux too,
# and keeps a number of the device for it. Only this, set before it is first imported, stops that;
# whoever wants it sets the variable to 0.
if not os.environ.get("ORT_DISABLE_TELEMETRY"):
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = [
    "Gallery",
    "Identification",
    "KnownNetwork",
    "Network",
    "Tracker",
    "__version__",
    "describe_network",
    "find_people",
    "load",
    "networks",
    "watch",
]

# Name -> module and name there: imported when first used, so that `import adln` costs nothing.
_LAZY = {
    "Gallery": ("adln.api.gallery", "Gallery"),
    "Identification": ("adln.matching.identification", "Identification"),
    "KnownNetwork": ("adln.api.networks", "KnownNetwork"),
    "Network": ("adln.api.networks", "Network"),
    "Tracker": ("adln.cameras.box_tracker", "BoxTracker"),
    "describe_network": ("adln.api.networks", "describe_network"),
    "find_people": ("adln.api.networks", "find_people"),
    "load": ("adln.api.networks", "load"),
    "networks": ("adln.api.networks", "networks"),
    "watch": ("adln.api.watching", "watch"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'adln' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
