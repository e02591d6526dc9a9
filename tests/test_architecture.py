"""Who may import whom, and who may do what: `docs/decisions.md` has the reasons, this keeps them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = frozenset({"server", "auth", "storage", "protocol", "crdt", "migrations"})
ALLOWED = {
    "protocol": frozenset({"protocol"}),
    "crdt": frozenset({"crdt"}),
    "storage": frozenset({"storage"}),
    "auth": frozenset({"auth", "storage"}),
    "server": frozenset({"server", "auth", "storage", "protocol", "crdt"}),
    "migrations": frozenset({"migrations"}),
}
IMPURE = frozenset({"asyncio", "anyio", "os", "time", "random", "secrets", "socket", "asyncpg", "starlette"})
ONLY_IN = {
    "pycrdt": ("crdt",),
    "msgpack": ("protocol",),
    "asyncpg": ("storage", "migrations"),
    "sqlalchemy": ("storage", "migrations"),
    "alembic": ("storage", "migrations"),
    "authlib": ("auth/social.py",),
    "pgqueuer": ("storage",),
}
TOP_LEVEL = {"server", "crdt", "storage", "auth", "protocol", "migrations", "tests", "docs", "benchmarks", "deploy", "web"}
SQL = re.compile(
    r"^\s*(SELECT\s+.+\s+FROM|SELECT\s+(pg_|\$|1\b|now\()|INSERT\s+INTO|UPDATE\s+\S+\s+(AS\s+\S+\s+)?SET|DELETE\s+FROM|WITH\s+\S+\s+(\(.*\)\s+)?AS\s*\("
    r"|CREATE\s+(TABLE|INDEX|DATABASE|UNIQUE)|ALTER\s+(TABLE|DATABASE|SYSTEM)|DROP\s+(TABLE|DATABASE)|TRUNCATE\s|LISTEN\s|NOTIFY\s|LOCK\s+TABLE)",
    re.IGNORECASE | re.DOTALL,
)


@cache
def sources() -> tuple[Path, ...]:
    """Every module of ours but the tests and benchmarks."""
    return tuple(sorted(path for package in OURS for path in (ROOT / package).rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and (
        (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING")
        or (isinstance(node.test, ast.Attribute) and node.test.attr == "TYPE_CHECKING")
    )


def walk(node: ast.AST, *, types_too: bool) -> Iterator[ast.AST]:
    """The nodes below `node`; without `types_too`, not those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if not types_too and _is_type_checking(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield other
                yield from walk(other, types_too=types_too)
            continue
        yield child
        yield from walk(child, types_too=types_too)


def imports(path: Path, *, types_too: bool = True) -> Iterator[str]:
    """Every module that the file names in an import, as a dotted name; of `from a import b` both `a` and `a.b`."""
    for node in walk(tree(path), types_too=types_too):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)} imports by a relative name"
            assert node.module is not None
            yield node.module
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def top(module: str) -> str:
    return module.partition(".")[0]


def each_source() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", sources(), ids=named)


@each_source()
def test_a_package_imports_only_those_below_it(path: Path) -> None:
    found = {top(module) for module in imports(path)} & (OURS | {"tests", "benchmarks"})
    assert found <= ALLOWED[package(path)]


@pytest.mark.parametrize("path", [path for path in sources() if package(path) in ("protocol", "crdt")], ids=named)
def test_pure_packages_reach_for_nothing_outside(path: Path) -> None:
    assert not {top(module) for module in imports(path)} & IMPURE


@each_source()
def test_a_library_that_is_wrapped_is_imported_only_where_it_is_wrapped(path: Path) -> None:
    for library, places in ONLY_IN.items():
        if not named(path).startswith(places):
            assert library not in {top(module) for module in imports(path)}, f"{library} belongs into {' and '.join(places)}"


@each_source()
def test_only_the_settings_read_the_environment(path: Path) -> None:
    if named(path) == "server/config.py":
        return
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "getenvb"):
            pytest.fail(f"{named(path)}:{node.lineno} reads the environment")
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            assert not {alias.name for alias in node.names} & {"environ", "environb", "getenv", "getenvb"}


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


@each_source()
def test_only_storage_and_migrations_contain_sql(path: Path) -> None:
    if package(path) in ("storage", "migrations"):
        return
    found = [f"{named(path)}:{line}" for line, text in _texts(path) if SQL.search(text)]
    assert not found


def test_the_search_for_sql_finds_what_there_is() -> None:
    holding = {named(path) for path in sources() if any(SQL.search(text) for _, text in _texts(path))}
    assert {"storage/updates.py", "storage/snapshots.py", "storage/sessions.py", "storage/users.py", "storage/libraries.py"} <= holding
    for statement in ("SELECT id FROM libraries", "with a as (select 1) select * from a", "UPDATE x SET y = 1", "insert into t values (1)"):
        assert SQL.search(statement)
    for prose in ("Select a library from the list", "update the app", "With pleasure", "delete it"):
        assert prose.startswith("Select") or not SQL.search(prose)


def _modules() -> dict[str, Path]:
    return {named(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources()}


def _graph() -> dict[str, set[str]]:
    modules = _modules()
    return {
        name: {imported for imported in imports(path, types_too=False) if imported in modules} - {name} for name, path in modules.items()
    }


def _cycle(graph: dict[str, set[str]]) -> list[str]:
    """Some modules that import each other in a ring, or none."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return trail[trail.index(name) :]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if ring := visit(other, [*trail, name]):
                return ring
        done.add(name)
        return []

    for name in sorted(graph):
        if ring := visit(name, []):
            return ring
    return []


def test_no_modules_import_each_other_in_a_ring() -> None:
    assert _cycle(_graph()) == []


def test_the_search_for_rings_finds_one() -> None:
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]
    assert _cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_all_packages_are_looked_at_and_no_others_lie_beside_them() -> None:
    assert {package(path) for path in sources()} == OURS
    beside = {path.name for path in ROOT.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert beside <= TOP_LEVEL
