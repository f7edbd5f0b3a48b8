"""Names the space of an exit's embeddings: a teacher network's, or otherwise the exit's classifier.

Exits 1 to 4 of Fig. 1 trained against one classifier share the meaning of every direction, so that
their embeddings can be compared by cosine. Exits with separate classifiers do not.
"""

import hashlib

import numpy as np

from adln.manifest import SPACE_DIGITS
from adln.model.network import ADLN


def name_space(network: ADLN, depth: int) -> str:
    """The name of an exit's space; exits trained against the same classifier share it.

    Returns the name in the network's architecture; without one, the first 16 hex digits of the
    SHA-256 of the exit's trained classifier (K, D), as contiguous little-endian float32.
    """
    if network.architecture.space:
        return network.architecture.space
    classifier = network.get_parameter(f"exits.{depth}.classifier.weight")
    numbers = np.ascontiguousarray(classifier.detach().cpu().float().numpy(), dtype="<f4")
    return hashlib.sha256(numbers.tobytes()).hexdigest()[:SPACE_DIGITS]
