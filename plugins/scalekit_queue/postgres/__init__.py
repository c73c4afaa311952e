"""PostgreSQL transport: messages in tables of the pool's database or of another one."""
