"""The files around the package: versions agree, workflows are pinned, and every file that a page names exists."""

from __future__ import annotations

import configparser
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import routesock

ROOT = Path(__file__).resolve().parent.parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = [GITHUB / "ISSUE_TEMPLATE" / "bug.yml", GITHUB / "ISSUE_TEMPLATE" / "feature.yml"]
YAML = [*sorted(GITHUB.rglob("*.yml")), ROOT / ".pre-commit-config.yaml", ROOT / ".readthedocs.yaml"]
PAGES = [ROOT / name for name in ("README.rst", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md")]
REPOSITORY = "https://github.com/routesock/routesock"


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def configuration(name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.read(ROOT / name, encoding="utf-8")
    return parser


def lines(value: str) -> list[str]:
    return value.strip().splitlines()


METADATA = configuration("setup.cfg")["metadata"]


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_versions_agree() -> None:
    package = json.loads(text_of("clients/typescript/package.json"))
    lock = json.loads(text_of("clients/typescript/package-lock.json"))
    named = {METADATA["version"], package["version"], lock["version"], lock["packages"][""]["version"]}
    assert named == {routesock.__version__}


def test_the_latest_minor_version_is_the_supported_one() -> None:
    minor = routesock.__version__.rpartition(".")[0]
    rows = re.findall(r"^\| ([\d.]+) +\| (yes|no) ", text_of("SECURITY.md"), re.MULTILINE)
    assert [version for version, supported in rows if supported == "yes"] == [minor]


def test_the_changelog_begins_with_this_version_or_with_what_is_not_released() -> None:
    first = re.findall(r"^(.+)\n-+$", text_of("CHANGELOG.rst"), re.MULTILINE)[0]
    assert re.fullmatch(rf"Unreleased|{re.escape(routesock.__version__)} \(\d{{4}}-\d\d-\d\d\)", first)


def test_the_project_has_one_address_for_each_purpose() -> None:
    urls = dict(line.split(" = ") for line in lines(METADATA["project_urls"]))
    assert urls.keys() == {"Documentation", "Changelog", "Issues", "Source"}
    assert len(set(urls.values())) == 4
    assert urls["Source"] == REPOSITORY


def environments() -> list[str]:
    """The names in ``env_list`` of tox.ini, with their braces expanded."""
    found = []
    for line in lines(configuration("tox.ini")["tox"]["env_list"]):
        parts = [part.split(",") for part in re.split(r"[{}]", line)]
        found += ["".join(chosen) for chosen in itertools.product(*parts)]
    return found


def test_classifiers_name_the_versions_that_the_matrix_tests() -> None:
    classifiers = lines(METADATA["classifiers"])
    pythons = {line.rpartition(" ")[2] for line in classifiers if re.search(r":: Python :: 3\.\d+$", line)}
    assert pythons == {f"{name[2]}.{name[3:5]}" for name in environments()}
    djangos = {line.rpartition(" ")[2] for line in classifiers if line.startswith("Framework :: Django :: ")}
    assert djangos >= {f"{found[1]}.{found[2]}" for found in re.findall(r"(dj(\d)(\d))", " ".join(environments()))}


def test_ci_runs_every_environment_of_the_matrix() -> None:
    jobs = loaded(GITHUB / "workflows" / "ci.yml")["jobs"]
    assert jobs["matrix"]["strategy"]["matrix"]["environment"] == environments()


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_files_are_valid(path: Path) -> None:
    assert isinstance(loaded(path), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_bounded_and_have_few_permissions(path: Path) -> None:
    workflow = loaded(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"].keys() == {"group", "cancel-in-progress"}
    for name, job in workflow["jobs"].items():
        assert 0 < job["timeout-minutes"] <= 60, name


def test_actions_are_pinned_by_commit_and_name_their_version() -> None:
    used = [
        (path.name, line.strip(" -").removeprefix("uses: "))
        for path in WORKFLOWS
        for line in path.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    ]
    assert len(used) > 10
    assert [use for use in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use[1])] == []
    pins = {use for _, use in used}
    assert len(pins) == len({pin.partition("@")[0] for pin in pins}), "one action has two versions"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_check_out_without_leaving_credentials(path: Path) -> None:
    steps = [step for job in loaded(path)["jobs"].values() for step in job["steps"]]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert [step for step in checkouts if step["with"]["persist-credentials"] is not False] == []


def test_a_release_is_built_once_and_published_without_a_password() -> None:
    jobs = loaded(GITHUB / "workflows" / "release.yml")["jobs"]
    commands = [step.get("run", "") for step in jobs["build"]["steps"]]
    assert commands.index("make build") > commands.index('.ci/version "$GITHUB_REF_NAME"')
    publish = jobs["publish"]
    assert publish["environment"]["name"] == "pypi"
    assert publish["permissions"] == {"id-token": "write"}
    assert [step["uses"].partition("@")[0] for step in publish["steps"]] == [
        "actions/download-artifact",
        "pypa/gh-action-pypi-publish",
    ]
    assert "with" not in publish["steps"][-1]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_have_what_github_needs(path: Path) -> None:
    form = loaded(path)
    assert form.keys() == {"name", "description", "labels", "body"}
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in {"textarea", "input"}
        assert field["attributes"]["label"]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("path", [*PAGES, *WORKFLOWS], ids=lambda path: path.name)
def test_targets_of_make_exist(path: Path) -> None:
    named = set(re.findall(r"(?:`|\$ |run: )make ([a-z-]+)", path.read_text(encoding="utf-8")))
    assert named - targets() == set()


def links(page: str) -> set[str]:
    """The targets of a page's links, in Markdown or reStructuredText."""
    return set(re.findall(r"(?<=\]\()[^)\s]+(?=\))|(?<=<)[^<>\s]+(?=>`_)", page))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(path: Path) -> None:
    files = set()
    for link in links(path.read_text(encoding="utf-8")):
        for prefix in (f"{REPOSITORY}/blob/main/", f"{REPOSITORY}/tree/main/"):
            if link.startswith(prefix):
                files.add(link.removeprefix(prefix))
        if not re.match(r"[a-z]+:|#", link):
            files.add(link)
    assert [file for file in sorted(files) if not (ROOT / file.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("path", PAGES[1:], ids=lambda path: path.name)
def test_files_in_code_markup_exist(path: Path) -> None:
    words = {word for code in re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8")) for word in code.split()}
    files = {word for word in words if re.match(r"[.\w-]+/|[\w.-]+\.(rst|md|toml|cfg|ini|in)$", word)}
    assert [file for file in sorted(files) if not (file.startswith(".venv/") or (ROOT / file).exists())] == []


@pytest.mark.parametrize(
    ("tag", "section", "status", "message"),
    [
        ("v1.2.3", "1.2.3 (2030-01-02)", 0, "version: 1.2.3\n"),
        ("v1.2.4", "1.2.3 (2030-01-02)", 1, "The tag is v1.2.4, and setup.cfg has version 1.2.3.\n"),
        ("1.2.3", "1.2.3 (2030-01-02)", 1, "The tag is 1.2.3, and setup.cfg has version 1.2.3.\n"),
        ("v1.2.3", "Unreleased", 1, "CHANGELOG.rst has no section for 1.2.3 with a date.\n"),
    ],
)
def test_a_tag_is_compared_with_the_version(tmp_path: Path, tag: str, section: str, status: int, message: str) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "version", tmp_path / ".ci")
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = shop\nversion = 1.2.3\n")
    (tmp_path / "CHANGELOG.rst").write_text(f"Changelog\n=========\n\n{section}\n-----\n")
    done = subprocess.run([tmp_path / ".ci" / "version", tag], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (status, message)


def test_the_compatibility_page_has_the_lower_bounds() -> None:
    cells = re.findall(r"^ {3}(?:\* -|  -) ?(.*)$", text_of("docs/reference/compatibility.rst"), re.MULTILINE)
    documented = dict(zip(cells, cells[2:], strict=False))
    options = configuration("setup.cfg")
    extras = (
        "marshmallow",
        "pydantic",
        "msgspec",
        "drf",
        "redis",
        "documents",
        "prometheus",
        "opentelemetry",
        "client",
    )
    wanted = lines(options["options"]["install_requires"])
    for extra in extras:
        wanted += lines(options["options.extras_require"][extra])
    bounds = dict(reversed([re.split(r">=|[,;]", line)[:2] for line in wanted]))  # the first one of each library
    assert bounds == {name: documented.get(name) for name in bounds}
    assert f">={documented['Python']}" == options["options"]["python_requires"]


def test_the_compatibility_page_has_every_environment() -> None:
    named = set(re.findall(r"``(py3[\w-]+)``", text_of("docs/reference/compatibility.rst")))
    assert named == set(environments())
