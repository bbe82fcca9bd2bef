"""Key: where an endpoint's key comes from. The key itself is read when it is needed."""

import os
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from ..errors import EndpointError, SettingsError
from ..masking import looks_like_a_key

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class Key(ABC):
    """Where an endpoint's key comes from; made by `Key.env`, `Key.keyring` or `Key.prompt`.

    It says where from, and never what the key is: not when it is printed, compared, copied or
    saved.
    """

    __slots__ = ()

    @staticmethod
    def env(name: str) -> "Key":
        """Return the key that the environment variable `name` holds when it is needed.

        Raises
        ------
        SettingsError
            If it can't be such a name, or looks like the key itself.
        """
        known = isinstance(name, str) and _NAME.fullmatch(name)
        # many keys could be names: only a variable that is set may look like one
        if not known or (name not in os.environ and looks_like_a_key(name)):
            raise SettingsError(  # never echo it: it may be the key
                "api_key_env and Key.env take the name of an environment variable (such as "
                "OPENAI_API_KEY), not the key itself."
            )
        return _Variable(name)

    @staticmethod
    def keyring(service: str, user: str) -> "Key":
        """Return the key that the system's keyring holds; needs ``tpwidgets[keyring]``.

        Store it with ``keyring set SERVICE USER`` in a terminal.

        Raises
        ------
        SettingsError
            If a name is empty, or looks like the key itself.
        """
        for text in (service, user):
            if not isinstance(text, str) or not text.strip() or looks_like_a_key(text):
                raise SettingsError(
                    "Key.keyring takes the service and the user under which a key is stored (such "
                    'as Key.keyring("openai", "me")), not the key itself.'
                )
        return _Keyring(service.strip(), user.strip())

    @staticmethod
    def prompt(label: str = "API key") -> "Key":
        """Ask for the key at once, in a terminal or below a notebook's cell; keep it in memory.

        Raises
        ------
        EndpointError
            If there is nobody to ask, or nothing was typed (kind ``missing_key``).
        SettingsError
            If the label looks like the key itself.
        """
        import getpass

        if not isinstance(label, str) or looks_like_a_key(label):
            raise SettingsError("Key.prompt takes what to ask for, not the key itself.")
        try:
            # looked up now: a notebook's kernel puts its own in place
            return typed_in(getpass.getpass(f"{label}: "))
        except (EOFError, OSError, NotImplementedError):
            raise EndpointError(
                "There is nobody here to type a key in. Name an environment variable that holds "
                "it instead (api_key_env).",
                "missing_key",
            ) from None

    @property
    @abstractmethod
    def source(self) -> str:
        """Where it comes from, in words."""

    @property
    def variable(self) -> str | None:
        """The name of the environment variable, if it comes from one."""
        return None

    @property
    def entry(self) -> tuple[str, str] | None:
        """Service and user, if it comes from the keyring."""
        return None

    def read(self) -> str:
        """Return the key itself. Keep it out of whatever is shown or saved.

        Raises
        ------
        EndpointError
            If there is none, or none that can be sent (kind ``missing_key``).
        """
        value = self._value().strip()
        if not value.isprintable() or not value.isascii():
            raise EndpointError(
                f"The key ({self.source}) has characters that no HTTP header can carry.",
                "missing_key",
            )
        return value

    @abstractmethod
    def _value(self) -> str:
        """Return the key, or raise the EndpointError that says what to do."""


@dataclass(frozen=True, slots=True, repr=False)
class _Variable(Key):
    name: str

    @property
    def source(self) -> str:
        return f"environment variable {self.name}"

    @property
    def variable(self) -> str:
        return self.name

    def _value(self) -> str:
        value = os.environ.get(self.name, "")
        if not value.strip():
            raise EndpointError(
                f"The environment variable {self.name} is not set. Set it before Jupyter or the "
                "script starts, or choose another one.",
                "missing_key",
            )
        return value

    def __repr__(self) -> str:
        return f'Key.env("{self.name}")'


@dataclass(frozen=True, slots=True, repr=False)
class _Keyring(Key):
    service: str
    user: str

    @property
    def source(self) -> str:
        return f"keyring {self.service}/{self.user}"

    @property
    def entry(self) -> tuple[str, str]:
        return self.service, self.user

    def _value(self) -> str:
        try:
            import keyring
            from keyring.errors import KeyringError
        except ImportError:
            raise EndpointError(
                'The package keyring is not installed: pip install "tpwidgets[keyring]"',
                "missing_key",
            ) from None
        try:
            value = keyring.get_password(self.service, self.user)
        except KeyringError as error:
            raise EndpointError(
                f"The system's keyring can't be read ({type(error).__name__}). Unlock it, or take "
                "the key from an environment variable or a prompt.",
                "missing_key",
            ) from None
        if not value or not value.strip():
            raise EndpointError(
                f"The keyring holds no key for {self.service}/{self.user}. Store it: keyring set "
                f"{shlex.quote(self.service)} {shlex.quote(self.user)}",
                "missing_key",
            )
        return value

    def __repr__(self) -> str:
        return f"Key.keyring({self.service!r}, {self.user!r})"


class _Typed(Key):
    """A key in memory. Two are equal only if they are the same one."""

    __slots__ = ("_read",)
    _read: Callable[[], str]

    def __init__(self, value: str) -> None:
        object.__setattr__(self, "_read", lambda: value)

    @property
    def source(self) -> str:
        return "typed in"

    def _value(self) -> str:
        return self._read()

    def __repr__(self) -> str:
        return "Key.prompt()"

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError("a Key can't be changed")

    def __copy__(self) -> "_Typed":
        return self

    def __deepcopy__(self, _: Any) -> "_Typed":
        return self

    def __reduce_ex__(self, _: Any) -> NoReturn:
        raise TypeError("A key that was typed in is kept in memory only: it can't be saved.")


def typed_in(text: str) -> Key:
    """Return a key that somebody has typed in just now.

    Raises
    ------
    EndpointError
        If it is empty, or can't be sent (kind ``missing_key``).
    """
    if not text.strip():
        raise EndpointError("No key was typed in.", "missing_key")
    key = _Typed(text)
    key.read()
    return key


def chosen(key: object, api_key_env: str | None) -> Key | None:
    """Return the key that one of both settings means.

    Raises
    ------
    SettingsError
        If both are given and differ, or the first one is no `Key`.
    """
    if key is not None and not isinstance(key, Key):
        raise SettingsError(  # never echo it: it may be the key itself
            'key takes where the key comes from, such as tp.Key.env("OPENAI_API_KEY") or '
            "tp.Key.prompt(), not the key itself."
        )
    if api_key_env is None:
        return key
    named = Key.env(api_key_env)
    if key not in (None, named):
        raise SettingsError("key and api_key_env say different things: give one of them.")
    return named
