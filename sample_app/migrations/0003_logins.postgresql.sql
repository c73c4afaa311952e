CREATE TABLE logins (
    username text PRIMARY KEY,
    password text NOT NULL
);
-- testuser, whose password is testpass: for trying the sample only.
INSERT INTO logins (username, password)
VALUES ('testuser', '$argon2id$v=19$m=19456,t=2,p=1$7U1WZFexeCVc5vMIj6mRNw$/nl4G5RGRR5h+BxBSBR4kLfOTph9VShK+IbR0FTSBps');
