CREATE TABLE stats (
    items integer NOT NULL,
    total real NOT NULL
);
INSERT INTO stats SELECT count(*), coalesce(sum(value), 0) FROM items;
