"""What the sink needs in InfluxDB, made where it is not there: run again, it changes nothing.

An organization, the three buckets with their retention, tasks that keep hours of bars, and two
tokens with the least rights that do: the writer's may write to the three buckets and read nothing,
the reader's may read them and nothing else. A token is told once, when it is made; InfluxDB has to
be asked by an operator's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from app.durations import NANOSECONDS, format_duration
from app.influx.client import InfluxError, is_absent, open_client, package
from app.influx.downsampling import Task, tasks
from app.settings import Settings
from app.sinks.influx_routes import Bucket, Buckets

USER: Final = "candlewick"
#: What each token may do with each of the three buckets.
RIGHTS: Final = {"writer": "write", "reader": "read"}
#: Takes a secret the moment that it is made: its name, and the secret.
Keep = Callable[[str, str], None]


@dataclass
class Done:
    """What a set-up did: a line each for what it made or changed, and for what was there."""

    changes: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)


def set_up(
    settings: Settings,
    operator: str | None,
    keep: Keep,
    *,
    renew: bool = False,
    shorten: bool = False,
) -> Done:
    """Make what is missing.

    Args:
        operator: an operator's token; None where InfluxDB is new, and then one is made.
        keep: is told `writer`, `reader`, and of a new InfluxDB `operator` and `password`.
        renew: make the two tokens anew; the old ones end.
        shorten: where a bucket keeps points longer than the settings say, it no longer does,
            and InfluxDB deletes what is older.

    Raises:
        InfluxError: the package is missing, InfluxDB is away or refuses, or asks for a decision.
        SettingsError: a retention that InfluxDB does not have.
    """
    done = Done()
    buckets = Buckets.of(settings.influx)
    with open_client(settings.influx, operator) as client:
        made = _begin(client, settings, buckets, operator, keep, done)
    with open_client(settings.influx, made) as client:
        work = _Setup(client, settings, done)
        organization = work.organization()
        named = (buckets.outputs, buckets.ticks, buckets.history)
        ids = [work.bucket(organization, each, shorten=shorten) for each in named]
        bars = settings.bars
        prefix = f"candlewick {buckets.outputs.name}"
        for task in tasks(buckets, prefix, bars.intervals, bars.correction_horizon):
            work.task(organization, task)
        for name, action in RIGHTS.items():
            token = work.token(organization, f"{prefix}: {name}", action, ids, renew=renew)
            if token is not None:
                keep(name, token)
    return done


def _begin(
    client: Any,
    settings: Settings,
    buckets: Buckets,
    operator: str | None,
    keep: Keep,
    done: Done,
) -> str:
    """Return an operator's token; of an InfluxDB without any user, make one."""
    api = package()
    service = api.SetupService(client.api_client)
    if not service.get_setup().allowed:
        if operator is None:
            raise InfluxError(
                f"InfluxDB at {settings.influx.url} is set up already: expected its operator's "
                "token; see --operator-token-file"
            )
        return operator
    token = operator or secrets.token_urlsafe(48)
    password = secrets.token_urlsafe(24)
    # Before: nobody gives them out again.
    keep("operator", token)
    keep("password", password)
    service.post_setup(
        api.OnboardingRequest(
            username=USER,
            password=password,
            org=settings.influx.organization,
            bucket=buckets.outputs.name,
            retention_period_seconds=_seconds(buckets.outputs),
            token=token,
        )
    )
    done.changes.append(f"InfluxDB at {settings.influx.url} is new: made its user {USER}")
    return token


class _Setup:
    """One set-up, by an operator's client."""

    def __init__(self, client: Any, settings: Settings, done: Done) -> None:
        self._api, self._client, self._done = package(), client, done
        self._settings = settings.influx

    def organization(self) -> str:
        """Return the organization's id; make it where it is not there."""
        name = self._settings.organization
        api = self._client.organizations_api()
        for each in self._asked(lambda: api.find_organizations(org=name)):
            self._done.found.append(f"organization {name}")
            return str(each.id)
        made = api.create_organization(name=name)
        self._done.changes.append(f"made the organization {name}")
        return str(made.id)

    def bucket(self, organization: str, wanted: Bucket, *, shorten: bool) -> str:
        """Return a bucket's id; make it, or change its retention, where it is another."""
        api, kept = self._client.buckets_api(), _kept(wanted)
        seconds = _seconds(wanted)
        rules = [self._api.BucketRetentionRules(type="expire", every_seconds=seconds)]
        listed = self._asked(
            lambda: api.find_buckets(name=wanted.name, org_id=organization).buckets
        )
        for each in listed:
            has = each.retention_rules[0].every_seconds if each.retention_rules else 0
            if has == seconds:
                self._done.found.append(f"bucket {wanted.name}, {kept}")
                return str(each.id)
            shorter = seconds and (has == 0 or seconds < has)
            before = _kept(Bucket(wanted.name, has * NANOSECONDS["s"]))
            if shorter and not shorten:
                raise InfluxError(
                    f"bucket {wanted.name} is {before}, by the settings it is to be {kept}: "
                    "InfluxDB would delete what is older; say --shorten, or change the setting"
                )
            each.retention_rules = rules
            api.update_bucket(each)
            self._done.changes.append(f"bucket {wanted.name} was {before}, is {kept}")
            return str(each.id)
        request = self._api.PostBucketRequest(
            org_id=organization, name=wanted.name, retention_rules=rules if seconds else []
        )
        made = api.create_bucket(bucket=request)
        self._done.changes.append(f"made the bucket {wanted.name}, {kept}")
        return str(made.id)

    def task(self, organization: str, wanted: Task) -> None:
        """Make a task, or give it its text anew where it has another."""
        api = self._client.tasks_api()
        listed = api.find_tasks(name=wanted.name, org_id=organization) or []
        if not listed:
            request = self._api.TaskCreateRequest(
                org_id=organization, flux=wanted.flux, status="active"
            )
            api.create_task(task_create_request=request)
            self._done.changes.append(f"made the task {wanted.name!r}")
            return
        # One that somebody has stopped stays so.
        if listed[0].flux == wanted.flux:
            self._done.found.append(f"task {wanted.name!r}, {listed[0].status}")
            return
        api.update_task_request(listed[0].id, self._api.TaskUpdateRequest(flux=wanted.flux))
        self._done.changes.append(f"changed the task {wanted.name!r}")

    def token(
        self, organization: str, description: str, action: str, buckets: list[str], *, renew: bool
    ) -> str | None:
        """Make a token; return it, None where there is one with these rights already."""
        api = self._client.authorizations_api()
        wanted = {(action, "buckets", each) for each in buckets}
        listed = api.find_authorizations(org_id=organization) or []
        own = [each for each in listed if each.description == description]
        valid = [each for each in own if each.status == "active" and _rights(each) == wanted]
        if valid and not renew:
            self._done.found.append(f"token {description!r}, given out when it was made")
            return None
        permissions = [
            self._api.Permission(
                action=action,
                resource=self._api.PermissionResource(type="buckets", id=each, org_id=organization),
            )
            for each in buckets
        ]
        made = api.create_authorization(
            authorization=self._api.Authorization(
                org_id=organization, permissions=permissions, description=description
            )
        )
        for each in own:
            api.delete_authorization(each)
        self._done.changes.append(
            f"made the token {description!r}: may {action} the three buckets, nothing else"
        )
        return str(made.token)

    def _asked(self, ask: Callable[[], Any]) -> list[Any]:
        """Return what a question finds; InfluxDB says 404 where that is nothing."""
        try:
            return list(ask() or [])
        except self._api.rest.ApiException as error:
            if is_absent(error):
                return []
            raise


def _rights(authorization: Any) -> set[tuple[str, str, str]]:
    return {
        (each.action, each.resource.type, each.resource.id) for each in authorization.permissions
    }


def _seconds(bucket: Bucket) -> int:
    return -(-bucket.retention // NANOSECONDS["s"])


def _kept(bucket: Bucket) -> str:
    return f"kept {format_duration(bucket.retention) if bucket.retention else 'for ever'}"
