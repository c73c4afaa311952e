"""The plugin API: run any ASGI application with plugins, described by one TOML file."""

from starlette.middleware import Middleware

from scalekit.app import create_app
from scalekit.app_loader import describe_error
from scalekit.background_task import background_task
from scalekit.config import Duration, HttpUrl, Network, Networks, Port, Rate, Secret, Size, Table, Tls, Url
from scalekit.config.app_name import SERVICE_NAME_PATTERN, AppName
from scalekit.config.deploy_mark import DeployMark
from scalekit.config.field_types import (
    HostName,
    Method,
    Origin,
    PositiveDuration,
    PositiveSize,
    check_origin,
    is_loopback,
    loopback_of,
)
from scalekit.config.name_suggestion import did_you_mean, suggest_name
from scalekit.config.password_mask import MASK, mask_passwords, mask_url
from scalekit.config.path_glob import PathGlob, case_insensitive_match, path_variants
from scalekit.config.tables import Server, split_address
from scalekit.config.text_pattern import TextPattern
from scalekit.config.text_redaction import Redactor
from scalekit.config.url_syntax import UrlParts, split_url
from scalekit.context import Context, Key
from scalekit.diagnostic import (
    CONNECTION_USES,
    INSTANCES,
    ConnectionUse,
    Diagnostic,
    Finding,
    Severity,
    clock_findings,
    process_count,
    separate_stores,
)
from scalekit.errors import (
    ConfigError,
    PluginError,
    Problem,
    ReadOnlyError,
    ResourceError,
    ScalekitError,
    StartError,
    Unavailable,
)
from scalekit.file_lock import lock_file, unlock_file
from scalekit.health.check import Check
from scalekit.hookspecs import hookimpl
from scalekit.http.content_codings import choose_coding
from scalekit.http.exchange import Exchange
from scalekit.http.filter import LATER, Decision, Filter, Pending
from scalekit.http.header_index import HeaderNames
from scalekit.http.operator_access import OperatorAccess, PageAccess
from scalekit.http.problem import ProblemError, ProblemResponse, send_problem
from scalekit.http.request_body import read_body, read_json_object
from scalekit.http.request_context import DEADLINE, REQUEST_CONTEXT, TIMEOUT_HEADER
from scalekit.http.request_line import route_path, with_head
from scalekit.http.response import LocalResponse, local_problem, local_response
from scalekit.http.route_template import ROUTE_TEMPLATE
from scalekit.http.router import IS_PLUGIN_REQUEST, ManagementRoute
from scalekit.http.trace_context import (
    REQUEST_ID,
    TRACE_CONTEXT,
    TRACEPARENT,
    TRACESTATE,
    TraceContext,
    new_request_id,
    parse_trace_context,
    trace_context_of,
)
from scalekit.http.websocket_exchange import WebSocketExchange
from scalekit.layers import Layer, LayeredFilter
from scalekit.lifespan import Lifespan
from scalekit.memo import Memo
from scalekit.message_hub import WORKER_HUB, HubClient, HubLimits, HubMessage, WorkerHub
from scalekit.operator_client import call_operator_page
from scalekit.path_table import PathTable
from scalekit.runner.memory.usage import rss
from scalekit.server_info import SERVER_INFO, WORKER, ServerInfo, warn_about_multiple_processes
from scalekit.server_requirement import ServerRequirement, required_server
from scalekit.strict_json import encode_json
from scalekit.terminal import format_duration, print_table
from scalekit.traceback_text import format_traceback, related_exceptions

__all__ = [
    "CONNECTION_USES",
    "DEADLINE",
    "INSTANCES",
    "IS_PLUGIN_REQUEST",
    "LATER",
    "MASK",
    "REQUEST_CONTEXT",
    "REQUEST_ID",
    "ROUTE_TEMPLATE",
    "SERVER_INFO",
    "SERVICE_NAME_PATTERN",
    "TIMEOUT_HEADER",
    "TRACEPARENT",
    "TRACESTATE",
    "TRACE_CONTEXT",
    "WORKER",
    "WORKER_HUB",
    "AppName",
    "Check",
    "ConfigError",
    "ConnectionUse",
    "Context",
    "Decision",
    "DeployMark",
    "Diagnostic",
    "Duration",
    "Exchange",
    "Filter",
    "Finding",
    "HeaderNames",
    "HostName",
    "HttpUrl",
    "HubClient",
    "HubLimits",
    "HubMessage",
    "Key",
    "Layer",
    "LayeredFilter",
    "Lifespan",
    "LocalResponse",
    "ManagementRoute",
    "Memo",
    "Method",
    "Middleware",
    "Network",
    "Networks",
    "OperatorAccess",
    "Origin",
    "PageAccess",
    "PathGlob",
    "PathTable",
    "Pending",
    "PluginError",
    "Port",
    "PositiveDuration",
    "PositiveSize",
    "Problem",
    "ProblemError",
    "ProblemResponse",
    "Rate",
    "ReadOnlyError",
    "Redactor",
    "ResourceError",
    "ScalekitError",
    "Secret",
    "Server",
    "ServerInfo",
    "ServerRequirement",
    "Severity",
    "Size",
    "StartError",
    "Table",
    "TextPattern",
    "Tls",
    "TraceContext",
    "Unavailable",
    "Url",
    "UrlParts",
    "WebSocketExchange",
    "WorkerHub",
    "background_task",
    "call_operator_page",
    "case_insensitive_match",
    "check_origin",
    "choose_coding",
    "clock_findings",
    "create_app",
    "describe_error",
    "did_you_mean",
    "encode_json",
    "format_duration",
    "format_traceback",
    "hookimpl",
    "is_loopback",
    "local_problem",
    "local_response",
    "lock_file",
    "loopback_of",
    "mask_passwords",
    "mask_url",
    "new_request_id",
    "parse_trace_context",
    "path_variants",
    "print_table",
    "process_count",
    "read_body",
    "read_json_object",
    "related_exceptions",
    "required_server",
    "route_path",
    "rss",
    "send_problem",
    "separate_stores",
    "split_address",
    "split_url",
    "suggest_name",
    "trace_context_of",
    "unlock_file",
    "warn_about_multiple_processes",
    "with_head",
]
