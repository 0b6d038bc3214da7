"""Sends and reads messages with the client that openapi-python-client made of openapi.yaml.

Run by `./dev clients`. Ends with an exception where the document does not say what the gateway does.
"""

import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from standardwebhooks import Webhook

from sms_gateway_client import AuthenticatedClient
from sms_gateway_client.api.batches import create_batch, get_batch
from sms_gateway_client.api.messages import create_message, get_message, list_message_events, list_messages
from sms_gateway_client.models import (
    Batch,
    BatchCreate,
    Message,
    MessageCreate,
    MessageCreateMetadata,
    MessageCreateTemplate,
    MessageCreateTemplateParams,
    MessageStatus,
    Problem,
    Recipient,
)

events = []


class Receiver(BaseHTTPRequestHandler):
    """What the gateway calls. Whatever the public library does not verify is answered 401 and not kept."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = Webhook(os.environ["WEBHOOK_SECRET"]).verify(body, dict(self.headers))
        except Exception:
            self.send_response(401)
        else:
            events.append(event)
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


receiver = ThreadingHTTPServer(("127.0.0.1", int(os.environ["WEBHOOK_PORT"])), Receiver)
Thread(target=receiver.serve_forever, daemon=True).start()

client = AuthenticatedClient(base_url=os.environ["GATEWAY_URL"], token=os.environ["GATEWAY_KEY"])


def delivered(message: Message) -> Message:
    until = time.monotonic() + 20
    while not message.final:
        assert time.monotonic() < until, message
        time.sleep(0.1)
        now = get_message.sync(message.id, client=client)
        assert isinstance(now, Message), now
        message = now
    return message


def send(body: MessageCreate, key: str) -> Message:
    answer = create_message.sync_detailed(client=client, body=body, idempotency_key=key)
    assert answer.status_code == 202, answer
    assert isinstance(answer.parsed, Message), answer
    return answer.parsed


with client:
    body = MessageCreate(to="+99900000001", text="Hello", client_reference="py-1")
    body.metadata = MessageCreateMetadata.from_dict({"order": "17"})
    message = send(body, "py-1")
    assert send(body, "py-1").id == message.id, "one key makes one message"
    message = delivered(message)
    assert message.status == MessageStatus.DELIVERED and message.text == "Hello", message
    assert message.metadata["order"] == "17" and message.attempts[0].provider == "sandbox", message

    params = MessageCreateTemplateParams.from_dict({"code": "123456"})
    of_template = MessageCreate(
        to="+99900000002", template=MessageCreateTemplate(name="login_code", params=params)
    )
    lost = delivered(send(of_template, "py-2"))
    assert lost.status == MessageStatus.UNDELIVERED and lost.error is not None and lost.text is None, lost

    page = list_messages.sync(client=client, status=[MessageStatus.DELIVERED], to="+99900000001", limit=10)
    assert page is not None and not isinstance(page, Problem), page
    assert all(isinstance(entry, Message) for entry in page.data) and page.data[0].id == message.id, page
    timeline = list_message_events.sync(message.id, client=client)
    assert timeline is not None and not isinstance(timeline, Problem), timeline
    assert [entry.type_ for entry in timeline.data][0] == "created", timeline

    refused = create_message.sync(client=client, body=MessageCreate(to="12345", text="Hello"))
    assert isinstance(refused, Problem) and refused.errors[0].pointer == "/to", refused

    recipients = [Recipient(to="+99900000001"), Recipient(to="+99900000010")]
    batch = create_batch.sync(client=client, body=BatchCreate(recipients=recipients, text="Hello, all"))
    until = time.monotonic() + 20
    while isinstance(batch, Batch) and batch.completed_at is None:
        assert time.monotonic() < until, batch
        time.sleep(0.1)
        batch = get_batch.sync(batch.id, client=client)
    assert isinstance(batch, Batch) and batch.counts.delivered == 2, batch

    def told(kind: str, name: str, id: str) -> bool:
        return any(event["type"] == kind and event["data"][name]["id"] == id for event in events)

    wanted = [("message.delivered", "message", message.id), ("batch.completed", "batch", batch.id)]
    while not all(told(*event) for event in wanted):
        assert time.monotonic() < until + 20, f"{wanted} are not all among {events}"
        time.sleep(0.1)

receiver.shutdown()
receiver.server_close()
print("the Python client sends and reads messages")
