"""Draw the inputs of the fuzzer from a seed: damaged good files, and files that hypothesis makes up."""

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from txn_assets_tests.fuzz.corpus import Form, forms
from txn_assets_tests.fuzz.mutations import TOKENS, compressed, mutated
from txn_assets_tests.unit.rows import hostile_csv


class Input(NamedTuple):
    """A file, and the form in which it is sent."""

    form: str
    data: bytes


def inputs(start: int, *, in_a_row: int = 100) -> Iterator[Input]:
    """Yield inputs without end, `in_a_row` of each form at a time; the same seed `start` gives the same."""
    draw = random.Random(start)
    names = list(forms())
    # Each form in turn, in an order that changes.
    for name in itertools.chain.from_iterable(draw.sample(names, len(names)) for _ in itertools.count()):
        form = forms()[name]
        is_made_up = draw.random() < 0.5
        found = _made_up(form, draw.getrandbits(32), in_a_row) if is_made_up else _damaged(form, draw, in_a_row)
        yield from (Input(name, data) for data in found)


def _damaged(form: Form, draw: random.Random, count: int) -> Iterator[bytes]:
    everything = [file for other in forms().values() for file in other.files]
    for _ in range(count):
        yield compressed(mutated(draw.choice(form.files), everything, draw), draw)


def _made_up(form: Form, start: int, count: int) -> list[bytes]:
    found: list[bytes] = []

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_files(form), st.integers(0, 1 << 30))
    def collect(data: bytes, drawn: int) -> None:
        found.append(compressed(data, random.Random(drawn)))

    collect()
    return found


def _files(form: Form) -> st.SearchStrategy[bytes]:
    """Generate files with a header that is mostly right, and records that look like those of the feed."""
    feed = form.feed
    delimiter, quote = feed.file_format.delimiter, feed.file_format.quote or '"'
    encoding = {"utf-8": "utf-8", "utf-16": "utf-16-le"}.get(feed.file_format.encoding, "latin-1")
    seen = [value for file in form.files for line in file.splitlines() for value in line.split(delimiter.encode())]
    sent = st.sampled_from([value.decode(encoding, "replace") for value in seen] or [""])
    value = st.one_of(
        sent,
        sent,
        st.sampled_from([token.decode("utf-8", "replace") for token in TOKENS]),
        st.text(max_size=20),
        st.decimals(allow_nan=True).map(str),
        st.dates().map(str),
        st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
        st.integers().map(str),
    )
    quoted = value.map(lambda text: quote + text.replace(quote, 2 * quote) + quote)
    width = len(feed.contract.names)
    record = st.lists(st.one_of(value, value, quoted), min_size=max(width - 1, 0), max_size=width + 1)
    records = st.lists(record.map(delimiter.join), max_size=12)
    end = st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"])
    names = st.one_of(
        st.just(feed.contract.names),
        st.permutations(feed.contract.names),
        st.tuples(st.just(delimiter.join(feed.contract.names)), st.text(max_size=30)),
        st.lists(value, max_size=width + 2),
    )

    @st.composite
    def file(draw: st.DrawFn) -> bytes:
        above = ["above"] * feed.file_format.skip_lines
        header = [] if feed.file_format.header == "none" else [delimiter.join(draw(names))]
        text = draw(end).join([*above, *header, *draw(records), ""])
        body = text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")
        return body + draw(st.one_of(st.just(b""), hostile_csv(max_size=8)))

    return file()
