"""What is known of a request once its response begins, beside what was known when it was looked up."""

from __future__ import annotations

from typing import Protocol

from starlette.types import Scope

from scalekit_cache.cache_status import Refusal
from scalekit_cache.decorator import marked
from scalekit_cache.keys import shows_secret
from scalekit_cache.policies import Policies, Policy
from scalekit_cache.request import Asked
from scalekit_cache.route_parameters import RouteReads
from scalekit_cache.stored_response import DECLARED, UNSEEN
from scalekit_cache.user_detection import State, recognise


class Knowledge(Protocol):
    """What the cache knows of handlers and routes."""

    policies: Policies
    routes: RouteReads


def learn(knowledge: Knowledge, scope: Scope, asked: Asked, policy: Policy, known: State) -> Policy | Refusal:
    """Let *asked* know what the application has found out; return the policy of the handler, or why nothing is kept.

    The application has left in *scope* which handler it was, and the user; *policy* is that of the path,
    and *known* what its state had before.
    """
    if asked.has_body:
        return Refusal.REQUEST_BODY
    mark = marked(scope)
    if mark is not None:
        policy = knowledge.policies.merged(mark, policy)
    reads = knowledge.routes.of(scope)
    if reads is not None:
        if reads.query and shows_secret(scope["query_string"], reads.query, policy.query):
            return Refusal.DECLARED
        policy = knowledge.policies.reading(policy, reads)
        if asked.shows(reads.credentials):
            asked.credentials |= DECLARED
        if reads.looks and knowledge.routes.shows_strange(scope, {*policy.vary, *reads.credentials}):
            asked.credentials |= UNSEEN
    recognise(asked, scope, policy, known)
    return policy
