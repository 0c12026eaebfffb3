-- Version 3.

-- The custom roles of the account, as they were when the changes of a run that name some were resolved.
CREATE TABLE fleet_role (
	run  BIGINT NOT NULL,
	id   TEXT   NOT NULL,
	key  TEXT   NOT NULL,
	name TEXT   NOT NULL,
	PRIMARY KEY (run, id),
	UNIQUE (run, key)
);

-- What a program notes about a run, under the run's name, since that is noted before the run is made.
CREATE TABLE fleet_note (
	run  TEXT NOT NULL,
	name TEXT NOT NULL,
	text {bytes},
	PRIMARY KEY (run, name)
);
