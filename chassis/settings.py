"""What the environment says about a deployment. Read once, in a house's `main.py`.

`TANDEM_ROLES` splits a house's work between processes: `api` answers requests, `relay` publishes, `worker` reads
the log, fires timers and runs the house's own loops.
"""

from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from contracts.topics import PARTITIONS_LOCAL

Part = Literal["api", "relay", "worker"]
PARTS: frozenset[Part] = frozenset(get_args(Part))


class Settings(BaseSettings):
    """One deployment, as one process of it sees it. Raises pydantic's ValidationError when something is missing."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    kafka_bootstrap_servers: str = Field(validation_alias="KAFKA_BOOTSTRAP_SERVERS")
    database_url: SecretStr = Field(validation_alias="DATABASE_URL")  # A server, and a role that may create databases.
    prefix: str = Field("", validation_alias="TANDEM_PREFIX", pattern=r"^([a-z][a-z0-9_]{0,30})?$")
    partitions: int = Field(PARTITIONS_LOCAL, validation_alias="TANDEM_PARTITIONS", ge=1, le=1_000)
    replicas: int = Field(1, validation_alias="TANDEM_REPLICAS", ge=1, le=10)  # Of each topic; 3 in a cluster.

    roles: Annotated[frozenset[Part], NoDecode] = Field(PARTS, validation_alias="TANDEM_ROLES", min_length=1)
    slot: str = Field("0", validation_alias="TANDEM_SLOT", pattern=r"^[a-z0-9-]{1,40}$")  # Stable per worker.
    # How long a relay that died is waited for: 10 s in a cluster, whose clocks and disks may pause; 1 s on one machine.
    relay_lease_s: float = Field(10, validation_alias="TANDEM_RELAY_LEASE_S", ge=0.5, le=60)
    simulated_time: bool = Field(False, validation_alias="TANDEM_SIMULATED_TIME")
    time_zone: ZoneInfo = Field(ZoneInfo("UTC"), validation_alias="TANDEM_TIME_ZONE")  # Where a clinic's day begins.
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", validation_alias="TANDEM_LOG_LEVEL")

    issuer: str = Field(validation_alias="TANDEM_ISSUER", min_length=1)
    jwks_url: str = Field(validation_alias="TANDEM_JWKS_URL", min_length=1)
    audience: str = Field("tandem", validation_alias="TANDEM_AUDIENCE", min_length=1)

    # What only a house that sends needs: a token of its own, another house to ask, a mail server.
    token_url: str | None = Field(None, validation_alias="TANDEM_TOKEN_URL")
    client_id: str | None = Field(None, validation_alias="TANDEM_CLIENT_ID")
    client_secret: SecretStr | None = Field(None, validation_alias="TANDEM_CLIENT_SECRET")
    patients_url: str | None = Field(None, validation_alias="TANDEM_PATIENTS_URL")
    smtp_host: str | None = Field(None, validation_alias="SMTP_HOST")
    smtp_port: int = Field(25, validation_alias="SMTP_PORT", ge=1, le=65_535)
    sender_address: str | None = Field(None, validation_alias="TANDEM_SENDER_ADDRESS")
    public_url: str | None = Field(None, validation_alias="TANDEM_PUBLIC_URL")

    @field_validator("roles", mode="before")
    @classmethod
    def separated_by_commas(cls, given: object) -> object:
        """`api,relay` as the set of its parts."""
        return frozenset(given.split(",")) if isinstance(given, str) else given

    @field_validator("time_zone", mode="before")
    @classmethod
    def by_its_iana_name(cls, given: object) -> object:
        """`Europe/London` as the zone. Raises ValueError for a name that is none."""
        if not isinstance(given, str):
            return given
        try:
            return ZoneInfo(given)
        except (KeyError, OSError):  # ZoneInfoNotFoundError is a KeyError; a directory's name is an OSError.
            raise ValueError("not the name of a time zone in the IANA database") from None
