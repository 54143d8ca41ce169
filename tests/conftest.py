"""Settings shared by all tests: generated examples are the same in every run and have no time limit of their own.

Golden files hold text that is expected letter by letter. ``pytest --update-golden`` writes them anew.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "dwfuse", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("dwfuse")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing with them")


class GoldenFolder:
    """The folder ``golden`` beside a test file."""

    def __init__(self, folder: Path, update: bool) -> None:
        self.folder = folder
        self.update = update

    def check(self, name: str, text: str) -> None:
        """Fail unless the file ``name`` holds ``text``."""
        path = self.folder / name
        if self.update:
            self.folder.mkdir(exist_ok=True)
            path.write_text(text)
            return
        assert path.exists(), f"there is no {path}: run pytest --update-golden"
        difference = difflib.unified_diff(
            path.read_text().splitlines(), text.splitlines(), "golden", "now", lineterm=""
        )
        assert path.read_text() == text, "\n".join([*difference, "as it should be? Then pytest --update-golden"])

    def check_no_orphans(self, names: Iterable[str]) -> None:
        """Fail if there are other files than ``names``, left behind by tests that are gone."""
        orphans = {path.name for path in self.folder.iterdir()} - set(names)
        if self.update:
            for name in orphans:
                (self.folder / name).unlink()
            return
        assert not orphans, f"no test writes {sorted(orphans)}: run pytest --update-golden"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> GoldenFolder:
    """Golden files of the test's folder."""
    return GoldenFolder(request.path.parent / "golden", request.config.getoption("--update-golden"))
