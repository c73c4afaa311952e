"""Contracts between plugins: protocols, and the keys under which plugins provide them."""

from scalekit.contracts.advice import ADVISERS, Advice, Adviser
from scalekit.contracts.broadcast import BROADCAST, Broadcast, BroadcastMessage, SubscriberTooSlow, Subscription
from scalekit.contracts.cache import CACHE, CLUSTER_CACHE, CLUSTER_STORE, TTL, Cache
from scalekit.contracts.consistency import CONSISTENCY, CONSISTENCY_HEADER, Consistency
from scalekit.contracts.consumer_options import to_seconds, validate_message_name
from scalekit.contracts.consumers import Consumer, Consumers, PublishedMessage
from scalekit.contracts.content_codings import CODING_NEGOTIATOR, CodingNegotiator
from scalekit.contracts.cron import Cron
from scalekit.contracts.csrf import CSRF_PROTECTION, CSRF_RISKS
from scalekit.contracts.database import (
    DATABASE,
    DATABASES,
    SESSION,
    STATEMENT_LOG,
    TABLE_OBSERVER,
    Database,
    Databases,
    OuterTransaction,
    Row,
    Session,
    Statements,
    TableObserver,
    Tables,
    Values,
)
from scalekit.contracts.explainer import REQUEST_EXPLAINER, ExplainedRequest, FilterTime, RequestExplainer
from scalekit.contracts.jobs import JobState, JobStatus, Then
from scalekit.contracts.limits import LIMITS, Limits
from scalekit.contracts.log_levels import LOG_LEVEL_OVERRIDES, LogLevelOverrides, LogLevels
from scalekit.contracts.log_lines import LATEST_LOG_LINES, LatestLogLines, LogLine
from scalekit.contracts.messages import Message, PublishFailed
from scalekit.contracts.overrides import OVERRIDES, Override, OverrideChange, OverrideGroup, Overrides
from scalekit.contracts.queue import QUEUE, Queue
from scalekit.contracts.replicas import (
    CONSISTENCY_TOKENS,
    READ_ROUTER,
    READS,
    REPLICAS,
    ConsistencyTokens,
    ReadRoute,
    ReadRouter,
    Replicas,
    ReplicaState,
)
from scalekit.contracts.schedules import Every, MissedPolicy, OverlapPolicy, Rule, Schedule, Tick
from scalekit.contracts.schema import DatabaseSchema, TableDefinition
from scalekit.contracts.services import SERVICES, Instance, ServiceClient, Services
from scalekit.contracts.subjects import SubjectIdentifier, is_authenticated, subject_in, subject_of
from scalekit.contracts.tasks import DURABLE_TASKS, DurableTask, DurableTasks, TaskFunction
from scalekit.contracts.tokens import TOKENS, IssuedTokens, Tokens
from scalekit.contracts.tracer import KEPT_TRACES, TRACER, KeptTraces, Tracer

__all__ = [
    "ADVISERS",
    "BROADCAST",
    "CACHE",
    "CLUSTER_CACHE",
    "CLUSTER_STORE",
    "CODING_NEGOTIATOR",
    "CONSISTENCY",
    "CONSISTENCY_HEADER",
    "CONSISTENCY_TOKENS",
    "CSRF_PROTECTION",
    "CSRF_RISKS",
    "DATABASE",
    "DATABASES",
    "DURABLE_TASKS",
    "KEPT_TRACES",
    "LATEST_LOG_LINES",
    "LIMITS",
    "LOG_LEVEL_OVERRIDES",
    "OVERRIDES",
    "QUEUE",
    "READS",
    "READ_ROUTER",
    "REPLICAS",
    "REQUEST_EXPLAINER",
    "SERVICES",
    "SESSION",
    "STATEMENT_LOG",
    "TABLE_OBSERVER",
    "TOKENS",
    "TRACER",
    "TTL",
    "Advice",
    "Adviser",
    "Broadcast",
    "BroadcastMessage",
    "Cache",
    "CodingNegotiator",
    "Consistency",
    "ConsistencyTokens",
    "Consumer",
    "Consumers",
    "Cron",
    "Database",
    "DatabaseSchema",
    "Databases",
    "DurableTask",
    "DurableTasks",
    "Every",
    "ExplainedRequest",
    "FilterTime",
    "Instance",
    "IssuedTokens",
    "JobState",
    "JobStatus",
    "KeptTraces",
    "LatestLogLines",
    "Limits",
    "LogLevelOverrides",
    "LogLevels",
    "LogLine",
    "Message",
    "MissedPolicy",
    "OuterTransaction",
    "OverlapPolicy",
    "Override",
    "OverrideChange",
    "OverrideGroup",
    "Overrides",
    "PublishFailed",
    "PublishedMessage",
    "Queue",
    "ReadRoute",
    "ReadRouter",
    "ReplicaState",
    "Replicas",
    "RequestExplainer",
    "Row",
    "Rule",
    "Schedule",
    "ServiceClient",
    "Services",
    "Session",
    "Statements",
    "SubjectIdentifier",
    "SubscriberTooSlow",
    "Subscription",
    "TableDefinition",
    "TableObserver",
    "Tables",
    "TaskFunction",
    "Then",
    "Tick",
    "Tokens",
    "Tracer",
    "Values",
    "is_authenticated",
    "subject_in",
    "subject_of",
    "to_seconds",
    "validate_message_name",
]
