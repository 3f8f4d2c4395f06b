"""The waist stays narrow: another member of a protocol needs a decision record."""

import ast

import pytest

from tests.arch import tree

MEMBERS = {
    "Backend": {"name", "probe", "open", "owned", "destroy"},
    "Sandbox": {"id", "files", "start"},
    "Process": {"pid", "output", "write_stdin", "close_stdin", "signal", "resize", "wait"},
    "Files": {"stat", "list", "read", "write", "mkdir", "move", "remove", "pack", "unpack"},
}
MOST_OPTIONAL = 4
PORTS = next(module for module in tree.modules() if module.name == "atoll.core.ports")
PROTOCOLS = {node.name: node for node in PORTS.tree.body if isinstance(node, ast.ClassDef)}


def _members(protocol: ast.ClassDef) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in protocol.body if isinstance(node, functions)}


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_members(name: str) -> None:
    assert _members(PROTOCOLS[name]) == MEMBERS[name]


@pytest.mark.parametrize("name", sorted(PROTOCOLS.keys() - MEMBERS.keys()))
def test_rare_powers_are_small(name: str) -> None:
    assert len(_members(PROTOCOLS[name])) <= MOST_OPTIONAL


def test_nobody_inherits_behaviour_from_a_port() -> None:
    """Ports are satisfied by shape; a subclass of one would inherit its empty bodies."""
    wrong = [
        f"{module.name}.{node.name}({base.id})"
        for module in tree.modules()
        if module is not PORTS
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name) and base.id in PROTOCOLS and _imported(module, base.id)
    ]
    assert wrong == []


def _imported(module: tree.Module, name: str) -> bool:
    return f"atoll.core.ports.{name}" in set(module.imports())
