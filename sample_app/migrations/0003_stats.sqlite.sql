CREATE TABLE stats (
  items BIGINT NOT NULL,
  total REAL NOT NULL
);
INSERT INTO stats SELECT count(*), coalesce(sum(value), 0) FROM items;
