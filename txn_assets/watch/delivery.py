"""Deliver a message to a webhook or by mail, within a time limit; say what went wrong without the secret in it."""

import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from urllib.parse import urlsplit

from txn_assets.watch.messages import Message

CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 10.0
"""How long a receiver may take to accept a connection, and for each answer. A tick of Dagster waits as long."""

IMPLICIT_TLS_PORT = 465


class DeliveryError(Exception):
    """Raised when a receiver did not take a message; the next try may repeat it."""


@dataclass(frozen=True)
class Webhook:
    """A receiver of JSON over HTTP, such as an incoming webhook of Slack."""

    url: str = field(repr=False)

    name = "webhook"

    def send(self, message: Message) -> str:
        """Post `message`; return '', as everyone gets it.

        Raises:
            DeliveryError: the receiver does not answer, or not with a status of success.
        """
        import requests  # noqa: PLC0415 - a tenth of a second, and only an alert needs it

        host = urlsplit(self.url).hostname
        try:
            # A redirect would take the message to another host.
            with requests.post(
                self.url,
                json=message.as_json(),
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                allow_redirects=False,
                stream=True,
            ) as response:
                status = response.status_code
        except requests.RequestException as error:
            # The message of the error has the whole address, which is a secret.
            text = f"The webhook at {host} does not answer: {type(error).__name__}."
            raise DeliveryError(text) from None
        if not 200 <= status < 300:
            text = f"The webhook at {host} answered {status}. Is the address in TXN_ALERT_WEBHOOK still valid?"
            raise DeliveryError(text)
        return ""


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A mail server and its recipients.

    Attributes:
        needs_tls: whether to send nothing without TLS.
    """

    host: str
    port: int
    sender: str
    recipients: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    needs_tls: bool = True

    name = "mail"

    def send(self, message: Message) -> str:
        """Send `message` to all recipients; return how many of them the server refused, as a sentence, or ''.

        Raises:
            DeliveryError: the server does not answer, or does not take the mail.
        """
        mail = EmailMessage()
        mail["Subject"] = message.title
        mail["From"] = self.sender
        mail["To"] = ", ".join(self.recipients)
        mail.set_content(message.text)
        try:
            with self._connect() as server:
                refused = server.send_message(mail)
        except (smtplib.SMTPException, OSError) as error:
            text = f"The mail server {self.host}:{self.port} did not take the mail: {type(error).__name__}."
            raise DeliveryError(text) from None
        # The others have it, and another try would repeat it for them.
        return f"The mail server {self.host}:{self.port} refused {len(refused)} recipients." if refused else ""

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.port == IMPLICIT_TLS_PORT:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=ANSWER_SECONDS, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=ANSWER_SECONDS)
            server.ehlo()
            if self.needs_tls or server.has_extn("starttls"):
                server.starttls(context=context)
        if self.user and self.password:
            server.login(self.user, self.password)
        return server
