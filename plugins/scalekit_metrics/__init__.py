"""Count and time requests, and show what every part of the service counts to Prometheus."""
