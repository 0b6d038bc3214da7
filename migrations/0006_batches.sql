-- Messages that were accepted together. How many of them have which status is counted when somebody asks: a batch has at most a
-- thousand, and an index leads to them.
create table batches (
    id               uuid        primary key,
    app              text        not null,
    test             boolean     not null,
    client_reference text,
    metadata         jsonb,
    callback_url     text,
    send_at          timestamptz,
    total            smallint    not null check (total > 0),
    -- Messages that are not final. Changed in the transaction that makes a message final, or takes that back. No constraint
    -- holds it within its bounds: a wrong count must not keep a message from being saved.
    open             integer     not null,
    created_at       timestamptz not null,
    -- When none was open any more; null while one is.
    completed_at     timestamptz,
    -- It was completed once and the app was told; an `unknown` that is sent again may open it anew, and that is not told again.
    announced        boolean     not null default false
);

-- What a key made may be a batch as well; the fingerprint says which, since it is of the operation and the body.
comment on column idempotency_keys.message_id is 'of the message or the batch that the request made';
