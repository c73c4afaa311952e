"""What is known of a request once its response begins, beside what was known when it was looked up."""

from __future__ import annotations

from typing import Protocol

from starlette.types import Scope

from scalekit_cache.cache_status import NotStored
from scalekit_cache.decorator import policy_of
from scalekit_cache.keys import has_secret_parameter
from scalekit_cache.policies import CachePolicies, CachePolicy
from scalekit_cache.request import CacheRequest
from scalekit_cache.route_parameters import RouteInspector
from scalekit_cache.stored_response import DECLARED, UNSEEN
from scalekit_cache.user_detection import State, detect_user


class Knowledge(Protocol):
    """What the cache knows of handlers and routes."""

    policies: CachePolicies
    routes: RouteInspector


def reevaluate(
    knowledge: Knowledge, scope: Scope, asked: CacheRequest, policy: CachePolicy, known: State
) -> CachePolicy | NotStored:
    """Let *asked* know what the application has found out; return the policy of the handler, or why nothing is kept.

    The application has left in *scope* which handler it was, and the user; *policy* is that of the path,
    and *known* what its state had before.
    """
    if asked.has_body:
        return NotStored.REQUEST_BODY
    mark = policy_of(scope)
    if mark is not None:
        policy = knowledge.policies.merged(mark, policy)
    reads = knowledge.routes.of(scope)
    if reads is not None:
        if reads.query and has_secret_parameter(scope["query_string"], reads.query, policy.query):
            return NotStored.DECLARED
        policy = knowledge.policies.reading(policy, reads)
        if asked.shows(reads.credentials):
            asked.credentials |= DECLARED
        if reads.looks and knowledge.routes.shows_strange(scope, {*policy.vary, *reads.credentials}):
            asked.credentials |= UNSEEN
    detect_user(asked, scope, policy, known)
    return policy
