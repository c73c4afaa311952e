CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE,
    active boolean NOT NULL
);
CREATE TABLE profiles (
    user_id bigint PRIMARY KEY REFERENCES users (id),
    name text NOT NULL,
    avatar text
);
