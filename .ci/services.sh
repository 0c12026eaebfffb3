# shellcheck shell=bash
# Sourced by run: the services that tests of modules talk to. One that listens on its usual port is used as it is; otherwise
# a new one is started there, from Debian's packages if it is not installed, and ended with the run. Its files are in $tmp.

services_started=()

stop_services() {
	local stop
	for stop in ${services_started[@]+"${services_started[@]}"}; do
		"$stop" || true
	done
}

# services_for starts what the module in folder $1 needs, by what its go.mod requires.
services_for() {
	local gomod=$1/go.mod
	if grep -q 'github.com/redis/go-redis/' "$gomod"; then need_redis; fi
	if grep -q 'github.com/jackc/pgx/' "$gomod"; then need_postgres; fi
	if grep -q '/fleet$' "$gomod"; then need_pgbouncer; fi
	if grep -q 'github.com/chromedp/' "$gomod"; then need_chromium; fi
	if grep -q '/cmd/tokenpatch$' "$gomod"; then need_jq; fi
}

need_redis() {
	! listens 6379 || return 0
	command -v redis-server >/dev/null || install redis-server
	mkdir -p "$tmp/redis"
	redis-server --bind 127.0.0.1 --port 6379 --save '' --appendonly no --dir "$tmp/redis" --daemonize yes >/dev/null
	services_started+=(stop_redis)
	wait_for 6379
}

stop_redis() { redis-cli -p 6379 shutdown nosave; }

# need_postgres sees to a server that lets everybody on this machine in as postgres, with a database named test.
need_postgres() {
	! listens 5432 || return 0
	[ -n "$(find_initdb)" ] || install postgresql
	postgres_bin=$(dirname "$(find_initdb)")
	mkdir -p "$tmp/postgres"
	if [ "$(id -u)" = 0 ]; then
		# PostgreSQL does not run as root.
		chmod 755 "$tmp"
		chown postgres "$tmp/postgres"
		postgres_as=(runuser -u postgres --)
	fi
	postgres initdb -D "$tmp/postgres/data" -U postgres -A trust >/dev/null
	postgres pg_ctl -D "$tmp/postgres/data" -l "$tmp/postgres/log" -w \
		-o "-p 5432 -c listen_addresses=127.0.0.1 -c unix_socket_directories=$tmp/postgres" start >/dev/null
	services_started+=(stop_postgres)
	createdb -h 127.0.0.1 -p 5432 -U postgres test
}

find_initdb() { command -v initdb || find /usr/lib/postgresql -name initdb 2>/dev/null | sort -V | tail -1; }

postgres_as=() postgres_bin=''

# postgres runs one of PostgreSQL's commands as the user that it needs, in a folder that this user may enter.
postgres() { (cd "$tmp/postgres" && ${postgres_as[@]+"${postgres_as[@]}"} "$postgres_bin/$@"); }

stop_postgres() { postgres pg_ctl -D "$tmp/postgres/data" -m immediate stop >/dev/null; }

need_pgbouncer() { command -v pgbouncer >/dev/null || install pgbouncer; }

need_jq() { command -v jq >/dev/null || install jq; }

need_chromium() { command -v chromium >/dev/null || install chromium; }

# install installs one of Debian's packages, without starting what it brings: the ports are ours.
install() {
	command -v apt-get >/dev/null || fail "Debian's package $1 is needed, or the like of it, and there is no apt-get"
	[ "$(id -u)" = 0 ] || fail "a package is needed: apt-get install $1"
	local policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
		policy_is_ours=yes
	fi
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$1" >/dev/null
	[ -z "${policy_is_ours:-}" ] || rm -f "$policy"
}

# listens tells whether something listens on local port $1.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

wait_for() {
	local tries
	for ((tries = 0; tries < 100; tries++)); do
		! listens "$1" || return 0
		sleep 0.1
	done
	fail "nothing listens on port $1"
}
