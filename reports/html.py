"""View models → HTML: Jinja2 with everything escaped, one file, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.night_views import FleetPage
from reports.page_views import IndexPage, TierPage

_UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ud800-\\udfff]"
)
"""Control characters but tab and newline, zero-width and direction marks, halves of characters."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["packed"] = packed
    return environment


@cache
def _inline(drawing: bool) -> dict[str, Any]:
    """The style sheets and scripts of a page, and the policy that allows just them; `drawing`: it plots samples."""
    styles = [_source("report.css")]
    scripts = [_source("report.js")]
    if drawing:
        styles.append(_source("uplot.min.css", "reports.vendor"))
        licence = _source("LICENSE.uplot.txt", "reports.vendor")
        scripts += [f"/*\n{licence}\n*/\n{_source('uplot.min.js', 'reports.vendor')}", _source("samples.js")]
    return {
        "styles": [Markup(text) for text in styles],
        "scripts": [Markup(text) for text in scripts],
        "policy": policy(styles, scripts),
    }


def visible(value: Any) -> Any:
    """Text with control characters shown by their number: a name must not reorder or hide what stands beside it."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _UNSEEN.sub(lambda found: f"[U+{ord(found.group()):04X}]", value)
    return value


def _source(name: str, package: str = "reports.templates") -> str:
    return resources.files(package).joinpath(name).read_text("utf-8")


def policy(styles: Iterable[str], scripts: Iterable[str]) -> str:
    """The Content-Security-Policy: these style sheets, these scripts, and no request of any kind."""
    return (
        f"default-src 'none'; style-src {_hashes(styles)}; script-src {_hashes(scripts)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hashes(texts: Iterable[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def packed(text: str) -> str:
    """Text as gzip in base64: a tenth of its size, and nothing in it can end the element that holds it."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", "backslashreplace"), 9, mtime=0)).decode()


def tier_html(page: TierPage, index: str) -> str:
    """`index`: name of the index beside the file."""
    template = _environment().get_template("tier.html.j2")
    inline = _inline(bool(page.samples))
    return template.render(page=page, index=index, **inline)


def index_html(page: IndexPage) -> str:
    return _environment().get_template("index.html.j2").render(page=page, **_inline(False))


def fleet_html(page: FleetPage, index: str) -> str:
    """`index`: name of the index beside the file."""
    return _environment().get_template("fleet.html.j2").render(page=page, index=index, **_inline(False))
