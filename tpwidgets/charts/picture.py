"""Charts as pictures: framed for paper, drawn without a network, and as Altair charts."""

import base64
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from .layers import PRINT, VIEW, Spec, params

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.4.1.json"


def printed(
    description: str,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    values: Mapping[str, Any],
    **parts: Any,
) -> Spec:
    """Frame a chart for paper, its data within.

    Parameters
    ----------
    description
        What is told to those who don't see it.
    name, rows
        The dataset.
    values
        Of Vega's parameters, where they are others than in a chart of `rows` usual.
    parts
        What else the specification consists of.
    """
    return {
        "$schema": SCHEMA,
        "description": description,
        "data": {"name": name, "values": rows},
        "params": params({**VIEW, "rows": len(rows), **values}),
        "background": "white",
        "padding": 12,
        "config": PRINT,
        **parts,
    }


def as_altair(spec: Spec, kind: str, said: str) -> Any:
    """Return a specification as an Altair chart that shows itself without a network.

    Parameters
    ----------
    spec
        A whole specification, its data within.
    kind
        The name of Altair's class for it.
    said
        What a host that shows no pictures shows.
    """
    from altair.utils.schemapi import debug_mode

    with debug_mode(False):  # five seconds of checking each part; Altair checks it when drawing
        return _offline(kind, said).from_dict(spec, validate=False)


@cache
def _offline(kind: str, said: str) -> Any:
    """Make the class of such charts; here, since Altair takes seconds to import."""
    import altair as alt

    class Offline(getattr(alt, kind)):  # type: ignore[misc]
        def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> Any:
            if alt.renderers.active not in ("default", "html"):
                return super()._repr_mimebundle_(*args, **kwargs)
            spec = self.to_dict()
            return {
                # JupyterLab draws this one by itself, tooltips included; it knows no v6 yet
                "application/vnd.vegalite.v5+json": spec,
                "image/png": base64.b64encode(picture_png(spec)).decode(),
                "text/plain": said,
            }

    return Offline


def picture_png(chart: Any, scale: float = 2) -> bytes:
    """Draw an Altair chart, or a specification, as a PNG, without a browser or a network."""
    import vl_convert

    spec = chart if isinstance(chart, dict) else chart.to_dict()
    return vl_convert.vegalite_to_png(spec, scale=scale)
