"""The first record of a CSV file names the columns; a file without such a header is refused."""

import io

import pytest

from txn_assets.rows.contract import Money, Row, RowContract, Text
from txn_assets.rows.reader.columns import parse
from txn_assets.rows.reader.csv_file import CsvFile
from txn_assets.rows.reader.header import UnreadableFileError
from txn_assets_tests.unit.csv_files import LINE, ROW, form, lines, refusal
from txn_assets_tests.unit.rows import FIELDS, HEADER, contents, csv_bytes, make_row, open_csv, read_all


def test_header_only_is_a_file_without_records() -> None:
    """A file with only a header is read without records; a later stage says that no row is valid."""
    assert read_all(lines()).records == ()


def test_columns_may_be_in_any_order() -> None:
    """Columns may be in any order, because fields are found by name."""
    row = make_row()
    assert read_all(csv_bytes([row], columns=FIELDS[::-1])).texts == [tuple(row[name] for name in FIELDS)]


def test_names_may_be_quoted_and_surrounded_by_blanks() -> None:
    """Names may be quoted and surrounded by blanks, as spreadsheets and people write them."""
    data = b'"transaction_id", product ,price,quantity,"date"\n' + LINE.encode()
    assert read_all(data).texts == [ROW]


def test_extra_columns_are_named_and_left_out() -> None:
    """Extra columns are named and left out, even if two of them share a name."""
    data = f"note,{HEADER},note\nx,{LINE},y\n".encode()
    assert open_csv(data).header.extra == ("note", "note")
    assert read_all(data).texts == [ROW]


@pytest.mark.parametrize("data", [b"", b"\n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_empty_file_is_refused(data: bytes) -> None:
    """An empty file is refused with the header that it should have."""
    assert refusal(data) == f"it is empty: the first line must name the columns {HEADER}"


def test_missing_columns_are_named() -> None:
    """All missing columns are named at once."""
    assert "lacks the columns price, date" in refusal(b"transaction_id,product,quantity\n")


@pytest.mark.parametrize(
    ("wrong", "right"), [("Transaction ID", "transaction_id"), ("Quantity", "quantity"), ("prize", "price")]
)
def test_column_with_a_similar_name_is_to_be_renamed(wrong: str, right: str) -> None:
    """The message about a column with a similar name says which column to rename."""
    assert f"rename the column that looks like {right!r}" in refusal(HEADER.replace(right, wrong).encode())


def test_file_without_a_header_shows_no_value() -> None:
    """The message about a missing header shows no value, because the first line is data and may hold an id."""
    message = refusal(f"{LINE}\n{LINE}\n".encode())
    assert "the first line must name the columns" in message
    assert not any(value in message for value in ROW)


def test_repeated_column_is_refused() -> None:
    """A repeated column is refused, because it is ambiguous."""
    assert refusal(f"{HEADER},price\n".encode()) == "its header names the column price 2 times: keep one of them"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_other_separator_is_named(separator: str) -> None:
    """Another separator is named, because many European spreadsheets write semicolons."""
    assert f"separated by {separator!r}" in refusal(lines(LINE).replace(b",", separator.encode()))


def test_header_with_a_broken_quote_is_refused() -> None:
    """A header with a broken quote is refused, because its columns are unknown."""
    assert refusal(b'"transaction_id,product\n') == "its first line is not a header: a quoted field is not closed"


@pytest.mark.parametrize(
    ("above", "sentence"),
    [
        ("Sales of May\n\nEUR\n", "line 4 looks like the header, but other text comes first"),
        ("sep=,\n", "line 2 looks like the header, but the line 'sep=', which only Excel understands, comes first"),
        ('"Report, "May"\n', "line 2 looks like the header, but other text comes first"),
    ],
)
def test_header_below_other_text_is_found(above: str, sentence: str) -> None:
    """A header below other text is found, and the message says on which line."""
    assert sentence in refusal(above.encode() + lines(LINE))


def test_header_below_another_separator_is_found() -> None:
    """A header below other text with another separator gets both faults in one sentence."""
    message = refusal(b"sep=;\n" + lines(LINE).replace(b",", b";"))
    assert "remove everything before line 2; its fields are separated by ';'" in message


@pytest.mark.parametrize("header", ['{};"note, remarks"', "{};note, remarks"])
def test_other_separator_is_named_despite_a_comma(header: str) -> None:
    """Another separator is named even if a name contains a comma."""
    assert "its fields are separated by ';'" in refusal(header.format(HEADER.replace(",", ";")).encode() + b"\n")


def test_quoted_names_with_another_separator() -> None:
    """Quoted names with another separator are reported for the separator, not for the quotes."""
    header = ";".join(f'"{name}"' for name in FIELDS)
    assert "its fields are separated by ';'" in refusal(f"{header}\n".encode())


def test_blanks_around_quoted_names_and_repeated_marks_are_skipped() -> None:
    """Blanks around quoted names are accepted, as in any other record."""
    header = ", ".join(f'"{name}"' for name in FIELDS)
    assert read_all(f"\ufeff\ufeff{header}\n{LINE}\n".encode()).texts == [ROW]


def test_message_about_a_missing_header() -> None:
    """The message about a file without a header repeats none of its contents."""
    assert "its first line looks like data, and the first line must name" in refusal(f"{LINE}\n".encode())


def test_values_glued_to_the_header_are_not_shown() -> None:
    """Values glued to the header by a lost line end are not shown."""
    file = open_csv(f"{HEADER},{LINE}\n".encode())
    assert file.header.extra == tuple(f"column {place}" for place in range(6, 11))
    assert not set(ROW) & set(file.header.columns)


def test_column_without_a_name_is_shown_by_its_position() -> None:
    """A column without a name, as after a trailing comma, is shown by its position."""
    assert open_csv(lines(LINE).replace(b"date", b"date,")).header.extra == ("column 6",)


def test_header_of_any_length_up_to_a_field_is_read() -> None:
    """A header may have any length up to the field limit, however many reads that takes."""
    extra = ",".join(f"c{number}" for number in range(5000))
    assert len(open_csv(f"{HEADER},{extra}\n".encode(), block_bytes=1000).header.extra) == 5000
    assert refusal(b"x" * (1 << 20) + b"xx\n") == "its first line is not a header: it is longer than 1 MiB"


def test_header_that_is_not_utf8_is_refused() -> None:
    """A header that is not UTF-8 is refused with what to send instead."""
    assert "not UTF-8" in refusal(HEADER.encode() + b",caf\xe9\n")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("transaction_id".encode("utf-16"), "UTF-16 text"),
        (b"\xfe\xff" + "transaction_id".encode("utf-16-be"), "UTF-16 text"),
        (HEADER.encode("utf-16-le"), "UTF-16 text"),
        (HEADER.encode("utf-16-be"), "UTF-16 text"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive or an Excel workbook"),
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
def test_other_formats_are_named(data: bytes, kind: str) -> None:
    """Other formats are named by their first bytes."""
    assert refusal(data) == f"it is {kind}: send a CSV file in UTF-8"


class TestForms:
    """Headers in other forms, and files without one."""

    def test_names_of_the_sender(self) -> None:
        """A name that is mapped to a field is that field; the field's own name counts too."""
        file_format = form(columns={"Preis": "price", "Betrag": "price", "Artikel": "product"})
        for header in (HEADER, HEADER.replace("price", "Preis"), HEADER.replace("product,price", "Artikel,Betrag")):
            file = open_csv(f"{header}\n{LINE}\n".encode(), file_format)
            assert contents(file).texts == [ROW]
            assert file.header.extra == ()

    @pytest.mark.parametrize("header", ["exact", "loose"])
    def test_name_of_another_field(self, header: str) -> None:
        """A mapped name is the field that it is mapped to, even if another field has that name."""
        data = f"product,article,price,quantity,date\n{LINE}\n"
        file_format = form(header=header, columns={"product": "transaction_id", "article": "product"})
        assert read_all(data.encode(), file_format).texts == [ROW]

    def test_two_names_of_one_field(self) -> None:
        """A file with two names of one field is refused, because one of them would be ignored."""
        data = f"{HEADER},Preis\n{LINE},1\n".encode()
        assert "names the column price 2 times" in refusal(data, form(columns={"Preis": "price"}))

    @pytest.mark.parametrize(
        "header", ["Transaction ID,PRODUCT, Price ,quan_tity,DATE", "transaction-id,product,price,quantity,date"]
    )
    def test_loose_names(self, header: str) -> None:
        """Loose names are compared without case, blanks, underscores and hyphens; exact ones are not."""
        data = f"{header}\n{LINE}\n".encode()
        assert read_all(data, form(header="loose")).texts == [ROW]
        assert "its header lacks" in refusal(data)

    def test_exact_name_comes_first(self) -> None:
        """Fields whose names are loosely the same are told apart by their exact names."""

        class Order(Row):
            unit_id: Text
            unitid: Text

        file = CsvFile(io.BytesIO(b"unitid,unit_id\n1,2\n"), RowContract.of(Order), form(header="loose"))
        assert file.header.columns == ("unitid", "unit_id")

    def test_loose_names_of_the_sender(self) -> None:
        """The sender's own names are compared loosely too."""
        data = f"transaction id,Product,UNIT  price,quantity,DATE\n{LINE}\n".encode()
        assert read_all(data, form(header="loose", columns={"unit_price": "price"})).texts == [ROW]

    def test_no_header(self) -> None:
        """Without a header, the fields are in the order of the contract, and the first record is a row."""
        assert read_all(f"{LINE}\n{LINE}\n".encode(), form(header="none")).texts == [ROW, ROW]

    def test_positions(self) -> None:
        """Without a header, the fields are at the configured positions, and other columns are not loaded."""
        file_format = form(header="none", columns=["date", "note", *FIELDS[:-1]])
        file = open_csv(f"{ROW[-1]},x,{','.join(ROW[:-1])}\n".encode(), file_format)
        assert contents(file).texts == [ROW]
        assert file.header.extra == ("note",)

    def test_no_header_and_no_rows(self) -> None:
        """A file without a header and without rows is a file of zero rows."""
        assert read_all(b"\n", form(header="none")).records == ()

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    @pytest.mark.parametrize("block_bytes", [1, 3, 1 << 20])
    def test_skipped_lines(self, end: str, block_bytes: int) -> None:
        """Lines above the header are left out, however they end and wherever a read cuts them."""
        data = f'Sales, "May{end}EUR{end}'.encode() + lines(LINE, end=end)
        assert read_all(data, form(skip_lines=2), block_bytes=block_bytes).texts == [ROW]

    def test_more_lines_than_there_are(self) -> None:
        """A file that has fewer lines than are to be left out is empty."""
        assert refusal(lines(LINE), form(skip_lines=5)).startswith("it is empty")

    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    def test_sep_line(self, mark: bytes) -> None:
        """The line `sep=` is left out if it names the configured delimiter; a file without it is read as well."""
        data = lines(LINE).replace(b",", b";")
        file_format = form(delimiter=";", sep_line=True)
        assert read_all(mark + b"sep=;\r\n" + data, file_format).texts == [ROW]
        assert read_all(mark + data, file_format).texts == [ROW]
        assert "names another separator than format.delimiter" in refusal(mark + b"sep=|\n" + data, file_format)

    def test_comments(self) -> None:
        """Lines that begin with a comment are left out above the header, between the rows, and at the end."""
        data = b'# a "quote\n' + lines("# b", LINE, "#", LINE, '"# not a comment",x,1,1,2020-01-01') + b"# c"
        assert [text[0] for text in read_all(data, form(comment="#")).texts] == ["T001", "T001", "# not a comment"]

    def test_comment_inside_quotes(self) -> None:
        """A line that begins with a comment inside a quoted field is text."""
        data = lines('T001,"a\n# b",1,1,2020-01-01')
        assert read_all(data, form(comment="#")).texts[0][1] == "a\n# b"

    def test_delimiter_in_messages(self) -> None:
        """Messages about the fields of a record name the configured delimiter."""
        file = open_csv(lines(LINE + ",").replace(b",", b"\t"), form(delimiter="tab"))
        (unreadable,) = (record for block in file.blocks() for record in parse(block, file.header).unreadable)
        assert unreadable.message.endswith("it ends in a tab that the header does not have")
        assert "separate them with semicolons" in refusal(lines(LINE), form(delimiter=";"))

    def test_quote_without_meaning(self) -> None:
        """Without a quote, quotes are ordinary characters."""
        data = lines('"T1,Lamp 24" x,1,1,2020-01-01')
        assert read_all(data, form(quote=None)).texts[0][:2] == ('"T1', 'Lamp 24" x')


class Order(Row):
    """A row with an optional field between required ones."""

    order_id: Text
    note: Text | None = None
    amount: Money


def test_optional_column_may_be_missing() -> None:
    """A column of an optional field may be missing, on both code paths; its values are then empty."""
    for line in ("O-1,1.50", 'O-1,"1.50"x', "O-1,1.50,"):
        data = f"order_id,amount\n{line}\nO-2,2.50\n".encode()
        file = CsvFile(io.BytesIO(data), RowContract.of(Order))
        rows = [row for block in file.blocks() for row in parse(block, file.header).fields.to_pylist()]
        assert rows[-1] == {"order_id": b"O-2", "note": b"", "amount": b"2.50"}
        assert file.header.positions == (0, None, 1)
    with pytest.raises(UnreadableFileError, match="its header lacks the column amount"):
        CsvFile(io.BytesIO(b"order_id,note\n"), RowContract.of(Order))
