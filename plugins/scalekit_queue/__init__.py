"""Durable messages with at-least-once delivery: publisher, consumers, retries, dead letters, outbox and inbox."""
