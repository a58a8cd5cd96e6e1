"""Reads the charts in Dagster's metadata."""

import base64
import re
from xml.etree import ElementTree as ET


def read_charts(markdown: str) -> list[ET.Element]:
    """Return the SVG documents in `markdown`, which has nothing else; an invalid one raises a ParseError."""
    image = r"!\[[^]]+\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)"
    assert re.fullmatch(f"{image}( {image})*", markdown)
    return [ET.fromstring(base64.b64decode(found)) for found in re.findall(image, markdown)]  # noqa: S314 - our own charts
