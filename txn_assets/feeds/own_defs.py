"""The feeds that a `defs.yaml` below `own_defs/` describes, for the commands that run without Dagster.

In Dagster, the component `txn_assets.LandedFiles` reads the same files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from txn_assets.environment import ConfigError

FOLDER = Path(__file__).parents[1] / "own_defs"
COMPONENT = "txn_assets.LandedFiles"


def read_sections(folder: Path = FOLDER) -> Mapping[str, tuple[Path, Any]]:
    """Return the file and the section of each feed below `folder`.

    A feed is named after the folder that its `defs.yaml` is in.

    Raises:
        ConfigError: a file is not YAML, or two files describe one feed.
    """
    sections: dict[str, tuple[Path, Any]] = {}
    for path in sorted(folder.rglob("defs.yaml")):
        try:
            documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            message = f"{path} is not valid YAML: {getattr(error, 'problem', None) or 'not UTF-8 text'}."
            raise ConfigError(message) from error
        for document in documents:
            if isinstance(document, dict) and document.get("type") == COMPONENT:
                name = path.parent.name
                if name in sections:
                    message = f"{path} describes the feed {name!r} a second time: give each feed a folder of its own."
                    raise ConfigError(message)
                sections[name] = (path, document.get("attributes") or {})
    return sections
