CREATE TABLE items (
    id integer PRIMARY KEY AUTOINCREMENT,
    name text NOT NULL,
    value double precision NOT NULL
);
