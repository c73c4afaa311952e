CREATE TABLE users (
    id integer PRIMARY KEY AUTOINCREMENT,
    email text NOT NULL UNIQUE,
    active boolean NOT NULL
);
CREATE TABLE profiles (
    user_id integer PRIMARY KEY REFERENCES users (id),
    name text NOT NULL,
    avatar text
);
