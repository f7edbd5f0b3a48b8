"""The examples of the documentation use what there is, as it is called."""

import ast
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).parents[1]
_PAGES = sorted([*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md")])
_EXAMPLES = [
    pytest.param(
        found[1],
        id=f"{page.relative_to(_ROOT)}:{page.read_text()[: found.start()].count(chr(10)) + 1}",
    )
    for page in _PAGES
    for found in re.finditer(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)
]


@pytest.mark.parametrize("example", _EXAMPLES)
def test_what_an_example_calls_takes_these_arguments(example: str) -> None:
    tree = ast.parse(example)
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adln"):
            module = importlib.import_module(str(node.module))
            known |= {one.asname or one.name: getattr(module, one.name) for one in node.names}
        elif isinstance(node, ast.Import) and "adln" in [one.name for one in node.names]:
            package = importlib.import_module("adln")
            known |= {f"adln.{name}": getattr(package, name) for name in package.__all__}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (called := known.get(ast.unparse(node.func))):
            named = {one.arg: None for one in node.keywords if one.arg is not None}
            inspect.signature(called).bind(*node.args, **named)
