"""Sends and reads messages with the client that openapi-python-client made of openapi.yaml.

Run by `./dev clients`. Ends with an exception where the document does not say what the gateway does.
"""

import os
import time

from sms_gateway_client import AuthenticatedClient
from sms_gateway_client.api.messages import create_message, get_message, list_message_events, list_messages
from sms_gateway_client.models import (
    Message,
    MessageCreate,
    MessageCreateMetadata,
    MessageCreateTemplate,
    MessageCreateTemplateParams,
    MessageStatus,
    Problem,
)

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

print("the Python client sends and reads messages")
