"""The page: the template filled with what is known of a build, the charts inside."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import jinja2
from markupsafe import Markup, escape

from .chart import Chart
from .model import Build
from .tables import Table

_TEMPLATE = "page.html.jinja"


@dataclass(frozen=True)
class Section:
    """A heading, an explanation, charts, and tables with their numbers; ``name`` is the anchor."""

    name: str
    title: str
    text: str
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()


def page(build: Build, headline: str, sections: Sequence[Section], version: str) -> str:
    """The HTML of a report, self-contained: no script, no font, nothing from outside."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["svg_uri"] = _svg_uri
    environment.filters["breakable"] = _breakable
    source = files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(source).render(build=build, headline=headline, sections=sections, version=version)


def _breakable(text: str) -> Markup:
    """The text, which may go on in the next line after a slash or underscore: names are longer than columns."""
    return Markup(re.sub("([/_])", r"\1<wbr>", str(escape(text))))


def _svg_uri(chart: Chart) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(chart.svg()).decode()
