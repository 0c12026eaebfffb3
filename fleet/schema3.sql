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
