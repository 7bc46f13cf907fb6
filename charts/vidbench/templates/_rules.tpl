{{/* What the operator does in the namespaces that it serves. No secrets, no pods/exec, no roles, and pods are only read. */}}
{{- define "vidbench.namespacedRules" -}}
- apiGroups: [vidbench.io]
  resources: [benchmarkruns]
  # delete: only when a run's ttl.runSeconds are over.
  verbs: [get, list, watch, delete]
- apiGroups: [vidbench.io]
  resources: [benchmarkruns/status]
  verbs: [update, patch]
- apiGroups: [vidbench.io]
  # Where OwnerReferencesPermissionEnforcement is on, children that block the deletion of their owner need this.
  resources: [benchmarkruns/finalizers]
  verbs: [update]
- apiGroups: [vidbench.io]
  resources: [videomodels]
  verbs: [get, list, watch]
- apiGroups: [vidbench.io]
  resources: [benchmarkresults]
  verbs: [get, list, create{{ if or .Values.ledger.maxAgeSeconds .Values.ledger.maxPerNamespace }}, delete{{ end }}]
- apiGroups: [""]
  # Request documents. They are immutable, and the garbage collector removes them.
  resources: [configmaps]
  verbs: [get, create]
- apiGroups: [kueue.x-k8s.io]
  # Whether the queue that a run names exists is looked up before anything is created.
  resources: [localqueues]
  verbs: [get]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  # list: why the Job controller could not create a pod stands in Events only.
  resources: [events]
  verbs: [get, list, create, patch]
{{- end -}}

{{/* What the operator does in its own namespace: the Lease that says which replica acts, and Events about it. */}}
{{- define "vidbench.ownRules" -}}
- apiGroups: [coordination.k8s.io]
  # A creation has no name that a rule could be limited to.
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "vidbench.operatorName" . }}]
  verbs: [get, patch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* What the operator reads of the cluster. */}}
{{- define "vidbench.clusterRules" -}}
- apiGroups: [vidbench.io]
  resources: [runnerclasses]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
{{- end -}}
