{{/* The name that everything of a release starts with. */}}
{{- define "vidbench.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "vidbench.operatorName" -}}
{{- include "vidbench.name" . }}-operator
{{- end -}}

{{- define "vidbench.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "vidbench.operatorName" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name the account to use, or set serviceAccount.create" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The operator's user, as the API server knows it. */}}
{{- define "vidbench.userName" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "vidbench.serviceAccountName" . }}
{{- end -}}

{{/* What tells the operator's pods apart; never changes, as a Deployment's selector cannot. */}}
{{- define "vidbench.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "vidbench.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* An image reference, from a list of the image's values and the default tag. */}}
{{- define "vidbench.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- $image.repository }}@{{ $image.digest }}
{{- else -}}
{{- $image.repository }}:{{ default (index . 1) $image.tag }}
{{- end -}}
{{- end -}}
