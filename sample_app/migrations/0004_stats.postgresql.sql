CREATE TABLE stats (
    items bigint NOT NULL,
    total double precision NOT NULL
);
INSERT INTO stats SELECT count(*), coalesce(sum(value), 0) FROM items;
