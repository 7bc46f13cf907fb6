"""What an API server's refusal means for people: from a status code and its body to an error with a remedy. Pure.

`Ask` is what was asked: the remedy names the verb, the resource and the namespace. Knows no client and no connection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from .errors import (
    AlreadyThereError,
    ClusterAwayError,
    ClusterError,
    ListExpiredError,
    NotFoundError,
    NotServedError,
    UsageError,
)
from .texts import _, ngettext

ASK_AGAIN = frozenset({429, 500, 502, 503, 504})
"""429 comes also from an API server that is still getting ready to serve a kind."""

INSTALL = _(
    "install vidbench: helm install vidbench charts/vidbench -n vidbench-system --create-namespace (docs/install.md)"
)
ENOUGH = 5


@dataclass(frozen=True)
class Resource:
    """A kind of objects as the API names it."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True

    @property
    def full_name(self) -> str:
        """Return the name for kubectl: plural and group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Return the URL path of an object, or, without a name, of all of a namespace (None: of all namespaces)."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return "/".join(part for part in (f"{root}{scope}/{self.plural}", name, subresource) if part)


@dataclass(frozen=True)
class Ask:
    """One request, in the words of RBAC."""

    verb: str
    resource: Resource
    namespace: str | None
    name: str = ""
    subresource: str = ""
    context: str | None = None

    @property
    def target(self) -> str:
        """Return the resource with its subresource, as RBAC spells it."""
        return f"{self.resource.full_name}/{self.subresource}" if self.subresource else self.resource.full_name

    @property
    def flags(self) -> str:
        """Return the flags that lead kubectl to the same place."""
        scope = (f" -n {self.namespace}" if self.namespace else " -A") if self.resource.namespaced else ""
        return scope + (f" --context {self.context}" if self.context else "")


def explain_refusal(ask: Ask, status: int, body: Mapping[str, Any]) -> ClusterError | UsageError:
    """Return the error for an answer that is no success; `body` is the metav1.Status, or empty."""
    said = str(body.get("message") or "")
    if status == 401:
        return ClusterError(
            _("the API server does not know you (401)"),
            _("log in again, or look at the user of this context: kubectl config view --minify"),
        )
    if status == 403:
        return _forbidden(ask, said)
    if status == 404:
        return _not_found(ask, body)
    if status == 409 and body.get("reason") == "AlreadyExists":
        look = f"kubectl get {ask.resource.full_name} {ask.name}{ask.flags}"
        return AlreadyThereError(
            _("{kind} {name!r} is there already").format(kind=ask.resource.kind, name=ask.name),
            _("look at it, and delete it or choose another name: {look}").format(look=look),
        )
    if status == 409:
        return ClusterError(_("{kind} {name!r}: {said}").format(kind=ask.resource.kind, name=ask.name, said=said))
    if status == 410:
        text = _("the API server has forgotten where the list of {target} was to go on")
        return ListExpiredError(text.format(target=ask.target), _("begin again"))
    if status in (400, 422) or (status == 500 and said.startswith("failed to create typed patch object")):
        # Server-side apply says 500 of an unknown field or a wrong type, where other calls say 400.
        return _refused(ask, status, body)
    if status in ASK_AGAIN:
        return ClusterAwayError(
            _("the API server cannot answer at the moment ({status}): {said}").format(status=status, said=said or "-"),
            _("try again in a moment"),
        )
    return ClusterError(_("the API server answered {status}: {said}").format(status=status, said=said or "-"))


def _forbidden(ask: Ask, said: str) -> ClusterError:
    where = _(" in namespace {name!r}").format(name=ask.namespace) if ask.resource.namespaced and ask.namespace else ""
    if "is forbidden: User" not in said and said:
        # Admission refuses with 403 too: a policy, a quota, a namespace that is being deleted.
        text = _("the cluster refuses to {verb} {target}{where}: {said}")
        return ClusterError(text.format(verb=ask.verb, target=ask.target, where=where, said=said))
    check = f"kubectl auth can-i {ask.verb} {ask.target}{ask.flags}"
    return ClusterError(
        _("you may not {verb} {target}{where}").format(verb=ask.verb, target=ask.target, where=where),
        _("ask an admin for that right (docs/install.md has the roles); check it with: {check}").format(check=check),
    )


def _not_found(ask: Ask, body: Mapping[str, Any]) -> ClusterError:
    details = body.get("details") or {}
    if details.get("kind") == "namespaces" and ask.resource.namespaced:
        return no_namespace(str(details.get("name")))
    if not details.get("name"):
        # The path itself is unknown: an object that is missing is named in `details`.
        text = _("this cluster does not know {target}: the CRDs of vidbench are missing or of another version")
        return NotServedError(text.format(target=ask.target), INSTALL)
    return NotFoundError(_missing(ask))


def no_namespace(name: str, near: str = "") -> ClusterError:
    """Return the error for a namespace that is not there; `near` says which are."""
    make = _("make it: kubectl create namespace {name}").format(name=name)
    return ClusterError(_("there is no namespace {name!r}").format(name=name), "\n".join(filter(None, (near, make))))


def _missing(ask: Ask) -> str:
    text = _("there is no {kind} {name!r}").format(kind=ask.resource.kind, name=ask.name)
    if ask.resource.namespaced and ask.namespace:
        text += _(" in namespace {namespace!r}").format(namespace=ask.namespace)
    return text


def not_found_near(ask: Ask, here: Sequence[str], elsewhere: Sequence[str]) -> NotFoundError:
    """Return the error for a name that is not there: names near it, or the namespaces that have it."""
    if elsewhere:
        remedy = _("there is one in {where}: add -n {first}").format(
            where=", ".join(elsewhere[:ENOUGH]), first=elsewhere[0]
        )
    elif near := get_close_matches(ask.name, here, n=3, cutoff=0.5):
        remedy = _("did you mean {names}?").format(names=_(" or ").join(near))
    elif here:
        remedy = _("there are: {names}").format(
            names=", ".join(sorted(here)[:ENOUGH]) + (", ..." if len(here) > ENOUGH else "")
        )
    else:
        remedy = _("there is none at all there; another namespace (-n) or context (--context)?")
    return NotFoundError(_missing(ask), remedy)


def _refused(ask: Ask, status: int, body: Mapping[str, Any]) -> UsageError | ClusterError:
    causes = (body.get("details") or {}).get("causes") or []
    fields = [f"{cause.get('field', '')}: {cause.get('message', '')}".lstrip(": ") for cause in causes]
    if not fields:
        return UsageError(
            _("the API server refuses {kind} {name!r}: {said}").format(
                kind=ask.resource.kind, name=ask.name, said=body.get("message") or status
            ),
            _("the fields that there are: kubectl explain {plural} --recursive").format(plural=ask.resource.plural),
        )
    text = ngettext(
        "the API server refuses {kind} {name!r}: {count} field is wrong",
        "the API server refuses {kind} {name!r}: {count} fields are wrong",
        len(fields),
    )
    return UsageError(text.format(kind=ask.resource.kind, name=ask.name, count=len(fields)), "\n".join(fields))


def explain_silence(server: str, said: str, context: str | None) -> ClusterAwayError:
    """Return the error for a server that gave no answer at all."""
    where = f"{server} (context {context})" if context else server
    # urllib3 puts host and port in front, which are in `server`.
    said = said.rpartition("): ")[2]
    if "certificate verify failed" in said.lower():
        text = _("the certificate of {where} is not trusted: {said}")
        remedy = _("the kubeconfig's certificate-authority is of another cluster, or out of date")
    elif "name resolution" in said.lower() or "name or service not known" in said.lower():
        text = _("the name of {where} leads nowhere: {said}")
        remedy = _("is the network or VPN up? Another context: kubectl config get-contexts, then --context NAME")
    else:
        text = _("no cluster answers at {where}: {said}")
        remedy = _(
            "is it running? kubectl cluster-info; another context: kubectl config get-contexts, then --context NAME"
        )
    return ClusterAwayError(text.format(where=where, said=said), remedy)
