"""What importing a module of ours really executes, read from the sources.

Only statements that run at import time count: bodies of functions do not, nor
what stands under ``if TYPE_CHECKING:`` or ``if sys.platform == "linux":``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src"
GUARDS = ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def file_of(module: str) -> Path | None:
    """The source of one of our modules; ``None`` for what is not ours or not a module."""
    base = SOURCE.joinpath(*module.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def modules_under(package: str) -> list[str]:
    """The package and every module below it, by dotted name."""
    root = SOURCE.joinpath(*package.split("."))
    if not root.is_dir():
        return [package]
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def _never_runs_elsewhere(test: ast.expr) -> bool:
    text = ast.unparse(test)
    return text in GUARDS or text.startswith(("sys.platform == 'linux'", "sys.platform.startswith"))


def executed(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every node that is evaluated when a body of statements runs at import time."""
    for statement in body:
        yield from _executed_by(statement)


def _executed_by(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If) and _never_runs_elsewhere(node.test):
        yield from executed(node.orelse)
        return
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        # Its defaults and decorators run now, its body later; annotations are strings.
        now: list[ast.expr] = [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
        if not isinstance(node, ast.Lambda):
            now += node.decorator_list
        for expression in now:
            yield from _executed_by(expression)
        return
    for name, child in ast.iter_fields(node):
        if name == "annotation":
            continue
        for part in child if isinstance(child, list) else [child]:
            if isinstance(part, ast.AST):
                yield from _executed_by(part)


def imports(module: str, tree: ast.Module) -> Iterator[str]:
    """Dotted names of everything that importing this module imports, ours and others'."""
    path = file_of(module)
    is_package = path is not None and path.name == "__init__.py"
    for node in executed(tree.body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*parts, base] if base else parts)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def closure(start: list[str]) -> dict[str, ast.Module]:
    """Our modules that are executed when those in ``start`` are imported, with their syntax."""
    waiting, found = list(start), {}
    while waiting:
        module = waiting.pop()
        path = file_of(module)
        if path is None or module in found:
            continue
        found[module] = ast.parse(path.read_text(encoding="utf-8"), str(path))
        parts = module.split(".")
        # Importing a.b.c executes a and a.b first.
        waiting += [".".join(parts[:count]) for count in range(1, len(parts))]
        waiting += imports(module, found[module])
    return found
