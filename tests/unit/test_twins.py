"""The sync and the async handles are the same program but for a few words."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pgmonkey.connections

FOLDER = Path(pgmonkey.connections.__file__).parent

# What a word of aio.py is called in sync.py.
RENAMES = {
    "AsyncConnectionHandle": "ConnectionHandle",
    "AsyncPoolHandle": "PoolHandle",
    "_AsyncHandle": "_SyncHandle",
    "AsyncConnection": "Connection",
    "AsyncConnectionPool": "ConnectionPool",
    "AsyncCursor": "Cursor",
    "AsyncPool": "Pool",
    "AsyncIterator": "Iterator",
    "asynccontextmanager": "contextmanager",
    "current_task": "get_ident",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "task": "thread",
    "tasks": "threads",
}

# What has no twin, with the reason.
APART = {
    "_arguments": "a thread reads the secret, so that the loop goes on",
    "_take": "the locks of threading and asyncio wait in different ways",
    "loop": "only an async handle belongs to a loop",
    "_opened": "likewise",
    "_check_open": "likewise",
    "_abandon": "only threads are waited for",
    "__aenter__": "an interrupt may hit a thread between any two steps: see leaving",
    "__enter__": "likewise",
    "__aexit__": "likewise",
    "_forsake": "likewise",
    "connection": "likewise",
    "_bring_up": "likewise",
    "__init__": "likewise",
    "_reset": "the locks and what identifies an owner have other types",
    "Place": "a thread sleeps on a lock, a task on a future",
    "start": "only an async pool belongs to a loop",
    "abandon": "threads are waited for, tasks are cancelled",
    "forked": "likewise",
    "_forget_workers": "likewise",
    "worker": "a task can be cancelled",
    "_WorkerCancelled": "likewise",
    "_Event": "likewise",
    "_connect": "likewise",
    "_start_workers": "an interrupt hits threads, a cancellation tasks",
    "_forked": "an async handle cannot go on in a child: its loop is the parent's",
}


class _WithoutAsync(ast.NodeTransformer):
    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.visit(node.value)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        return ast.FunctionDef(**{name: getattr(node, name, None) for name in node._fields})

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AST:
        self.generic_visit(node)
        return ast.With(**{name: getattr(node, name, None) for name in node._fields})

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            text = re.sub(r"``async with", "``with", node.value)
            return ast.Constant(re.sub(r"\w+", lambda m: RENAMES.get(m[0], m[0]), text))
        return node


def definitions(name: str, *, plain: bool) -> dict[str, str]:
    """Return every function of a module by its path, as text without the async words."""
    tree = ast.parse((FOLDER / name).read_text(encoding="utf-8"))
    if plain:
        tree = ast.fix_missing_locations(_WithoutAsync().visit(tree))
    found: dict[str, str] = {}

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            title = getattr(node, "name", "")
            title = RENAMES.get(title, title) if plain else title
            if getattr(node, "name", "") in APART:
                continue
            if isinstance(node, ast.ClassDef):
                collect(node.body, f"{prefix}{title}.")
            elif isinstance(node, ast.FunctionDef):
                text = ast.unparse(node)
                if plain:
                    text = re.sub(r"\w+", lambda m: RENAMES.get(m[0], m[0]), text)
                found[prefix + title] = text

    collect(tree.body, "")
    return found


@pytest.mark.parametrize(
    ("async_file", "sync_file"),
    [("aio.py", "sync.py"), ("driver_aio.py", "driver.py"), ("pool_aio.py", "pool.py")],
)
def test_async_module_without_the_async_words_is_the_sync_module(async_file, sync_file):
    assert definitions(async_file, plain=True) == definitions(sync_file, plain=False)
