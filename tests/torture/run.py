"""One torture run: a fleet, a load and faults for a while; then quiet, and the checker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from broker.bootstrap.core import open_core
from broker.provision import Provision
from broker.settings import load
from broker.store.database import Database, open_database
from tests.acceptance.fleet import KEY
from tests.acceptance.processes import opened
from tests.torture import collect
from tests.torture.checker import check
from tests.torture.content import Work, endless_works
from tests.torture.customer import Customer
from tests.torture.databases import TorturedDatabase, tortured_database
from tests.torture.driver import Driver
from tests.torture.evidence import Evidence
from tests.torture.fleet import TorturedFleet, running_fleet
from tests.torture.history import history_of, keep_history
from tests.torture.load import Load, Pace
from tests.torture.plan import Fault, random_plan
from tests.torture.report import Report


@dataclass(frozen=True)
class Scenario:
    """What a run is made of. plan, works: None = by the seed.

    patience: seconds without any movement after which what is not DONE is given up. environment, packages: for the
    processes.
    """

    seed: int
    seconds: float
    webs: int = 2
    workers: int = 3
    pace: Pace = field(default_factory=Pace)
    plan: tuple[Fault, ...] | None = None
    works: Iterator[Work] | None = None
    harmful_every: int = 150
    patience: float = 40.0
    environment: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[Path, ...] = ()


async def torture(scenario: Scenario, kind: str, folder: Path) -> Report:
    """Run a scenario on `sqlite` or `postgresql`. Logs, blobs and the history stay in `folder`."""
    async with AsyncExitStack() as stack:
        tortured = stack.enter_context(tortured_database(kind, folder / "database"))
        database = open_database(tortured.url, folder)
        stack.push_async_callback(database.aclose)
        await keep_history(database)
        customer = await stack.enter_async_context(Customer(scenario.seed).listen())
        commands = stack.enter_context(opened(folder, quiet=True))
        harmed = folder / "harmed"
        harmed.mkdir()
        fleet = running_fleet(
            commands,
            tortured.url,
            webs=scenario.webs,
            workers=scenario.workers,
            environment={**scenario.environment, "TORTURE_HARMED": str(harmed)},
            packages=scenario.packages,
        )
        async with fleet as running:
            customer.workers = running.workers
            customer.secret = await asyncio.to_thread(asyncio.run, _secret(tortured.url, folder / "data"))
            evidence = await _torture(scenario, running, tortured, customer, database)
        evidence = replace(evidence, harmed={int(note.name) for note in harmed.iterdir()})
    (folder / "history.txt").write_text("".join(f"{line}\n" for line in evidence.history))
    return Report(kind, evidence, check(evidence))


async def _torture(
    scenario: Scenario, fleet: TorturedFleet, tortured: TorturedDatabase, customer: Customer, database: Database
) -> Evidence:
    works = scenario.works or endless_works(scenario.seed, scenario.harmful_every)
    load = Load(works, fleet.webs, fleet.fleet.token, customer, scenario.seed, scenario.pace)
    plan = scenario.plan
    if plan is None:
        plan = random_plan(scenario.seed, scenario.seconds, tortured.kind)
    driver = Driver(fleet, tortured.faults, tortured.is_free)
    async with asyncio.TaskGroup() as group:
        group.create_task(driver.carry_out(plan))
        group.create_task(load.post_for(scenario.seconds))
    await collect.settle(database, scenario.patience)
    details = await collect.details_of(
        [posted.ids[0] for posted in load.posted if posted.ids], fleet.webs, fleet.fleet.token
    )
    async with database.reading() as connection:
        return Evidence(
            posted=load.posted,
            batches=await collect.batches_of(connection),
            results=await collect.results_of(connection),
            deliveries=await collect.deliveries_of(connection),
            history=await history_of(connection),
            arrivals=customer.arrivals,
            attempts=await collect.attempts_of(connection),
            details=details,
            files=collect.files_in(fleet.blobs),
            injected=driver.injected,
            exits=fleet.exits,
            suspended=fleet.suspended,
            database=tortured.kind,
        )


async def _secret(url: str, data_dir: Path) -> str:
    """The signing secret of the workspace."""
    async with open_core(load(database_url=url, data_dir=data_dir, secret_key=KEY)) as core:
        return (await Provision(core.database, core.vault).webhook_secrets("default"))[0]
