"""RabbitMQ transport: publishing with confirms, consuming, and the queues' declarations."""
