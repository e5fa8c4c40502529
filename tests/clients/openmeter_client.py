"""Sends usage with the openmeter client as its users do: one event, the same once more, a batch."""

import datetime
import os

from openmeter import Client
from openmeter.models import Event


def event(number, kind, data):
    return Event(
        id=f"openmeter-{number}",
        source="//tests/openmeter",
        specversion="1.0",
        type=kind,
        subject=os.environ["TENANT"],
        time=datetime.datetime.now(datetime.timezone.utc),
        data=data,
    )


def main():
    with Client(endpoint=os.environ["WEIR_URL"], token=os.environ["WEIR_KEY"]) as client:
        first = event(1, "test.call", {"route": "/"})
        client.events.ingest_event(first)
        client.events.ingest_event(first)
        client.events.ingest_events(
            [event(2, "test.call", {"route": "/"}), event(3, "test.bytes", {"bytes": 1.5})]
        )
    print("ingested 3 events, one of them twice")


if __name__ == "__main__":
    main()
