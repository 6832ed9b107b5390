"""Stage keys: the hash of what can change a result, and of nothing else.

A key covers the stage's config slice, its inputs' keys, the source of every lab module the stage can reach through imports (and the
data files beside them), and the versions of the libraries that decide its result. Comments and docstrings are not part of it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PACKAGE = "lore_lab"
_ROOT = Path(__file__).resolve().parents[1]
_DATA_SUFFIXES = (".yaml", ".yml", ".json", ".txt", ".jinja")


def digest(content: Any) -> str:
    """16 hex digits of the canonical JSON of `content`."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def module_path(module: str) -> Path | None:
    """File of a lab module, or None when there is none by that name."""
    base = _ROOT.joinpath(*module.split(".")[1:])
    for candidate in (base / "__init__.py", base.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def _imported(tree: ast.Module, module: str) -> set[str]:
    """Lab modules a source names in any import statement, function bodies included."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{module}: relative imports are not followed; import from {PACKAGE}")
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name == PACKAGE or name.startswith(f"{PACKAGE}.")}


def _strip_inert(tree: ast.Module) -> None:
    """Drop what cannot act: docstrings, and blocks that only a type checker reads."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()


@functools.cache
def _inspect(module: str) -> tuple[str, frozenset[str]]:
    """(hash of the module's code and of the data files in its folder's subfolders it ships with, lab modules it imports)."""
    path = module_path(module)
    assert path is not None, module
    tree = ast.parse(path.read_text(encoding="utf-8"))
    _strip_inert(tree)
    imports = frozenset(_imported(tree, module))
    content = hashlib.sha256(ast.unparse(tree).encode())
    if path.name == "__init__.py" and path.parent != _ROOT:
        for file in sorted(file for file in path.parent.rglob("*") if file.suffix in _DATA_SUFFIXES):
            content.update(str(file.relative_to(path.parent)).encode() + b"\0" + file.read_bytes())
    return content.hexdigest(), imports


def reachable(modules: Iterable[str]) -> set[str]:
    """The lab modules that `modules` import, directly or not, their packages' __init__ included."""
    pending, seen = list(modules), set[str]()
    while pending:
        module = pending.pop()
        parent = module.rpartition(".")[0]
        if module_path(module) is None:  # `from package import name`: the name may be no module
            continue
        if module in seen:
            continue
        seen.add(module)
        pending.extend(_inspect(module)[1])
        if parent:
            pending.append(parent)
    return seen


def code_hash(modules: Iterable[str]) -> str:
    """Hash of everything `modules` can run inside the lab."""
    return digest({module: _inspect(module)[0] for module in sorted(reachable(modules))})


@functools.cache
def version(library: str) -> str:
    if library == "python":
        return ".".join(platform.python_version_tuple()[:2])
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def stage_key(
    stage: str, config: Mapping[str, Any], inputs: Mapping[str, str], modules: Iterable[str], libraries: Iterable[str]
) -> tuple[str, dict[str, Any]]:
    """(key, what it was made of). config: the stage's slice as plain data. inputs: name -> key of the artifact it reads."""
    modules = sorted(modules)
    parts = {
        "stage": stage,
        "config": dict(config),
        "inputs": dict(inputs),
        "modules": modules,
        "code": code_hash(modules),
        "versions": {library: version(library) for library in sorted({"python", *libraries})},
    }
    return digest(parts), parts
