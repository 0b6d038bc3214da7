# The gateway alone: its database is given by URL (DATABASE_URL or database.url), PostgreSQL is not in here.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin sms-gateway

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home sms-gateway \
    && install -d -o sms-gateway -g sms-gateway /gateway /gateway/data
COPY --from=build /build/target/release/sms-gateway /usr/local/bin/sms-gateway
# gateway.toml is read from here; ./data takes what the gateway makes for itself.
WORKDIR /gateway
USER sms-gateway
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["sms-gateway", "healthcheck"]
ENTRYPOINT ["sms-gateway"]
CMD ["serve"]
