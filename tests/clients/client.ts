// Sends and reads messages with the types that openapi-typescript made of openapi.yaml.
//
// Run by `./dev clients`, after the compiler has looked at it. Ends with an error where the document does not say what the
// gateway does.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Message = components["schemas"]["Message"];
type MessageCreate = components["schemas"]["MessageCreate"];

const { GATEWAY_URL: baseUrl, GATEWAY_KEY: key } = process.env;
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

async function send(body: MessageCreate, key: string): Promise<Message> {
  const { data, error, response } = await client.POST("/v1/messages", {
    body,
    params: { header: { "Idempotency-Key": key } },
  });
  assert.equal(response.status, 202, JSON.stringify(error));
  assert(data);
  return data;
}

async function ended(message: Message): Promise<Message> {
  const until = Date.now() + 20_000;
  while (!message.final) {
    assert(Date.now() < until, JSON.stringify(message));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const { data } = await client.GET("/v1/messages/{message_id}", { params: { path: { message_id: message.id } } });
    assert(data);
    message = data;
  }
  return message;
}

const first = await send({ to: "+99900000001", text: "Hello", metadata: { order: "17" } }, "ts-1");
assert.equal((await send({ to: "+99900000001", text: "Hello", metadata: { order: "17" } }, "ts-1")).id, first.id);
const delivered = await ended(first);
assert.equal(delivered.status, "delivered");
assert.equal(delivered.metadata.order, "17");
assert.equal(delivered.attempts[0]?.provider, "sandbox");

const lost = await ended(
  await send({ to: "+99900000002", template: { name: "login_code", params: { code: "123456" } } }, "ts-2"),
);
assert.equal(lost.status, "undelivered");
assert.equal(lost.error?.code, "recipient_unreachable");

const { data: page } = await client.GET("/v1/messages", {
  params: { query: { status: ["delivered", "failed"], to: "+99900000001", limit: 10 } },
});
const newest: Message | undefined = page?.data[0];
assert.equal(newest?.id, first.id);
const { data: timeline } = await client.GET("/v1/messages/{message_id}/events", {
  params: { path: { message_id: first.id } },
});
assert.equal(timeline?.data[0]?.type, "created");

const { error: problem, response } = await client.POST("/v1/messages", { body: { to: "12345", text: "Hello" } });
assert.equal(response.status, 422);
assert.equal(problem?.errors?.[0]?.pointer, "/to");

// What the document does not have is no valid request.
// @ts-expect-error
const unknown: MessageCreate = { to: "+99900000001", text: "Hello", colour: "red" };
assert(unknown);

console.log("the TypeScript client sends and reads messages");
