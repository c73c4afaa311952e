"""Jobs: the status, the result and the cancellation of messages whose consumer has ``result_ttl``."""
