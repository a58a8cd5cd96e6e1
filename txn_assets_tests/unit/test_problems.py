"""What alerts say and remember, without Dagster and without a receiver."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from txn_assets.watch.messages import SHOWN_FILES, Writer
from txn_assets.watch.problems import MAX_DELAY, MAX_OPEN, CheckResult, EndedRun, News, State, findings

NOW = dt.datetime(2026, 11, 26, 12, tzinfo=dt.UTC).timestamp()
FILES = ("a.csv", "b.csv", "c.csv")


@st.composite
def ended_runs(draw: st.DrawFn) -> EndedRun:
    """Return a run of some files that failed, succeeded, or named one of its files in a check."""
    files = tuple(draw(st.sets(st.sampled_from(FILES), min_size=1)))
    succeeded = draw(st.booleans())
    wrong = draw(st.sampled_from([(), files[:1]]))
    check = CheckResult("postgres: matches", is_wrong=bool(wrong), files=wrong)
    steps = () if succeeded else draw(st.sampled_from([(), ("raw_csv",)]))
    return EndedRun(run_id="r", where="transactions", succeeded=succeeded, files=files, steps=steps, checks=(check,))


@given(st.lists(ended_runs()), st.integers(0, 20))
def test_a_pause_changes_nothing(runs: list[EndedRun], pause: int) -> None:
    """Whether runs are looked at one by one or after an outage, the same is open, and every failure was told."""
    at_once, news = State().seen(runs, after=9, now=NOW)
    first, before = State().seen(runs[:pause], after=5, now=NOW)
    second, after = State.parse(first.text()).seen(runs[pause:], after=9, now=NOW)

    assert second == at_once
    assert not {one.key for one in news.recovered} & at_once.problems.keys()
    # What recovers within one look is told once, with the last cause.
    told = {one.key for one in (*before.new, *after.new)}
    assert {one.key for one in news.new} == told
    assert told == {key for run in runs for key, cause in findings(run).items() if cause}


@given(st.lists(ended_runs()))
def test_what_is_over_was_told(runs: list[EndedRun]) -> None:
    """A recovery is told of a problem that is no longer open, and nothing is told twice."""
    state = State()
    for run in runs:
        known = state.problems
        state, news = state.seen([run], after=1, now=NOW)
        assert {one.key for one in news.recovered} <= known.keys() - state.problems.keys()
        assert all(one.cause != known[one.key].cause for one in news.new if one.key in known)
        assert (state, News()) == state.seen([], after=1, now=NOW)


@given(st.text())
def test_damaged_state(text: str) -> None:
    """A cursor that is not a state is a new state."""
    assert State.parse(text) == State()


def test_many_files_are_one_short_message() -> None:
    """250 runs that fail the same way are one line, whatever the names are."""
    runs = [
        EndedRun(
            run_id=f"r{n}", where="transactions", succeeded=False, files=(f"{n:03}{'x' * 900}.csv",), steps=("raw_csv",)
        )
        for n in range(250)
    ]
    _, news = State().seen(runs, after=1, now=NOW)

    message = Writer("txn_assets on bucket", "https://dagster.example/").news(news)

    (line,) = message.lines
    assert message.title == "txn_assets on bucket: 250 new problems"
    assert line.startswith("- transactions: 250 files failed at step raw_csv: 000xxx")
    assert line.endswith(f" and {250 - SHOWN_FILES} more https://dagster.example/runs/r249")
    assert len(line) < 1500


def test_name_with_markup() -> None:
    """A name cannot notify a channel, or begin a line of its own."""
    run = EndedRun(run_id="r", where="transactions", succeeded=False, files=("<!channel>\n&.csv",))
    _, news = State().seen([run], after=1, now=NOW)
    text = str(Writer("txn").news(news).as_json()["text"])
    assert (
        text.splitlines()[1]
        == "- transactions: 1 file failed without a failed step: &lt;!channel&gt;?&amp;.csv (run r)"
    )


def test_check_that_is_not_about_files() -> None:
    """Stuck files are told once, with their number, and again when there are more, until the check passes."""

    def watched(stuck: int) -> EndedRun:
        check = CheckResult("landing_zone: no_stuck_files", is_wrong=stuck > 0, counts={"stuck_files": stuck})
        return EndedRun(run_id="r", where="watch_landing_zone", succeeded=True, checks=(check,))

    state = State()
    told: list[str] = []
    for stuck in (0, 2, 2, 3, 0, 0):
        state, news = state.seen([watched(stuck)], after=1, now=NOW)
        told += Writer("txn").news(news).lines if news else []
    assert told == [
        "- failed check landing_zone: no_stuck_files (stuck files 2) (run r)",
        "- failed check landing_zone: no_stuck_files (stuck files 3) (run r)",
        "- check landing_zone: no_stuck_files recovered",
    ]


def test_check_without_a_run_is_no_run() -> None:
    """The heartbeat counts runs, not the checks that a sensor evaluates."""
    state, _ = State().seen([EndedRun(run_id="", where="", succeeded=True)], after=1, now=NOW)
    assert (state.succeeded, state.failed) == (0, 0)


def test_one_heartbeat_a_day() -> None:
    """The first heartbeat comes at once, the next at its time or, if the receiver was down, once after it."""
    beats, state = [], State()
    for hour in range(0, 72, 3):
        now = NOW + hour * 3600
        if state.is_heartbeat_due("13:30", now) and hour not in range(24, 40):
            beats.append(hour)
            state = state.after_heartbeat(now)
    assert beats == [0, 3, 42, 51]
    assert not state.is_heartbeat_due(None, NOW + 1e9)


def test_waits_grow_up_to_a_limit() -> None:
    """The first failure is tried again at the next tick, later ones ever more seldom, but never more than that."""
    state, waits = State(), []
    for _ in range(12):
        state = state.undelivered(NOW)
        waits.append(state.not_before - NOW)
    assert waits[:4] == [0, 30, 60, 120]
    assert waits[-1] == MAX_DELAY


def test_state_is_bounded() -> None:
    """The oldest of many open problems are forgotten."""
    names = tuple(f"{n}.csv" for n in range(MAX_OPEN + 5))
    state, _ = State().seen([EndedRun(run_id="r", where="t", succeeded=False, files=names)], after=1, now=NOW)
    assert len(state.problems) == MAX_OPEN
