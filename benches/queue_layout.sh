#!/usr/bin/env bash
# Measures the two layouts of docs/adr/0001-queue-table.md against each other on a throw-away PostgreSQL.
# Usage: benches/queue_layout.sh [seconds per round] [rounds] [clients]
# As root the server runs as user postgres. Environment: FILLFACTOR (70), FINISHED (1000000), WAITING (200000).
set -euo pipefail

seconds=${1:-20} rounds=${2:-3} clients=${3:-4}
here=$(cd "$(dirname "$0")/queue_layout" && pwd)
bin=$(dirname "$(readlink -f "$(command -v postgres || ls -d /usr/lib/postgresql/*/bin/postgres | tail -1)")")
dir=$(mktemp -d /tmp/queue_layout.XXXXXX)
export PGHOST=$dir PGUSER=postgres PGDATABASE=postgres

as_server() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi; }
trap 'as_server "$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$dir"' EXIT

if [ "$(id -u)" = 0 ]; then chown postgres: "$dir"; fi
cd "$dir"
as_server "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
as_server "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/log" -o "-h '' -k $dir -c shared_buffers=512MB -c max_wal_size=4GB" start >/dev/null
server=$(head -1 "$dir/data/postmaster.pid")

sql() { "$bin/psql" -XAtqv ON_ERROR_STOP=1 "$@"; }
# CPU of backends that have ended, in clock ticks.
server_cpu() { awk '{print $16 + $17}' "/proc/$server/stat"; }
empty() { sql -c 'truncate a.messages, a.queue, a.attempts, b.messages, b.attempts' -c checkpoint; }

# life LAYOUT TITLE: one round; prints messages/s, backend CPU and WAL per message, and the claim's own latency.
life() {
  local before_cpu before_wal out batches
  sql -c 'select pg_stat_reset()' >/dev/null
  before_cpu=$(server_cpu); before_wal=$(sql -c 'select pg_current_wal_lsn()')
  out=$("$bin/pgbench" -n -M prepared -r -c "$clients" -j 2 -T "$seconds" -f "$here/life_$1.sql" 2>&1) || { echo "$out"; exit 1; }
  batches=$(sed -n 's/^number of transactions actually processed: \([0-9]*\).*/\1/p' <<<"$out")
  sleep 1
  awk -v layout="$1" -v title="$2" -v n="$((batches * 100))" -v s="$seconds" -v hz="$(getconf CLK_TCK)" \
    -v cpu="$(($(server_cpu) - before_cpu))" -v wal="$(sql -c "select pg_current_wal_lsn() - '$before_wal'::pg_lsn")" \
    -v claim="$(awk '/with due as/ {print $1}' <<<"$out")" \
    -v hot="$(sql -c "select round(100.0 * sum(n_tup_hot_upd) / nullif(sum(n_tup_upd), 0)) from pg_stat_user_tables where schemaname = '$1' and relname like 'messages_%'")" \
    'BEGIN { printf "%-22s %s  %6d messages/s  %4d us CPU  %5d B WAL  claim of 100: %6.2f ms  HOT on messages: %s %%\n",
             title, layout, n / s, cpu / hz * 1e6 / n, wal / n, claim, hot }'
}

echo "$(nproc) cores, $(free -g | awk '/Mem/ {print $2}') GiB, $("$bin/postgres" --version), fillfactor ${FILLFACTOR:-70}, $clients clients, $seconds s per round"
sql -v fillfactor="${FILLFACTOR:-70}" -f "$here/schema.sql" >/dev/null
for _ in $(seq "$rounds"); do
  empty
  printf 'one row per commit, 64 clients: %d/s\n' \
    "$("$bin/pgbench" -n -M prepared -c 64 -j 2 -T "$seconds" -f "$here/insert_one.sql" 2>&1 | sed -n 's/^tps = \([0-9]*\).*/\1/p')"
  for layout in a b; do empty; life $layout 'empty tables'; done
done
empty
sql -v finished="${FINISHED:-1000000}" -v waiting="${WAITING:-200000}" -f "$here/backlog.sql" >/dev/null
for _ in $(seq "$rounds"); do for layout in a b; do life $layout 'backlog + history'; done; done
sql -c "select nspname || ': ' || pg_size_pretty(sum(pg_total_relation_size(c.oid))) || ', of it indexes ' || pg_size_pretty(sum(pg_indexes_size(c.oid)))
        from pg_class c join pg_namespace n on n.oid = relnamespace where nspname in ('a', 'b') and relkind = 'r' group by nspname order by 1"
