"""Find the file in the body of a request while it arrives: the body itself, or the part `file` of a form.

Starlette's `UploadFile` would write the file to disk before the route runs. Here a piece of the body comes in, and the
bytes of the file in it come out. See RFC 7578 for forms.
"""

from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from txn_assets.upload.problems import Problem

FIELD = "file"
_UNENCODED = (b"", b"7bit", b"8bit", b"binary")


class Body(Protocol):
    """The body of an upload.

    Attributes:
        name: what the client calls the file; None if it has not said so yet.
    """

    name: str | None

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the file in `data`, the next piece of the body.

        Raises:
            Problem: the body is not what its Content-Type says.
        """

    def end(self) -> None:
        """Check that the body is complete.

        Raises:
            Problem: it is not, or there was no file in it.
        """


class PlainBody:
    """A body that is the file itself."""

    def __init__(self, name: str | None) -> None:
        self.name = name

    def feed(self, data: bytes) -> bytes:
        """Return `data`."""
        return data

    def end(self) -> None:
        """Do nothing: the server has compared the length."""


class FormBody:
    """A form with one file in it. Other fields are ignored."""

    def __init__(self, boundary: bytes, name: str | None) -> None:
        self.name = name
        self._file = bytearray()
        self._header, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._is_file = self._has_file = self._is_complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_end": self._on_end,
                },
            )
        except FormParserError as error:
            raise Problem(400, "The boundary in Content-Type is too long (RFC 2046, 5.1.1).") from error

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the file in `data`."""
        self._file = bytearray()
        try:
            self._parser.write(data)
        except FormParserError as error:
            # The parser's message may quote the byte that it did not expect.
            raise Problem(400, "The body is not a form with the boundary in Content-Type (RFC 7578).") from error
        return bytes(self._file)

    def end(self) -> None:
        """Check that the last boundary has arrived, and that there was a file."""
        if not self._is_complete:
            raise Problem(400, "The form is not complete: its last boundary is missing. Nothing has landed.")
        if not self._has_file:
            raise Problem(400, f"The form has no file: send it as the part {FIELD!r}.")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._is_file = b"filename" in options or options.get(b"name") == FIELD.encode()
        if not self._is_file:
            return
        if self._has_file:
            raise Problem(400, "The form has more than one file: send one per request.")
        if options.get(b"name") != FIELD.encode():
            raise Problem(400, f"The file is in another part of the form: call the part {FIELD!r}.")
        if self._headers.get(b"content-transfer-encoding", b"").strip().lower() not in _UNENCODED:
            raise Problem(415, "The file is encoded (Content-Transfer-Encoding): send its bytes as they are.")
        self._has_file = True
        if self.name is None:
            self.name = _text(options.get(b"filename", b""))

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._file += data[start:end]

    def _on_end(self) -> None:
        self._is_complete = True


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "The file name in the form is not UTF-8 (RFC 7578, 5.1).") from error
