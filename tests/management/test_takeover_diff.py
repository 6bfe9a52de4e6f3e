"""The diff of ``routesock_takeover``: ``git apply`` takes it, and the result has ``RouteMixin`` first."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routesock.management._takeover.dialect import Suggestion
from routesock.management._takeover.diff import _unified, with_mixin
from tests.docs_pages import blocks_of
from tests.management.test_takeover import CONSUMERS, ROOT

KEYS = Suggestion('Keys(route="action", id="id")', (("routesock", "Keys"),))
FRAMES = Suggestion(
    "Own(id=None)",
    (("routesock", "Keys"), ("routesock.dialects", "Frame")),
    "class Own(Keys):\n    def read(self, value):\n        return Frame(value, value=value)\n",
)
HEAD = "from channels.generic.websocket import AsyncJsonWebsocketConsumer\n\n\n"
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DJANGO_"))},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
}


def git(folder: Path, *words: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["git", *words], cwd=folder, input=given, capture_output=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def python(folder: Path, code: str) -> str:
    code = f"from django.conf import settings; settings.configure()\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


MANAGE = """
import sys
from django.conf import settings
settings.configure(INSTALLED_APPS=["routesock"])
import django
from django.core.management import call_command
django.setup()
for path in sys.argv[1:]:
    if path != "--diff":
        call_command("routesock_takeover", path, diff="--diff" in sys.argv)
"""


def command(folder: Path, *words: str, prelude: str = "") -> bytes:
    """Run the command for each path in a process of its own, in ``folder``; returns its output."""
    done = subprocess.run(
        [sys.executable, "-c", prelude + MANAGE, *words], cwd=folder, capture_output=True, env=ENVIRONMENT, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    return tmp_path


def edited(source: str, suggestion: Suggestion | None = KEYS, taken: frozenset[str] = frozenset()) -> str:
    """The module with the mixin in front of its first class."""
    node = next(node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef))
    return with_mixin(source, node, suggestion, taken)


def added(source: str, suggestion: Suggestion | None = KEYS, taken: frozenset[str] = frozenset()) -> list[str]:
    """The lines that are new, or changed."""
    before = source.splitlines()
    return [line for line in edited(source, suggestion, taken).splitlines() if line and line not in before]


def sides(marked: str) -> tuple[str, str]:
    """The text before and after an edit; what is inserted is between ``«`` and ``»``."""
    return re.sub("«.*?»", "", marked, flags=re.DOTALL), re.sub("[«»]", "", marked)


class TestTheEdit:
    def test_of_a_plain_class(self) -> None:
        assert edited(f"{HEAD}class Chat(AsyncJsonWebsocketConsumer):\n    async def connect(self): ...\n") == (
            "from channels.generic.websocket import AsyncJsonWebsocketConsumer\n"
            "from routesock import Keys, RouteMixin\n\n\n"
            "class Chat(RouteMixin, AsyncJsonWebsocketConsumer):\n"
            '    route_dialect = Keys(route="action", id="id")\n\n'
            "    async def connect(self): ...\n"
        )

    def test_without_a_dialect(self) -> None:
        new = added(f"{HEAD}class Chat(AsyncJsonWebsocketConsumer):\n    pass\n", None)
        assert new == ["from routesock import RouteMixin", "class Chat(RouteMixin, AsyncJsonWebsocketConsumer):"]

    def test_with_a_dialect_class(self) -> None:
        new = edited(f"{HEAD}@decorated\nclass Chat(AsyncJsonWebsocketConsumer):\n    pass\n", FRAMES)
        assert new == (
            "from channels.generic.websocket import AsyncJsonWebsocketConsumer\n"
            "from routesock import Keys, RouteMixin\n"
            "from routesock.dialects import Frame\n\n\n"
            "class Own(Keys):\n    def read(self, value):\n        return Frame(value, value=value)\n\n\n"
            "@decorated\nclass Chat(RouteMixin, AsyncJsonWebsocketConsumer):\n"
            "    route_dialect = Own(id=None)\n    pass\n"
        )

    @pytest.mark.parametrize(
        "marked",
        [
            "class C(«RouteMixin, »A):",
            "class C( «RouteMixin, »A ):",
            "class C («RouteMixin, »A, B):",
            "class C(«RouteMixin, »(A)):",
            "class C(«RouteMixin, »a.b.A, metaclass=M):",
            "class C(«RouteMixin, »*bases, x=1):",
            "class C(«RouteMixin, »make(lambda: A), B[int]):",
            "class C(«RouteMixin, »A):  # why: B",
            "class C(«RouteMixin, »A,\n        B):",
            "class C(\n«    RouteMixin,\n»    A,\n    B,\n):",
            "class C(  # bases\n    # first\n«    RouteMixin,\n»    A\n):",
            "class C(\n«        RouteMixin,\n»        A, B):",
            "class \\\n    C(«RouteMixin, »A):",
            "@d(\n  1)\n@e\nclass C(«RouteMixin, »A):",
        ],
    )
    def test_of_headers(self, marked: str) -> None:
        before, after = sides(marked)
        assert f"\n\n\n{after}\n    x = 1\n" in edited(f"import channels\n\n\n{before}\n    x = 1\n", None)

    @pytest.mark.parametrize(
        "marked",
        [
            ":\n«    @\n»    x = 1\n",
            ":\n«\t@\n»\tx = 1\n",
            ':\n  """Doc."""\n«\n  @\n»',
            ':\n    """Doc."""\n«\n    @\n»\n    x = 1\n',
            ':\n    """Doc\n    more.\n    """\n«\n    @\n»    x = 1',
            ':\n    """Doc."""; x = 1«\n\n    @»',
            ':\n    """Doc."""«\n\n    @»',
            ": «@; »pass\n",
            ": «@; »x = 1; y = 2\n",
            ': "ż"«; @»; x = 1\n',
            ': "Doc."«; @»\n',
            ":\n«    @\n»    # what x is\n    x = 1\n",
            ":\n«    @\n\n»    def f(self): ...\n",
            ":\n«    @\n\n»    class Meta:\n        x = 1\n",
            ":\n«    @\n»\n    def f(self): ...\n",
        ],
    )
    def test_of_bodies(self, marked: str) -> None:
        before, after = sides(marked.replace("@", f"route_dialect = {KEYS.expression}"))
        assert edited(f"import channels\n\n\nclass C(A){before}").endswith(f"class C(RouteMixin, A){after}")

    @pytest.mark.parametrize(
        "marked",
        [
            "import channels\n«@»",
            "import channels; import os\n«@»",
            "import channels  # why\n«@»\nimport os\n",
            "from channels import (\n    auth,\n)\n«@»",
            "from channels import auth\n«@»from yarl import URL\n",
            "import os\n\nfrom channels import a\n«@»\nfrom .b import c\n",
            "import channels\n«@»from .b import c\n",
            "from .bases import Base\n«@»",
            '"""Doc."""\n«\n@»',
            "from __future__ import annotations\n«\n@»",
            '"""Doc."""\nfrom __future__ import annotations\nimport os\n«@»',
            "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n«@\n»",
            "«@\n»try:\n    import channels\nexcept ImportError:\n    pass\n",
            "from channels import a\n«@»__all__ = ['C']\nimport os\n",
        ],
    )
    def test_of_imports(self, marked: str) -> None:
        before, after = sides(marked.replace("@", "from routesock import RouteMixin\n"))
        assert edited(f"{before}\n\nclass C(A):\n    x = 1\n", None).startswith(after)

    @pytest.mark.parametrize(
        "marked",
        [
            "from routesock import «Keys, RouteMixin, »Throttle",
            "from routesock import Event«, Keys, RouteMixin»",
            "from routesock import «Keys, »RouteMixin",
            "from routesock import Keys, RouteMixin",
            "from routesock import (Keys as K«, RouteMixin»,)",
            "from routesock import (\n    Event,  # E\n«    Keys,\n    RouteMixin,\n»    route,\n)",
            "from routesock import (\n    Event«,\n    Keys,\n    RouteMixin»\n)",
            "from routesock import *",
            "import routesock«\nfrom routesock import Keys, RouteMixin»",
            "from routesock.auth import deny«\nfrom routesock import Keys, RouteMixin»",
        ],
    )
    def test_of_an_import_of_routesock(self, marked: str) -> None:
        before, after = sides(marked)
        expression = KEYS.expression.replace("Keys", "K" if "as K" in marked else "Keys")
        assert edited(f"{before}\n\n\nclass C(A):\n    x = 1\n") == (
            f"{after}\n\n\nclass C(RouteMixin, A):\n    route_dialect = {expression}\n    x = 1\n"
        )

    def test_where_the_module_has_other_things_of_these_names(self) -> None:
        new = added("import channels\nKeys = 1\nclass C(A):\n    x = 1\n", FRAMES, frozenset({"Keys", "RouteMixin"}))
        assert new[0] == "from routesock import Keys as RoutesockKeys, RouteMixin as RoutesockRouteMixin"
        assert "class Own(RoutesockKeys):" in new
        assert "class C(RoutesockRouteMixin, A):" in new

    def test_of_a_class_in_a_branch(self) -> None:
        new = edited("import channels\n\nif True:\n    class C(A):\n        x = 1\n", FRAMES)
        compile(new, "module", "exec")
        assert "\n    class Own(Keys):\n        def read" in new


NAMES = st.sampled_from(["A", "pkg.mod.A", "(A)", "make()", "B[int]", "A, B", "*bases", "make(lambda: A), B"])
GAPS = st.sampled_from(["", " ", "\n    ", "  # a (comment:\n    ", "\n\n        ", "\\\n"])
HEADS = st.lists(
    st.sampled_from(
        [
            "import channels",
            "import os; import sys",
            "from channels.generic import websocket",
            "from routesock import Event",
            "from routesock import (\n    Event,\n    route,\n)",
            "from .x import (\n    y,\n)",
            "x = 1",
            "if x:\n    import z",
            "",
            "# comment",
            "\f",
            "__all__ = ['C']",
        ]
    ),
    max_size=6,
)
FIRST = st.sampled_from(["", '"""Doc."""', "'''Doc\nmore'''", "#!/usr/bin/python", '"""ż"""'])
FUTURE = st.sampled_from(["", "from __future__ import annotations", "from __future__ import (\n  annotations\n)"])
DECORATORS = st.sampled_from(["", "@d\n", "@d(\n  '(',\n)\n@e\n"])
BODIES = st.sampled_from(
    [
        ": pass",
        ":pass; x = 1",
        ': "żółw"',
        ": 'd'; x = 1  # :",
        ":\n    pass",
        ":\n\t'''d\n\tmore'''\n\tx = 1",
        ":  # comment (\n  # comment\n\n  x = 1",
        ":\n    '''d''' ; x = 1",
        ":\n    '''d'''\n    # end",
        ":\n    def f(self):\n        return '''\n)'''",
        ":\n    @d\n    async def f(self): ...",
        ":\n    class Meta:\n        x = 1",
    ]
)
ENDS = st.sampled_from(["", "\n", "\n\n", "\nx = 1", "\nclass D: pass\n"])


@st.composite
def modules(draw: st.DrawFn) -> str:
    parts = [draw(FIRST), draw(FUTURE), *draw(HEADS)]
    gap, keyword = draw(GAPS), draw(st.sampled_from(["", ", metaclass=M", ",", ", x=1,"]))
    header = f"{draw(DECORATORS)}class C{draw(st.sampled_from(['', ' ']))}({gap}{draw(NAMES)}{keyword}{draw(GAPS)})"
    text = "\n".join([*filter(None, parts), f"{header}{draw(BODIES)}{draw(ENDS)}"])
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@given(text=modules(), suggestion=st.sampled_from([None, KEYS, FRAMES]))
def test_the_result_compiles_and_has_the_mixin_first(text: str, suggestion: Suggestion | None) -> None:
    before = next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef) and node.name == "C")
    after = with_mixin(text, before, suggestion)
    tree = ast.parse(after)
    node = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "C")
    assert [ast.unparse(base) for base in node.bases] == ["RouteMixin", *map(ast.unparse, before.bases)]
    assert ast.get_docstring(node, clean=False) == ast.get_docstring(before, clean=False)
    assert ast.get_docstring(tree, clean=False) == ast.get_docstring(ast.parse(text), clean=False)
    compile(after, "module", "exec")
    options = [ast.unparse(statement) for statement in node.body if "route_dialect" in ast.unparse(statement)]
    assert len(options) == (suggestion is not None)
    assert len(node.body) == len(before.body) + len(options)
    assert ("\r\n" in after) == ("\r\n" in text)
    assert after.count("\r\n") in (0, after.count("\n"))
    imported = {alias.name for found in tree.body if isinstance(found, ast.ImportFrom) for alias in found.names}
    assert imported >= {"RouteMixin", *(name for _, name in (suggestion.imports if suggestion else ()))}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(text=modules(), suggestion=st.sampled_from([None, KEYS, FRAMES]))
def test_git_applies_the_diff(text: str, suggestion: Suggestion | None, repository: Path) -> None:
    before = next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef) and node.name == "C")
    after = with_mixin(text, before, suggestion)
    (repository / "a module.py").write_bytes(text.encode())
    git(repository, "apply", given=_unified(text, after, "a module.py").encode())
    assert (repository / "a module.py").read_bytes() == after.encode()


def write_consumer(folder: Path, text: str, name: str = "consumers.py") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes(text.encode())
    return file


CHAT = (
    f"{HEAD}class Chat(AsyncJsonWebsocketConsumer):\n"
    "    async def receive_json(self, content):\n"
    '        if content["action"] == "a":\n            await self.send_json({"action": "a", "id": content["id"]})\n'
    '        elif content["action"] == "b":\n            await self.close()\n'
)
FIRST_BASES = "import chat.consumers as c; print(c.Chat.__bases__[0].__name__, c.Chat.route_dialect)"
EXPECTED = "RouteMixin Keys(route='action', id='id', payload=None, status=None, headers=None)"


VARIANTS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "no_newline": lambda text: text.removesuffix("\n"),
    "bom": lambda text: "\ufeff" + text,
    "tabs": lambda text: text.replace("    ", "\t"),
    "unicode": lambda text: f"# Żółw\n{text}",
    "lines": lambda text: text.replace("(AsyncJsonWebsocketConsumer)", "(\n    AsyncJsonWebsocketConsumer,\n)"),
    "taken": lambda text: text.replace("\n\n\n", "\nKeys = RouteMixin = None\n\n\n"),
    "future": lambda text: f'"""Doc."""\n\nfrom __future__ import annotations\n\n__all__ = ["Chat"]\n{text}',
}
"""Modules with the same class in other forms."""


class TestTheCommand:
    def test_its_diffs_are_applied_and_import(self, repository: Path) -> None:
        """In two processes for all variants, since a process with Django takes its time."""
        for name, change in VARIANTS.items():
            write_consumer(repository / name, change(CHAT))
        diffs = command(repository, *(f"{name}.consumers.Chat" for name in VARIANTS), "--diff")
        assert diffs.count(b"diff --git") == len(VARIANTS)
        git(repository, "apply", given=diffs)
        code = "\n".join(FIRST_BASES.replace("chat", name) for name in VARIANTS)
        assert python(repository, code).splitlines() == [EXPECTED] * len(VARIANTS)
        assert b"\n" not in (repository / "crlf" / "consumers.py").read_bytes().replace(b"\r\n", b"")
        assert not (repository / "no_newline" / "consumers.py").read_bytes().endswith(b"\n")

    def test_in_a_folder_of_the_work_tree(self, repository: Path) -> None:
        """The paths are relative to the work tree, and git knows that."""
        write_consumer(repository / "src dir" / "chat", CHAT)
        done = command(repository / "src dir", "chat.consumers:Chat", "--diff")
        git(repository / "src dir", "apply", given=done)
        assert python(repository / "src dir", FIRST_BASES) == EXPECTED

    def test_without_a_work_tree_in_the_current_folder(self, tmp_path: Path) -> None:
        write_consumer(tmp_path / "chat", CHAT)
        done = command(tmp_path, "chat.consumers.Chat")
        assert f"takes this diff in {tmp_path}\n" in done.decode()
        git(tmp_path, "apply", given=command(tmp_path, "chat.consumers.Chat", "--diff"))
        assert python(tmp_path, FIRST_BASES) == EXPECTED

    def test_of_a_file_with_a_name_that_git_quotes(self, repository: Path) -> None:
        write_consumer(repository / "chat", CHAT, "żółw.py")
        git(repository, "apply", given=command(repository, "chat.żółw.Chat", "--diff"))
        assert python(repository, FIRST_BASES.replace("consumers", "żółw")) == EXPECTED

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            (f"# -*- coding: latin-1 -*-\n# é\n{CHAT}", "is not in UTF-8 but in iso-8859-1"),
            (CHAT.replace("\n\n\n", "\n\r\r"), "has line ends that git does not know"),
        ],
    )
    def test_of_a_file_of_which_a_diff_would_not_fit(self, repository: Path, text: str, says: str) -> None:
        file = write_consumer(repository / "chat", text)
        if "latin-1" in text:
            file.write_bytes(text.encode("latin-1"))
        assert says in command(repository, "chat.consumers.Chat").decode().replace("\n    ", " ")

    def test_of_a_file_elsewhere(self, tmp_path: Path) -> None:
        write_consumer(tmp_path / "one", CHAT)
        (tmp_path / "two").mkdir()
        prelude = f"import sys; sys.path.insert(0, {str(tmp_path / 'one')!r})"
        text = command(tmp_path / "two", "consumers.Chat", prelude=prelude).decode().replace("\n    ", " ")
        assert "is in no git work tree" in text
        assert "diff --git" not in text

    def test_of_a_class_of_an_installed_package(self, tmp_path: Path) -> None:
        write_consumer(tmp_path / "site-packages" / "chat", CHAT)
        done = command(tmp_path / "site-packages", "chat.consumers.Chat")
        assert "belongs to an installed package" in done.decode()


def test_every_consumer_of_the_tests_imports_with_its_diff(repository: Path) -> None:
    """With the diffs of all of them, one after the other."""
    target = repository / "tests" / "management"
    shutil.copytree(ROOT / "tests" / "management", target)
    (repository / "tests" / "__init__.py").write_text("")
    script = (
        "import importlib, subprocess, sys\nfrom pathlib import Path\n"
        "from routesock.management._takeover.report import report\n"
        "from routesock.management._takeover.source import load\n"
        f"import {CONSUMERS} as module\n"
        "for name in sys.argv[1:]:\n"
        "    _, diff = report(load(f'{module.__name__}.{name}'), Path.cwd())\n"
        "    subprocess.run(['git', 'apply'], input=diff.text.encode(), check=True)\n"
        "    importlib.reload(module)\n"
        "    print(getattr(module, name).__bases__[0].__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"from django.conf import settings; settings.configure()\n{script}", *APPLICABLE],
        cwd=repository,
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "PYTHONPATH": f"{repository}:{ROOT}"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["RouteMixin"] * len(APPLICABLE)


APPLICABLE = [
    *["Tutorial", "Branches", "Matching", "MatchingMaps", "Table", "InlineTable", "ByName", "Presence", "Arrays"],
    *["OpCodes", "Binary", "Prefixed", "Terminal", "OwnReceive", "Boundary", "Sync", "Rooms", "Guarded"],
    *["Constants", "Loose", "Rivals", "OneName", "Nested", "Silent", "OwnEverything", "ClassTable", "Packed"],
    *["SeveralReads", "Untold", "NumberedArrays", "Optional", "ManyIds", "Mixed", "Heartbeats", "WithSocket", "Empty"],
    *["Commands", "Spread", "Token", "Rpc"],
]
"""The consumers of ``consumers.py`` that get a diff."""


@pytest.fixture
def example(repository: Path) -> Path:
    folder = repository / "example_project"
    shutil.copytree(ROOT / "example_project", folder, ignore=shutil.ignore_patterns("*.sqlite3", "__pycache__"))
    return folder


def test_the_chat_of_the_example_project_is_as_the_docs_show(example: Path) -> None:
    def manage(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=example, capture_output=True, text=True, env=ENVIRONMENT, check=True,
        )  # fmt: skip
        return done.stdout

    text = manage("routesock_takeover", "chat.legacy.ChatConsumer")
    shown = text.replace(str(example.parent), "/home/you/project")
    shown = "\n".join(line.rstrip() for line in shown.splitlines())  # reStructuredText has no trailing spaces
    blocks = [
        block.text for block in blocks_of((ROOT / "docs" / "howto" / "take-over.rst").read_text(encoding="utf-8"))
    ]
    assert f"$ python manage.py routesock_takeover chat.legacy.ChatConsumer\n{shown}\n" in blocks

    git(example, "apply", given=text[text.index("diff --git") :].encode())
    code = "import chat.legacy as m; print(m.ChatConsumer.__mro__[1].__name__, m.ChatConsumer.route_dialect)"
    dialect = "Keys(route='action', id='request_id', payload=None, status='status', headers=None)"
    assert manage("shell", "-c", code).strip().splitlines()[-1] == f"RouteMixin {dialect}"
