"""Fail where a pin of ``.ci/lowest.txt`` is no lower bound of ``setup.cfg``, or where an installable one has no pin."""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USER_EXTRAS = ("marshmallow", "pydantic", "msgspec", "drf", "redis")


def bounds() -> tuple[dict[str, str], set[str]]:
    """Each ``name>=version`` of ``setup.cfg``, and the names among them that users install."""
    parser = configparser.RawConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = parser["options.extras_require"]
    found: dict[str, str] = {}
    users: set[str] = set()
    for section, text in {"install_requires": parser["options"]["install_requires"], **extras}.items():
        for name, version in re.findall(r"^([\w-]+)>=([\d.]+)", text, re.MULTILINE):
            found[name] = version
            if section == "install_requires" or section in USER_EXTRAS:
                users.add(name)
    return found, users


def pins() -> dict[str, str]:
    """The first pin of each name, which is the one for the oldest Python."""
    found: dict[str, str] = {}
    text = (ROOT / ".ci" / "lowest.txt").read_text(encoding="utf-8")
    for name, version in re.findall(r"^([\w-]+)==([\d.]+)", text, re.MULTILINE):
        found.setdefault(name, version)
    return found


def main() -> int:
    wanted, users = bounds()
    pinned = pins()
    faults = [
        f"{name}: setup.cfg says >={wanted.get(name)}, .ci/lowest.txt says =={version}"
        for name, version in pinned.items()
        if wanted.get(name) != version
    ]
    faults += [f"{name}: a lower bound in setup.cfg, no pin in .ci/lowest.txt" for name in sorted(users - set(pinned))]
    print("\n".join(faults) or "lower bounds: the pins are those of setup.cfg")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
