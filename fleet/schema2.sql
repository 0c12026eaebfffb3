-- Version 2.

-- The digests of what the changes of a run were made from.
CREATE TABLE fleet_source (
	run    BIGINT NOT NULL,
	digest TEXT   NOT NULL,
	PRIMARY KEY (run, digest)
);

-- before is now the token before the first attempt that may have been applied.
ALTER TABLE fleet_change ADD COLUMN base TEXT;                         -- the token that sent was made for; NULL if that is before
ALTER TABLE fleet_change ADD COLUMN tries BIGINT NOT NULL DEFAULT 0;   -- how often it was put off because of a failure
ALTER TABLE fleet_change ADD COLUMN put_off BIGINT NOT NULL DEFAULT 0; -- when it was put off last
ALTER TABLE fleet_change ADD COLUMN due BIGINT NOT NULL DEFAULT 0;     -- when to look at it again
