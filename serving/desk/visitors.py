"""Visitors and their roles: an *operator* sees ids, a *viewer* pseudonyms. They sign in by token or through a proxy."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from configs.errors import InputError

Role = Literal["operator", "viewer"]
OPERATOR, VIEWER = "operator", "viewer"
COOKIE = "winback_desk"
THIS_MACHINE = "this machine"  # name of whoever needs none
OPERATOR_TOKEN, VIEWER_TOKEN, SALT = "WINBACK_DESK_OPERATOR_TOKEN", "WINBACK_DESK_VIEWER_TOKEN", "WINBACK_DESK_SALT"
SHORTEST_TOKEN = 16
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PSEUDONYM_SIGNS = 16


@dataclass(frozen=True)
class Visitor:
    """Somebody who was let in."""

    role: Role
    name: str
    salt: str = field(default="", repr=False)

    @property
    def is_operator(self) -> bool:
        """Whether they see ids and may leave proposals."""
        return self.role == OPERATOR

    def shown_id(self, user_id: str) -> str:
        """Return the id of a user as this visitor sees it.

        Examples
        --------
        >>> Visitor("operator", "ann").shown_id("42"), Visitor("viewer", "bob", "salt").shown_id("42")
        ('42', '~ba5bf48c9d94fef6')
        """
        if self.is_operator:
            return user_id
        return "~" + hashlib.sha256(f"{self.salt}{user_id}".encode()).hexdigest()[:PSEUDONYM_SIGNS]


@dataclass(frozen=True)
class Authenticator:
    """Finds out who sends a request, and with which role.

    Without tokens and without a header the desk answers only this machine, and every visitor is an operator. With
    `tokens` (by role) a visitor must give one of them. With a `header` the reverse proxy in front names the visitor
    in it; the names in `operators` are operators, all others are viewers.
    """

    tokens: Mapping[Role, str] = field(default_factory=dict)
    header: str = ""
    operators: frozenset[str] = frozenset()
    host: str = "127.0.0.1"
    salt: str = field(default_factory=lambda: secrets.token_hex(16))
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    @classmethod
    def of_environment(
        cls, environment: Mapping[str, str], host: str, header: str, operators: tuple[str, ...]
    ) -> Authenticator:
        """Read tokens and salt from the environment.

        Raises
        ------
        InputError
            Another machine may ask, but nothing says who it is; or a token is short.
        """
        named: dict[Role, str] = {
            "operator": environment.get(OPERATOR_TOKEN, ""),
            "viewer": environment.get(VIEWER_TOKEN, ""),
        }
        tokens = {role: token for role, token in named.items() if token}
        if short := [role for role, token in tokens.items() if len(token) < SHORTEST_TOKEN]:
            raise InputError(
                f"the token of the {short[0]} has fewer than {SHORTEST_TOKEN} signs; "
                "python -c 'import secrets; print(secrets.token_urlsafe())' makes a good one"
            )
        if len(set(tokens.values())) < len(tokens):
            raise InputError("operator and viewer have the same token; give each its own")
        if host not in LOOPBACK and not tokens and not header:
            raise InputError(
                f"host {host} lets other machines ask, and nothing says who asks; set {OPERATOR_TOKEN} (and "
                f"{VIEWER_TOKEN}), or name the header of a trusted reverse proxy with --user-header"
            )
        salt = environment.get(SALT) or secrets.token_hex(16)
        return cls(tokens, header.lower(), frozenset(operators), host, salt)

    @property
    def is_open(self) -> bool:
        """Whether whoever sits at this machine is let in."""
        return not self.tokens and not self.header

    def knows_host(self, host: str) -> bool:
        """Tell whether a request names a host of ours: without tokens and header only this machine's own names are.

        Otherwise a page of somebody else could be given our address (DNS rebinding).

        Examples
        --------
        >>> hosts = ("127.0.0.1:8321", "localhost", "[::1]:80", "evil.example:8321")
        >>> [Authenticator().knows_host(host) for host in hosts]
        [True, True, True, False]
        """
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        return not self.is_open or name.strip("[]").lower() in LOOPBACK

    def visitor(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Visitor | None:
        """Say who asks; None where that is not known."""
        if self.is_open:
            return Visitor("operator", THIS_MACHINE, self.salt)
        if self.header and (name := headers.get(self.header, "").strip()):
            return Visitor("operator" if name in self.operators else "viewer", name[:100], self.salt)
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else ""
        role = self.role_of(given) or self._role_of_cookie(cookies.get(COOKIE, ""))
        return Visitor(role, role, self.salt) if role else None

    def role_of(self, token: str) -> Role | None:
        """Say whose token it is; all are compared, each in constant time."""
        found = [role for role, own in self.tokens.items() if hmac.compare_digest(own.encode(), token.encode())]
        return found[0] if found else None

    def cookie(self, role: Role) -> str:
        """Sign a role, for the cookie that a browser keeps; it holds until the desk is started anew."""
        return f"{role}.{self._sign('cookie', role)}"

    def form_token(self, visitor: Visitor) -> str:
        """Return what a form of ours carries, so that no other page can send it."""
        return self._sign("form", f"{visitor.role}:{visitor.name}")

    def is_our_form(self, visitor: Visitor, token: str) -> bool:
        """Tell whether a form came from a page that this visitor was given."""
        return hmac.compare_digest(self.form_token(visitor).encode(), token.encode())

    def _role_of_cookie(self, cookie: str) -> Role | None:
        own = [role for role in self.tokens if hmac.compare_digest(self.cookie(role).encode(), cookie.encode())]
        return own[0] if own else None

    def _sign(self, purpose: str, content: str) -> str:
        return hmac.new(self.secret, f"{purpose}:{content}".encode(), hashlib.sha256).hexdigest()
