#!/usr/bin/env bash
# Measures the two layouts of docs/adr/0001-queue-table.md against each other on a throw-away PostgreSQL.
# Usage: benches/queue_layout.sh [seconds per round] [rounds] [clients]
# Rounds are short and alternate, so that what else the machine does falls on both; the medians stand at the end.
# As root the server runs as user postgres. Environment: FILLFACTOR (70), FINISHED (1000000), WAITING (200000).
set -euo pipefail

seconds=${1:-5} rounds=${2:-9} clients=${3:-4}
here=$(cd "$(dirname "$0")/queue_layout" && pwd)
bin=$(dirname "$(readlink -f "$(command -v postgres || find /usr/lib/postgresql -name postgres -type f | sort -V | tail -1)")")
dir=$(mktemp -d /tmp/queue_layout.XXXXXX)
# With `id = any ($1)` the server keeps to custom plans, which touch only the partitions that the ids lie in.
export PGHOST=$dir PGUSER=postgres PGDATABASE=postgres PGOPTIONS="-c plan_cache_mode=${PLAN:-auto}"

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
    -v claim="$(awk '/with (due|claimed) as|^ .*as ids from \(|sum\(length\(body\)\) as length from a/ { ms += $1 } END { print ms }' <<<"$out")" \
    -v hot="$(sql -c "select round(100.0 * sum(n_tup_hot_upd) / nullif(sum(n_tup_upd), 0)) from pg_stat_user_tables where schemaname = '$1' and relname like 'messages_%'")" \
    'BEGIN { printf "%s %s %d %d %d %.2f %s\n", title, layout, n / s, cpu / hz * 1e6 / n, wal / n, claim, hot }' |
    tee -a "$dir/rounds"
}

median() { awk -v t="$1" -v l="$2" '$1 == t && $2 == l' "$dir/rounds" | cut -d' ' -f"$3" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

echo "$(nproc) cores, $(free -g | awk '/Mem/ {print $2}') GiB, $("$bin/postgres" --version), fillfactor ${FILLFACTOR:-70}, $clients clients, $seconds s per round"
echo 'what layout messages/s backend-CPU-us/message WAL-bytes/message claim-of-100-ms HOT-%-of-messages'
sql -v fillfactor="${FILLFACTOR:-70}" -f "$here/schema.sql" >/dev/null
for _ in $(seq "$rounds"); do
  empty
  printf 'insert_one - %d 0 0 0 0\n' \
    "$("$bin/pgbench" -n -M prepared -c 64 -j 2 -T "$seconds" -f "$here/insert_one.sql" 2>&1 | sed -n 's/^tps = \([0-9]*\).*/\1/p')" | tee -a "$dir/rounds"
  for layout in a b; do empty; life $layout empty_tables; done
done
empty
sql -v finished="${FINISHED:-1000000}" -v waiting="${WAITING:-200000}" -f "$here/backlog.sql" >/dev/null
for _ in $(seq "$rounds"); do for layout in a b; do life $layout backlog_and_history; done; done
sql -c "select nspname || ': ' || pg_size_pretty(sum(pg_total_relation_size(c.oid))) || ', of it indexes ' || pg_size_pretty(sum(pg_indexes_size(c.oid)))
        from pg_class c join pg_namespace n on n.oid = relnamespace where nspname in ('a', 'b') and relkind = 'r' group by nspname order by 1"
echo "medians of $rounds rounds"
for what in 'insert_one -' 'empty_tables a' 'empty_tables b' 'backlog_and_history a' 'backlog_and_history b'; do
  read -r title layout <<<"$what"
  echo "$title $layout $(for field in 3 4 5 6 7; do median "$title" "$layout" $field; done | paste -sd' ')"
done
