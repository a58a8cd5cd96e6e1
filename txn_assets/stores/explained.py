"""What may be said of any error, including those of the clients of the stores."""

import psycopg
import requests
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage.exceptions import InvalidResponse

from txn_assets.errors import ValueFreeError, described
from txn_assets.stores import google_errors
from txn_assets.stores.postgres import errors as postgres_errors

_OF_GOOGLE = (GoogleAPIError, GoogleAuthError, InvalidResponse, requests.RequestException)


def explained(error: Exception) -> str:
    """Return what `error` says if that quotes no row, else its type and where it was raised."""
    if isinstance(error, ValueFreeError):
        return str(error)
    return f"{described(error)}: {_text(error)}"


def _text(error: Exception) -> str:
    if isinstance(error, _OF_GOOGLE):
        request = getattr(getattr(error, "response", None), "request", None)
        asked = f" ({request.method} {request.url.partition('?')[0]})" if request is not None else ""
        return f"{google_errors.cause(error)}{asked}"
    if isinstance(error, psycopg.Error):
        return postgres_errors.primary(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    return "its text is left out, because it may quote a row"
