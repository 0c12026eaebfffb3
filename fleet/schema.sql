-- The tables of fleet, for SQLite and for Postgres. {id} is a key that the database numbers and never gives twice.
-- Times are microseconds since 1970 by the database's own clock.

-- A run: one change a token.
CREATE TABLE fleet_run (
	id          {id},
	name        TEXT   NOT NULL UNIQUE,
	label       TEXT   NOT NULL DEFAULT '', -- the caller's own
	created     BIGINT NOT NULL,
	fed         BIGINT NOT NULL DEFAULT 0, -- how often jobs were made for it; writing it keeps two processes from doing so at once
	stops       BIGINT NOT NULL DEFAULT 0, -- how often it stopped by itself
	stop_reason TEXT   NOT NULL DEFAULT ''
);

-- A change, and what became of it.
CREATE TABLE fleet_change (
	run        BIGINT NOT NULL,
	seq        BIGINT NOT NULL,                  -- from 1, in the order in which they were added
	api        TEXT   NOT NULL,                  -- v1 or v2
	token      TEXT   NOT NULL,                  -- its id, in canonical form
	body       TEXT   NOT NULL,                  -- the change, as JSON
	job        BIGINT,                           -- the job of River's that works on it; NULL before there was one
	fence      TEXT   NOT NULL DEFAULT '',       -- who wrote last; whoever has read another one may not write
	outcome    TEXT   NOT NULL DEFAULT 'pending',
	before     TEXT,                             -- the token before the change, without its value
	after      TEXT,                             -- the token after the change, without its value
	sent       TEXT,                             -- the patch that was sent last
	error      TEXT   NOT NULL DEFAULT '',
	error_type TEXT   NOT NULL DEFAULT '',
	code       TEXT   NOT NULL DEFAULT '',
	status     BIGINT NOT NULL DEFAULT 0,
	started    BIGINT,
	ended      BIGINT,
	PRIMARY KEY (run, seq),
	UNIQUE (run, api, token)
);

CREATE INDEX fleet_change_outcome ON fleet_change (run, outcome, seq);

-- An attempt: written before its request is sent.
CREATE TABLE fleet_attempt (
	run     BIGINT NOT NULL,
	seq     BIGINT NOT NULL,
	number  BIGINT NOT NULL,          -- from 1
	started BIGINT NOT NULL,
	outcome TEXT   NOT NULL DEFAULT '', -- empty: not known, or not yet; overtaken: it can be applied no more
	status  BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (run, seq, number)
);

-- A process that works on runs, as long as it lives.
CREATE TABLE fleet_process (
	id   TEXT   PRIMARY KEY, -- of its River client
	seen BIGINT NOT NULL
);

-- The state of a rate limit that many programs share.
CREATE TABLE fleet_budget (
	name    TEXT   PRIMARY KEY,
	state   {bytes} NOT NULL,
	expires BIGINT NOT NULL
);
