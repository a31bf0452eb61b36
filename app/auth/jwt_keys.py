"""The JWT_* settings that name keys. Their libraries are loaded only where keys are set."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtKeys:
    """The settings that say which keys count, each None or empty when it is not set.

    Several at once are allowed. Without `algorithms`, a secret is for HS256, public keys are for RS256 and ES256 (a PEM
    key of another kind: for what it can do). `public_key` may have `\\n` for its line ends, as in an env file.
    """

    secret: str | None = field(default=None, repr=False)
    public_key: str | None = None
    jwks_url: str | None = None
    algorithms: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(source is not None for source in (self.secret, self.public_key, self.jwks_url))
