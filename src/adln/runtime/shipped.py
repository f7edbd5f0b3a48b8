"""The networks that come with the package, so that it embeds without a download.

They are known by their names, "res1" and "res2"; a file of the same name in the working folder goes
first. Their cards are in `adln/networks`.
"""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "networks"
SHIPPED = ("res1", "res2")
DEFAULT = "res2"


def find_network(name: str | Path) -> Path:
    """The file of a network that is called by name.

    Args:
        name: of a shipped network, or any path.

    Returns:
        The path as it came, unless it is the name of a shipped network and no file there.
    """
    path = Path(name)
    if str(name) in SHIPPED and not path.exists():
        return FOLDER / f"{name}.onnx"
    return path
