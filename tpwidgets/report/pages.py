"""HTML pages that hold all they show, pictures and files too: reading one loads nothing."""

import base64
import gzip
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import replacing
from ..run import escape

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 2_000_000
"""No page is larger: mail takes it, and a browser opens it at once."""

_MOST_SVG = 300_000
"""A drawing of more characters is kept as pixels."""

_LEAST_ROW = 40
"""So many bytes a row of requests takes at least, packed: what can't fit is not tried."""

_SHORT = 12
"""A table of so many rows is printed on one sheet."""

_UNIT, _NO_BREAK = re.compile(r"(?<=\d) (?=(?:ms|s|%)(?!\w))"), "\u00a0"
"""A unit stays with its number."""

_NUMBERS = ["number", "bool"]
_FORMULA = re.compile(r"[=@\t\r]|[-+](?!\d)")  # a sign before a digit is a number's, or an id's

# none of a page's content can make a browser load or run anything
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, content: str) -> str:
    """Return the page: `content` is HTML, `title` is text."""
    style = (files(__package__) / "report.css").read_text("utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{content}</main>\n</body>\n</html>\n"
    )


def section(heading: str, *parts: str, kind: str = "") -> str:
    """Return a section of HTML parts; "" if it has none."""
    said = "\n".join(filter(None, parts))
    of = f' class="{kind}"' if kind else ""
    return f"<section{of}>\n<h2>{escape(heading)}</h2>\n{said}\n</section>\n" if said else ""


def paragraph(text: str, kind: str = "") -> str:
    """Return text as a paragraph; "" if there is none."""
    of = f' class="{kind}"' if kind else ""
    return f"<p{of}>{escape(text)}</p>" if text else ""


def bullets(texts: Iterable[str]) -> str:
    """Return texts as a list; "" if there are none."""
    items = "".join(f"<li>{escape(text)}</li>\n" for text in texts)
    return f"<ul>\n{items}</ul>" if items else ""


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "figures", caption: str = ""
) -> str:
    """Return a table of text, its first column as the rows' heads.

    Its kinds are those of ``report.css``: ``figures``, ``figures verdicts`` (words stand last) and
    ``words``.
    """
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{_UNIT.sub(_NO_BREAK, escape(cell))}</td>" for cell in rest)
        + "</tr>\n"
        for first, *rest in rows
    )
    head = "".join(f'<th scope="col">{_UNIT.sub(_NO_BREAK, escape(name))}</th>' for name in heads)
    kind += " short" if len(rows) <= _SHORT else ""
    above = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    return (
        f'<div class="wide"><table class="{kind}">\n{above}<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>"
    )


def picture(spec: dict[str, Any]) -> str:
    """Draw a chart, its description being what those hear who can't see it."""
    import vl_convert

    kind, drawn = "svg+xml", vl_convert.vegalite_to_svg(spec).encode()
    if len(drawn) > _MOST_SVG:
        kind, drawn = "png", vl_convert.vegalite_to_png(spec, scale=2)
    # not as part of the page: two drawings use the same ids
    return (
        f'<figure><img alt="{escape(spec["description"])}" '
        f'src="data:image/{kind};base64,{base64.b64encode(drawn).decode()}"></figure>'
    )


class Attachments:
    """Tables as CSV files within a page, as long as there is room.

    Parameters
    ----------
    room : int
        How many bytes they may add to the page.
    """

    def __init__(self, room: int) -> None:
        self._room = room

    def link(self, name: str, said: str, frame: "pd.DataFrame") -> str:
        """Return a link that saves the table, packed where it must be; else why there is none."""
        what = f"{said}: {len(frame):,} rows"
        if len(frame) * _LEAST_ROW < self._room:
            raw = _csv(frame)
            for data, end, mime in (
                (raw, "", "text/csv"),
                (gzip.compress(raw, mtime=0), ".gz", "application/gzip"),
            ):
                link = _link(f"{name}{end}", mime, data)
                if len(link) + len(what.encode()) < self._room:
                    self._room -= len(link) + len(what.encode())
                    return f"{link} ({escape(what)}, {max(1, round(len(data) / 1000)):,} kB)"
        most = MOST_BYTES // 1_000_000
        return escape(f"{name} ({what}) is left out: the page would be larger than {most} MB")


def _link(name: str, mime: str, data: bytes) -> str:
    packed = base64.b64encode(data).decode()
    return f'<a download="{name}" href="data:{mime};base64,{packed}">{name}</a>'


def _csv(frame: "pd.DataFrame") -> bytes:
    said = {name: frame[name].map(_no_formula) for name in frame.select_dtypes(exclude=_NUMBERS)}
    text: str = frame.assign(**said).to_csv(index=False, float_format="%.9g", lineterminator="\n")
    return text.encode("utf-8", "replace")


def _no_formula(value: object) -> object:
    """Keep what a server said from being one for the program that opens the file."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def write(page: str, path: str | Path) -> Path:
    """Write a page; the file is whole or not there at all.

    Raises
    ------
    SettingsError
        If the folder does not exist or can't be written to.
    """
    target = Path(path).expanduser()
    with replacing(target) as raw:
        raw.write(page.encode("utf-8", "replace"))  # half a character that a server sent
    return target
