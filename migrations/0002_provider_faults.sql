-- What a provider asked for: nothing before `until`. Shared by all processes and kept over a restart. An older row of the same
-- provider is overwritten; one that is over means nothing.
create table provider_throttles (
    provider        text        primary key,
    until           timestamptz not null,
    -- What it said; null when it did not say why.
    error_code      text,
    error_category  text,
    error_retryable boolean,
    provider_code   text
);

-- False where the provider's own words forbid to hand an unclear message over again, whatever its route says.
alter table attempts add column resend_allowed boolean not null default true;
