"""What the server offers is in the pages."""

import json
import re
import urllib.request
from pathlib import Path

from tests.e2e.server import Server

API = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def test_the_map_is_exact(server: Server) -> None:
    with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=10) as answer:
        paths = json.load(answer)["paths"]
    offered = {
        (method.upper(), _anonymous(path))
        for path, operations in paths.items()
        for method in operations
        if method != "parameters"
    }
    documented = {
        (method, _anonymous(path))
        for methods, named in re.findall(r"^\| ([A-Z ]+) ((?:`/\S+` ?)+)\|", API, re.MULTILINE)
        for method in methods.split()
        for path in re.findall(r"`(\S+)`", named)
    }
    assert offered - documented == set()
    assert documented - offered == set()


def _anonymous(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)
