"""Send JSON to a model endpoint and bring JSON back, with bounded patience."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from threading import Condition, Lock
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from ..errors import BadInput, ModelError
from ..extras import require

__all__ = ["Endpoint", "Patience", "checked_key"]

_CONNECT_TIMEOUT_S = 10.0
_DETAIL_CHARACTERS = 200
_REFUSED = frozenset({401, 403})  # such answers like to quote a part of the key


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for an endpoint and how often to ask again.

    Args:
        timeout_s: Longest silence of the endpoint, > 0.
        attempts: Requests in all, >= 1.
        first_delay_s: Pause before the second request; each later pause is twice as long.
        longest_delay_s: No pause is longer, whatever ``Retry-After`` asks.
        sleep: What waits; tests give one that does not. None waits, and no longer than until it is interrupted.
    """

    timeout_s: float = 60.0  # a long completion that is not streamed
    attempts: int = 4
    first_delay_s: float = 0.5
    longest_delay_s: float = 60.0  # limits of the hosted services are counted by the minute
    sleep: Callable[[float], None] | None = None

    def __post_init__(self) -> None:
        if self.timeout_s <= 0:
            raise BadInput(f"timeout_s must be > 0, got {self.timeout_s!r}")
        if self.attempts < 1:
            raise BadInput(f"attempts must be >= 1, got {self.attempts!r}")

    def delay_s(self, attempt: int, *, asked_s: float | None) -> float:
        """Return the pause after a failed request, the first being attempt 0."""
        wanted = self.first_delay_s * 2.0**attempt if asked_s is None else asked_s
        return min(max(wanted, 0.0), self.longest_delay_s)


def checked_key(key: str) -> str:
    """Return an API key that an HTTP header can carry.

    Raises:
        BadInput: It is empty or holds blanks or characters outside ASCII; the message does not show it.
    """
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise BadInput("the API key must be printable ASCII without blanks", hint="look for a line break at its end")
    return key


@dataclass(slots=True)
class Endpoint:
    """One base URL with its headers. Safe to share among threads.

    Args:
        base_url: http or https.
        headers: Sent with each request.
        secret: Never shown; removed from what the endpoint says about an error.
        patience: Timeouts and retries.
    """

    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    secret: str | None = field(repr=False)
    patience: Patience
    _httpx: ModuleType = field(init=False, repr=False)
    _client: Any = field(init=False, repr=False, default=None)
    _lock: Lock = field(init=False, repr=False, default_factory=Lock)
    _pause: Condition = field(init=False, repr=False, default_factory=Condition)
    _interruptions: int = field(init=False, repr=False, default=0)
    shown_url: str = field(init=False)

    def __post_init__(self) -> None:
        self.base_url = self.base_url.rstrip("/")
        try:
            parts = urlsplit(self.base_url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
            raise BadInput("base_url must be like 'https://host/v1', without '?' and '#'")
        host = f"[{host}]" if ":" in host else host
        # A name and password in the URL stay out of messages and fingerprints.
        self.shown_url = f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"
        self._httpx = require("httpx", "talk to a model endpoint")

    def post(self, path: str, body: Mapping[str, object], patience: Patience | None = None) -> object:
        """Send a JSON body and return the JSON of the answer.

        Asks again, with growing pauses or those the endpoint asks for, when it is unreachable or answers 429 or 5xx.

        Args:
            path: After the base URL.
            body: What is sent.
            patience: For this request; the endpoint's own when None.

        Raises:
            ModelError: It stayed unreachable, refused, or answered something that is no JSON.
        """
        where = f"POST {self.shown_url}{path}"
        patience = patience or self.patience
        attempts, before = patience.attempts, self._interruptions
        tried = f" after {attempts} attempts" if attempts > 1 else ""
        for attempt in count():
            is_last = attempt == attempts - 1 or self._interruptions != before
            try:
                response = self._open_client().post(
                    f"{self.base_url}{path}", json=dict(body), timeout=self._timeout(patience)
                )
            except self._httpx.TransportError as error:
                if is_last:
                    raise ModelError(
                        f"{where} got no answer{tried} ({type(error).__name__})",
                        hint="check that the endpoint is running and the URL is right",
                    ) from error
                self._wait(patience, patience.delay_s(attempt, asked_s=None), before)
                continue
            except (self._httpx.RequestError, self._httpx.InvalidURL) as error:
                raise ModelError(f"{where} cannot be sent or read ({type(error).__name__})") from error
            status = int(response.status_code)
            if status == 200:
                try:
                    return response.json()
                except (ValueError, RecursionError) as error:
                    raise ModelError(f"{where} answered 200 with something that is no JSON") from error
            if status != 429 and status < 500:
                raise ModelError(f"{where} answered {status}{self._detail(response)}")
            if is_last:
                raise ModelError(f"{where} answered {status}{tried}{self._detail(response)}")
            self._wait(patience, patience.delay_s(attempt, asked_s=_asked_delay_s(response.headers)), before)
        raise AssertionError("unreachable: count() does not end")

    def interrupt(self) -> None:
        """Let every request that waits to be sent again be sent for the last time now."""
        with self._pause:
            self._interruptions += 1
            self._pause.notify_all()

    def _wait(self, patience: Patience, seconds: float, before: int) -> None:
        if patience.sleep is not None:
            patience.sleep(seconds)
            return
        with self._pause:
            self._pause.wait_for(lambda: self._interruptions != before, timeout=seconds)

    def _timeout(self, patience: Patience) -> Any:
        return self._httpx.Timeout(patience.timeout_s, connect=min(_CONNECT_TIMEOUT_S, patience.timeout_s))

    def close(self) -> None:
        """Close open connections; a later request opens others."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def _open_client(self) -> Any:
        with self._lock:
            if self._client is None:
                # Redirects are not followed: they could carry the key to another host.
                self._client = self._httpx.Client(headers=dict(self.headers), follow_redirects=False)
            return self._client

    def _detail(self, response: Any) -> str:
        """Return what the endpoint says about its error, shortened and without the key."""
        if response.status_code in _REFUSED:
            return ""
        try:
            answer = response.json()
        except (ValueError, RecursionError):
            return ""
        error = answer.get("error") if isinstance(answer, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        if not isinstance(message, str) or not message.strip():
            return ""
        if self.secret:
            message = message.replace(self.secret, "***")
        return ": " + " ".join(message.split())[:_DETAIL_CHARACTERS]


def _asked_delay_s(headers: Mapping[str, str]) -> float | None:
    """Return the pause a ``Retry-After`` header asks for: seconds, or a date compared with the answer's own date."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    if not value or "date" not in headers:
        return None
    from email.utils import parsedate_to_datetime  # 10 ms, which importing this room should not cost

    try:
        return (parsedate_to_datetime(value) - parsedate_to_datetime(headers["date"])).total_seconds()
    except (ValueError, TypeError):
        return None
