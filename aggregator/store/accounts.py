"""Who may sign in, who has, and which programs may read: accounts, sessions, keys."""

import hashlib
import secrets
from dataclasses import dataclass
from functools import cache

import argon2
import sqlalchemy as sa

from aggregator.core.roles import Role
from aggregator.store import schema
from aggregator.store.engine import Engine

SESSION_S = 12 * 3600
SHORTEST_PASSWORD = 12
_HASHER = argon2.PasswordHasher()


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in; `form` is what every form of theirs must carry."""

    account: str
    role: Role
    form: str


@dataclass(frozen=True, slots=True)
class Account:
    """A local account."""

    name: str
    role: Role
    added_s: int


@cache
def _nobody() -> str:
    """Return a hash that no password has, to be as slow for unknown names; made when needed."""
    return _HASHER.hash("nobody's password")


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Accounts:
    """The tables `account`, `session` and `api_key`. Of a secret only a hash is kept."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def set(
        self, connection: sa.Connection, name: str, password: str | None, role: Role, now_s: int
    ) -> None:
        """Make an account, or change its role and, where one is given, its password.

        Raises:
            ValueError: the password is too short, or a new account has none.
        """
        table = schema.account
        if password is not None and len(password) < SHORTEST_PASSWORD:
            raise ValueError(f"expected a password of at least {SHORTEST_PASSWORD} characters")
        known = connection.scalar(sa.select(table.c.password).where(table.c.name == name))
        if known is None and password is None:
            raise ValueError(f"{name}: a new account needs a password")
        hashed = known if password is None else _HASHER.hash(password)
        row = {"name": name, "password": hashed, "role": int(role)}
        if known is None:
            connection.execute(sa.insert(table), {**row, "added_s": now_s})
        else:
            connection.execute(sa.update(table).where(table.c.name == name).values(**row))
            self._sign_out(connection, name)

    def remove(self, connection: sa.Connection, name: str) -> bool:
        """Remove an account and sign it out; return False where there is none."""
        table = schema.account
        self._sign_out(connection, name)
        return connection.execute(sa.delete(table).where(table.c.name == name)).rowcount == 1

    def _sign_out(self, connection: sa.Connection, name: str) -> None:
        table = schema.session
        connection.execute(sa.delete(table).where(table.c.account == name))

    def all(self) -> list[Account]:
        """Return all accounts by name."""
        table = schema.account
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.name)).fetchall()
        return [Account(r.name, Role(r.role), r.added_s) for r in rows]

    def check(self, name: str, password: str) -> Role | None:
        """Return the role of an account whose password this is; as slow for unknown names."""
        table = schema.account
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(table).where(table.c.name == name)).first()
        try:
            _HASHER.verify(_nobody() if row is None else row.password, password)
        except argon2.exceptions.VerificationError:
            return None
        return None if row is None else Role(row.role)

    # -- sessions

    def sign_in(self, connection: sa.Connection, account: str, role: Role, now_s: int) -> str:
        """Begin a session; return the token that its cookie carries."""
        token, table = secrets.token_urlsafe(32), schema.session
        connection.execute(sa.delete(table).where(table.c.until_s < now_s))
        row = {
            "token": _hashed(token), "account": account, "role": int(role),
            "form": secrets.token_urlsafe(32), "until_s": now_s + SESSION_S,
        }  # fmt: skip
        connection.execute(sa.insert(table), row)
        return token

    def session(self, token: str, now_s: int) -> Session | None:
        """Return whose token this is, while it is valid."""
        table = schema.session
        query = sa.select(table).where(table.c.token == _hashed(token), table.c.until_s >= now_s)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else Session(row.account, Role(row.role), row.form)

    def sign_out(self, token: str) -> None:
        """End a session."""
        table = schema.session
        with self._engine.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.token == _hashed(token)))

    # -- keys of programs

    def make_key(
        self, connection: sa.Connection, name: str, by: str, now_s: int, until_s: int
    ) -> str | None:
        """Make a key that reads as an analyst; return it, once, or None where its name is taken."""
        token = f"dz_{secrets.token_urlsafe(32)}"
        row = {
            "name": name, "token": _hashed(token), "by": by, "added_s": now_s, "until_s": until_s,
        }  # fmt: skip
        return token if self._engine.insert_once(connection, schema.api_key, row) else None

    def drop_key(self, connection: sa.Connection, name: str) -> bool:
        """Drop a key; return False where there is none."""
        table = schema.api_key
        return connection.execute(sa.delete(table).where(table.c.name == name)).rowcount == 1

    def keys(self) -> list[tuple[str, str, int]]:
        """Return name, maker and end of every key."""
        table = schema.api_key
        query = sa.select(table.c.name, table.c.by, table.c.until_s).order_by(table.c.name)
        with self._engine.connect() as connection:
            return [(r.name, r.by, r.until_s) for r in connection.execute(query)]

    def is_key(self, token: str, now_s: int) -> bool:
        """Return whether this is a key, and valid still."""
        table = schema.api_key
        query = sa.select(table.c.name).where(
            table.c.token == _hashed(token), table.c.until_s >= now_s
        )
        with self._engine.connect() as connection:
            return connection.scalar(query) is not None
