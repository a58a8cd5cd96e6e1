"""Put news into words: one message, however many files it is about, as text for mail and as JSON for a webhook.

A message has names of files, jobs, steps and checks, counts, and links to runs. Names of files are not PII here: the
senders choose them, and they are in the ledgers and in Dagster too.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from txn_assets.watch.problems import News, Problem, State

SHOWN_FILES = 10
"""Maximum number of files to name in a line."""

SHOWN_LINES = 20
"""Maximum number of lines about problems."""

NAME_CHARACTERS = 80
"""Maximum number of characters of a file's name to show: GCS allows 1,024 bytes."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message: a title, which is the subject of a mail, and lines of text."""

    title: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The lines of a mail."""
        return "\n".join(self.lines) + "\n"

    def as_json(self) -> dict[str, str | bool]:
        """Return what Slack, Mattermost and their like take from a webhook.

        Control characters are escaped as Slack documents it, so that a file named `<!channel>.csv` wakes nobody:
        https://docs.slack.dev/messaging/formatting-message-text#escaping. `mrkdwn` keeps it from making `_` italic.
        """
        text = "\n".join((self.title, *self.lines))
        return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"), "mrkdwn": False}


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the messages of a deployment.

    Attributes:
        deployment: what the title begins with.
        dashboard_url: address of Dagster's UI; None for no links.
    """

    deployment: str
    dashboard_url: str | None = None

    def news(self, news: News) -> Message:
        """Return the message about what is new and what is over."""
        parts = [_count(len(news.new), "new problem")] if news.new else []
        parts += [f"{len(news.recovered)} recovered"] if news.recovered else []
        lines = [*self._lines(news.new), *self._lines(news.recovered, has_recovered=True)]
        return Message(f"{self.deployment}: {', '.join(parts)}", tuple(lines))

    def heartbeat(self, state: State) -> Message:
        """Return the message that says that alerts work, what ran since the last one, and what is still wrong."""
        since = f"since {dt.datetime.fromtimestamp(state.beat, dt.UTC):%Y-%m-%d %H:%M} UTC" if state.beat else "so far"
        problems = tuple(state.problems.values())
        still = _count(len(problems), "open problem") if problems else "no open problem"
        ran = f"Alerts work. Runs {since}: {state.succeeded} succeeded, {state.failed} failed."
        return Message(f"{self.deployment}: heartbeat, {still}", (ran, *self._lines(problems)))

    def _lines(self, problems: Iterable[Problem], *, has_recovered: bool = False) -> list[str]:
        groups: dict[tuple[str, str], list[Problem]] = defaultdict(list)
        for problem in problems:
            groups[problem.where, "" if has_recovered else problem.cause].append(problem)
        lines = [self._line(where, cause, group) for (where, cause), group in groups.items()]
        more = len(lines) - SHOWN_LINES
        return [*lines[:SHOWN_LINES], f"and {_count(more, 'more line')}"] if more > 0 else lines

    def _line(self, where: str, cause: str, group: list[Problem]) -> str:
        what = f"failed {cause}" if cause else "recovered"
        files = [_short(problem.file) for problem in group if problem.file]
        if files:
            more = f" and {len(files) - SHOWN_FILES} more" if len(files) > SHOWN_FILES else ""
            text = f"{where}: {_count(len(files), 'file')} {what}: {', '.join(files[:SHOWN_FILES])}{more}"
        else:
            # A check that is not about files is its own cause.
            text = what if cause.startswith(where) else f"{where} {what}"
        # A problem that is over has the run that failed, which is not the one to look at.
        return f"- {text}{self._link(group[-1].run_id) if cause else ''}"

    def _link(self, run_id: str) -> str:
        if not run_id:
            return ""
        return f" {self.dashboard_url.rstrip('/')}/runs/{run_id}" if self.dashboard_url else f" (run {run_id})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _short(name: str) -> str:
    shown = name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…"
    return "".join(character if character.isprintable() else "?" for character in shown)
