"""One name, one thing: no two modules of src define a public class or function of one name."""

import ast
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "adln"
# Name -> why two modules may have it.
ALLOWED = {
    "Gallery": "the front door's gallery, and the promises that it stands on",
    "Network": "the front door's network, and what the service embeds with",
    "main": "where a program begins",
    "save": "each format's own, called by the name of its module",
}
# Classes there are names in the document of the HTTP API, which clients are made from.
DOCUMENT = "service/answers.py"


def public_names() -> dict[str, list[str]]:
    """Name -> modules that define it, without the commands of the command line."""
    found = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        module = path.relative_to(SOURCE).as_posix()
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("_") or module == DOCUMENT or is_command(node):
                continue
            found[node.name].append(module)
    return found


def is_command(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(
        isinstance(one, ast.Call)
        and isinstance(one.func, ast.Attribute)
        and one.func.attr in ("command", "group")
        for one in node.decorator_list
    )


def test_no_public_name_is_held_twice() -> None:
    twice = {name: where for name, where in public_names().items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if name not in ALLOWED} == {}
    assert sorted(ALLOWED.keys() - twice.keys()) == [], "allowed, but held once only"
