"""Plugin ``tracing``: record spans, decide at the end of a trace whether it is kept, and export it as OTLP."""
