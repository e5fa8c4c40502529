"""The openmeter client from PyPI against a running Weir, unchanged.

Needs `pip install --pre openmeter`, and WEIR_ENDPOINT, WEIR_KEY (with events:write) and
WEIR_TENANT in the environment. Ends with 0 when every call did what it should.
`cargo run -p weir-api --example with_server -- python3 crates/api/tests/openmeter_client.py`
provides all three.
"""

import asyncio
import datetime
import os
import uuid

from corehttp.exceptions import HttpResponseError
from openmeter import Client
from openmeter.aio import Client as AsyncClient
from openmeter.models import Event

ENDPOINT, KEY, TENANT = (os.environ[name] for name in ("WEIR_ENDPOINT", "WEIR_KEY", "WEIR_TENANT"))


def event(**changes):
    members = dict(
        id=str(uuid.uuid4()),
        source="openmeter-python",
        specversion="1.0",
        type="com.example.network.out",
        subject=TENANT,
        time=datetime.datetime.now(datetime.timezone.utc),
        data={"bytes": 12.5},
    )
    return Event(**{**members, **changes})


def refused(call, status):
    try:
        call()
    except HttpResponseError as error:
        assert error.response.status_code == status, error
    else:
        raise AssertionError(f"taken, where {status} was due")


with Client(endpoint=ENDPOINT, token=KEY) as client:
    client.events.ingest_event(event())
    client.events.ingest_events([event(), event()])
    refused(lambda: client.events.ingest_event(event(subject="nobody-at-all")), 422)
with Client(endpoint=ENDPOINT, token="weir_live_wrong") as client:
    refused(lambda: client.events.ingest_event(event()), 401)


async def asynchronously():
    async with AsyncClient(endpoint=ENDPOINT, token=KEY) as client:
        await client.events.ingest_event(event())


asyncio.run(asynchronously())
print("the openmeter client ingested 4 events; a stranger's event and a wrong key were refused")
