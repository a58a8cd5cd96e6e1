"""Compressed files are read as their contents, and damage or a wrong archive is one sentence."""

import gzip
import io
import random
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from txn_assets.rows.reader.compression import HEAD_BYTES, Unpacked, max_expansion, unpacked_size
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets_tests.unit.csv_files import LINE, ROW, lines, refusal
from txn_assets_tests.unit.rows import open_csv, read_all


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED, is_streamed: bool = False) -> bytes:
    """Return a ZIP archive; a streamed one has checksums and sizes behind the files."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return not is_streamed

        def seek(self, *args: Any) -> int:
            if is_streamed:
                raise io.UnsupportedOperation
            return super().seek(*args)

        def tell(self) -> int:
            if is_streamed:
                raise io.UnsupportedOperation
            return super().tell()

    buffer = Pipe()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def zip_of(data: bytes) -> bytes:
    return zipped(("a.csv", data))


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


COMPRESS = {"gzip": gzip.compress, "ZIP": zip_of, "Zstandard": zstd}
EACH = pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS)
NAMED = pytest.mark.parametrize(("name", "compress"), COMPRESS.items(), ids=COMPRESS)

type Compress = Callable[[bytes], bytes]


def drawn_lines(count: int) -> bytes:
    """Return rows that compress the way ids and prices do."""
    drawn = random.Random(1)
    rows = (
        f"T{drawn.randrange(10**9)},Halal Mouse,{drawn.randrange(9999)}.99,2,2024-01-0{n % 9 + 1}" for n in range(count)
    )
    return lines(*rows)


class TestContents:
    """A compressed file is recognized by its first bytes."""

    @EACH
    @pytest.mark.parametrize("block_bytes", [50, 1 << 20])
    def test_contents_are_read(self, compress: Compress, block_bytes: int) -> None:
        """The contents are the same in any block size, whatever the name of the object."""
        data = drawn_lines(2000)
        assert read_all(compress(data), block_bytes=block_bytes).records == read_all(data).records

    @pytest.mark.parametrize("compress", [gzip.compress, zstd])
    def test_members_are_read_one_after_another(self, compress: Compress) -> None:
        """`cat a.gz b.gz` is a gzip file, and the same with Zstandard."""
        assert read_all(compress(lines(LINE)) + compress(LINE.encode())).texts == [ROW, ROW]

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_zip_that_is_only_stored(self, method: int) -> None:
        """The file in an archive may be deflated or stored."""
        assert read_all(zipped(("a.csv", lines(LINE)), method=method)).texts == [ROW]

    def test_zip_that_was_streamed(self) -> None:
        """A streamed archive, as `zip -` writes it, has its checksum behind the file."""
        assert read_all(zipped(("a.csv", lines(LINE)), is_streamed=True)).texts == [ROW]

    def test_large_zip(self) -> None:
        """An archive with 64-bit sizes is read."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            with archive.open("a.csv", "w", force_zip64=True) as file:
                file.write(lines(LINE))
            archive.comment = b"sent by hand"
        assert read_all(buffer.getvalue()).texts == [ROW]

    @EACH
    def test_errors_of_the_stream_are_not_damage(self, compress: Compress) -> None:
        """A connection that breaks is not the fault of the file, so the run may be retried."""

        class Broken(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell() > 1000:
                    raise ConnectionResetError
                return super().read(min(size or 0, 1000))

        with pytest.raises(ConnectionResetError):
            Unpacked(Broken(compress(drawn_lines(2000)))).read(1 << 20)


class TestRefusals:
    """What cannot be unpacked is refused in one sentence."""

    @NAMED
    @pytest.mark.parametrize("kept", [5, 30, -40, -4])
    def test_file_that_ends_early(self, name: str, compress: Compress, kept: int) -> None:
        """A truncated file is refused, because half a file must not pass for a whole one."""
        message = refusal(compress(lines(LINE))[:kept])
        early = name == "ZIP" and kept == 5
        assert message == (
            "it is a ZIP archive or an Excel workbook: send a CSV file in UTF-8"
            if early
            else f"its {name} data is damaged or incomplete: send the file again"
        )

    @NAMED
    def test_damage_after_the_first_block(self, name: str, compress: Compress) -> None:
        """Damage after the first block fails the file, although the rows before it were read."""
        file = open_csv(compress(drawn_lines(20_000))[:-1000], block_bytes=1000, field_bytes=1000)
        with pytest.raises(UnreadableFileError, match=f"its {name} data is damaged or incomplete"):
            list(file.blocks())

    @pytest.mark.parametrize(
        ("method", "is_streamed"),
        [(zipfile.ZIP_STORED, False), (zipfile.ZIP_DEFLATED, False), (zipfile.ZIP_DEFLATED, True)],
    )
    def test_zip_with_wrong_checksum(self, method: int, is_streamed: bool) -> None:
        """An archive whose checksum differs has changed in transit."""
        data = zipped(("a.csv", lines(LINE)), method=method, is_streamed=is_streamed)
        checksum = zlib.crc32(lines(LINE)).to_bytes(4, "little")
        assert checksum in data
        assert "ZIP data is damaged" in refusal(data.replace(checksum, b"abcd"))

    @pytest.mark.parametrize("is_streamed", [False, True])
    @pytest.mark.parametrize(
        ("files", "sentence"),
        [
            ([("a.csv", lines(LINE)), ("b.csv", lines(LINE))], "more than one file in it: send one file per archive"),
            ([("a.csv", lines(LINE)), ("__MACOSX/._a.csv", b"")], "more than one file"),
            ([("data/", b""), ("data/a.csv", lines(LINE))], "a folder in it"),
            (
                [("[Content_Types].xml", b"<xml/>"), ("xl/workbook.xml", b"")],
                "it is an Excel workbook: send",
            ),
        ],
        ids=["two", "macOS", "folder", "workbook"],
    )
    def test_archive_of_something_else(self, files: list[tuple[str, bytes]], sentence: str, is_streamed: bool) -> None:
        """An archive with more or other things than one plain file is refused."""
        assert sentence in refusal(zipped(*files, is_streamed=is_streamed))

    def test_encrypted_archive(self) -> None:
        """An encrypted archive is refused as such."""
        data = bytearray(zip_of(lines(LINE)))
        data[6] |= 1
        assert refusal(bytes(data)) == "it is an encrypted ZIP archive: send it without a password"

    @pytest.mark.parametrize(("method", "is_streamed"), [(zipfile.ZIP_BZIP2, False), (zipfile.ZIP_STORED, True)])
    def test_other_method(self, method: int, is_streamed: bool) -> None:
        """An archive compressed with another method, or whose end nobody can see, is refused with the one to use."""
        data = zipped(("a.csv", lines(LINE)), method=method, is_streamed=is_streamed)
        assert "use Deflate, or gzip" in refusal(data)

    def test_empty_archive(self) -> None:
        """An archive without a file is refused."""
        assert "it is an empty ZIP archive" in refusal(zipped())

    @NAMED
    def test_compressed_twice(self, name: str, compress: Compress) -> None:
        """A file that is compressed twice is refused as such."""
        assert refusal(compress(gzip.compress(lines(LINE)))) == (
            f"it is compressed twice, gzip inside {name}: compress the CSV file once"
        )


class TestEstimate:
    """The unpacked size is estimated from the first bytes, before the file is read."""

    def test_plain_file_counts_with_its_size(self) -> None:
        """A plain file counts with its size, whatever its first bytes."""
        assert unpacked_size(10**9, b"transaction_id,product") == unpacked_size(10**9, b"") == 10**9

    @pytest.mark.parametrize("members", [1, 2, 30])
    def test_gzip_of_several_members(self, members: int) -> None:
        """A compressed file is estimated, even if it has several members and the first holds only a header."""
        content = drawn_lines(60_000)
        size = len(content) // members
        parts = [content[n * size : (n + 1) * size] for n in range(members)]
        packed = gzip.compress(b"header\n") + b"".join(gzip.compress(part) for part in parts)
        assert unpacked_size(len(packed), packed[:HEAD_BYTES]) == pytest.approx(len(content), rel=0.05)

    @EACH
    def test_each_compression(self, compress: Compress) -> None:
        """Each compression is estimated from the beginning of the file."""
        content = drawn_lines(60_000)
        packed = compress(content)
        assert unpacked_size(len(packed), packed[: HEAD_BYTES // 2]) == pytest.approx(len(content), rel=0.05)

    @EACH
    def test_head_that_expands_enormously_is_not_fully_unpacked(self, compress: Compress) -> None:
        """A head that expands enormously is not fully unpacked, so that a hostile file costs no memory."""
        packed = compress(b"0" * (64 << 20))
        assert unpacked_size(len(packed), packed) > 40 << 20

    def test_name_says_how_far_a_file_may_expand(self) -> None:
        """Zstandard may expand further than gzip, so the head of a smaller file has to be looked at."""
        packed = zstd(b"0" * (64 << 20))
        assert max_expansion("A.CSV.ZST") * len(packed) > 64 << 20 > max_expansion("a.csv.gz") * len(packed)

    @given(st.sampled_from([*COMPRESS.values()]), st.binary(max_size=200), st.integers(1, 10))
    def test_damage_is_left_to_the_reader(self, compress: Compress, rest: bytes, cut: int) -> None:
        """Whatever follows the first bytes, the estimate is no smaller than the file."""
        packed = compress(rest)
        for head in (packed[:4] + rest, packed[:-cut]):
            assert unpacked_size(len(head), head) >= len(head)


def test_stream_needs_only_read() -> None:
    """The stream of a download can be read and nothing else."""

    class Download:
        def __init__(self, data: bytes) -> None:
            self._data = io.BytesIO(data)

        def read(self, size: int) -> bytes:
            return self._data.read(size)

    for compress in COMPRESS.values():
        assert Unpacked(cast("BinaryIO", Download(compress(lines(LINE))))).read(1000) == lines(LINE)
