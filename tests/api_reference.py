"""Write docs/api.md: every public name with its parameters and the first sentence of its docstring.

``python -m tests.api_reference`` after a change of a public name; a test compares the page with the code.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "api.md"
PACKAGES = (
    "scalekit",
    "scalekit.contracts",
    "scalekit.deploy",
    "scalekit.pages",
    "scalekit.telemetry",
    "scalekit.testing",
    "scalekit_redis",
    "scalekit_caching",
    "scalekit_cache",
    "scalekit_headers",
    "scalekit_jwt",
    "scalekit_ratelimit",
)
HEAD = """# Public names

What plugins and applications may import; [stability](stability.md) says what may change. The
[handbook](../plugins/README.md) shows how the names work together. `python -m tests.api_reference` makes this page
from the docstrings.
"""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Assign | ast.AnnAssign


@cache
def module_tree(module: str) -> ast.Module | None:
    """Return the parsed source of *module*, or None when it is not ours."""
    if not module.startswith("scalekit"):
        return None
    spec = importlib.util.find_spec(module)
    return ast.parse(Path(spec.origin).read_text()) if spec and spec.origin else None


def public_names(package: str) -> list[str]:
    """Return the names in ``__all__`` of *package*."""
    tree = module_tree(package)
    for node in tree.body if tree else ():
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    raise LookupError(f"{package} has no __all__")


def reference() -> str:
    """Return the text of the page."""
    return HEAD + "".join(f"\n## `{package}`\n\n" + "\n".join(_package(package)) + "\n" for package in PACKAGES)


def _package(package: str) -> Iterator[str]:
    for name in public_names(package):
        source, tree, found = _resolve(package, name)
        if tree is None or found is None:
            yield f"- `{name}`: `{source}.{name}`."
            continue
        yield f"- `{_heading(name, found)}`: {_summary(tree, found, f'{source}.{name}')}"
        if isinstance(found, ast.ClassDef):
            yield from _methods(tree, found, f"{source}.{name}")


def _resolve(module: str, name: str) -> tuple[str, ast.Module | None, Definition | None]:
    """Return the module that defines *name*, its tree and the definition; None for those of another library."""
    tree = module_tree(module)
    if tree is None:
        return module, None, None
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _resolve(node.module, alias.name)
    for node in tree.body:
        if isinstance(node, Definition) and name in _defined(node):
            return module, tree, node
    raise LookupError(f"{module} does not define {name}")


def _defined(node: Definition) -> set[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {ast.unparse(target) for target in targets}
        case ast.AnnAssign(target=target):
            return {ast.unparse(target)}


def _heading(name: str, found: Definition) -> str:
    match found:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return f"{name}({_parameters(found.args)})"
        case ast.ClassDef():
            return f"class {name}"
    return name


def _parameters(arguments: ast.arguments) -> str:
    positional = [each.arg for each in (*arguments.posonlyargs, *arguments.args) if each.arg not in ("self", "cls")]
    rest = [f"*{arguments.vararg.arg}"] if arguments.vararg else ["*"] if arguments.kwonlyargs else []
    keywords = [each.arg for each in arguments.kwonlyargs]
    return ", ".join([*positional, *rest, *keywords, *([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])])


def _methods(tree: ast.Module, owner: ast.ClassDef, path: str) -> Iterator[str]:
    for node in owner.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(("_", "test_")):
            decorators = {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}
            if decorators & {"overload", "field_validator", "model_validator", "setter"}:
                continue
            heading = node.name if "property" in " ".join(decorators) else _heading(node.name, node)
            yield f"  - `{heading}`: {_summary(tree, node, f'{path}.{node.name}')}"


def _summary(tree: ast.Module, found: Definition, path: str) -> str:
    """Return the first paragraph of the docstring of *found*, on one line."""
    text = _text_after(tree, found) if isinstance(found, ast.Assign | ast.AnnAssign) else ast.get_docstring(found)
    if not text:
        raise LookupError(f"{path} has no docstring")
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.sub(r"``(.+?)``", r"`\1`", re.sub(r":\w+:`(.+?)`", r"`\1`", paragraph))


def _text_after(tree: ast.Module, found: ast.stmt) -> str | None:
    following = tree.body[tree.body.index(found) + 1 :][:1]
    match following:
        case [ast.Expr(value=ast.Constant(value=str(text)))]:
            return text
    return None


if __name__ == "__main__":
    PAGE.write_text(reference())
