{{/* Names, labels, and the questions that several templates ask. */}}

{{- define "serin.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* 50 characters leave room for "-pods" and for the ordinals of a StatefulSet. */}}
{{- define "serin.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "serin.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "serin.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "serin.instanceLabels" -}}
app.kubernetes.io/name: {{ include "serin.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* The component keeps the pod of `helm test` out of the Service, the budget and the policy. */}}
{{- define "serin.selectorLabels" -}}
{{ include "serin.instanceLabels" . }}
app.kubernetes.io/component: proxy
{{- end -}}

{{- define "serin.commonLabels" -}}
{{ include "serin.instanceLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (replace "+" "_" .Chart.Version) }}
{{- end -}}

{{- define "serin.labels" -}}
{{ include "serin.commonLabels" . }}
app.kubernetes.io/component: proxy
{{- end -}}

{{- define "serin.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "serin.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "serin.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the admin token; empty when there is none, and the admin API stays on loopback then. */}}
{{- define "serin.adminSecret" -}}
{{- if .Values.admin.existingSecret -}}
{{- .Values.admin.existingSecret -}}
{{- else if .Values.admin.token -}}
{{- printf "%s-admin" (include "serin.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* The client port's name and scheme, and the Service's port for it. */}}
{{- define "serin.scheme" -}}
{{- ternary "https" "http" (ne .Values.tls.existingSecret "") -}}
{{- end -}}

{{- define "serin.servicePort" -}}
{{- default (ternary 443 80 (eq (include "serin.scheme" .) "https")) .Values.service.port -}}
{{- end -}}

{{- define "serin.adminScheme" -}}
{{- ternary "https" "http" (ne .Values.admin.tls.existingSecret "") -}}
{{- end -}}

{{/* Where verbs find the authority that signed the admin API's certificate; empty when they needn't. */}}
{{- define "serin.adminAuthority" -}}
{{- if and .Values.admin.tls.existingSecret .Values.admin.tls.caKey -}}
/etc/serin/admin-ca.crt
{{- end -}}
{{- end -}}

{{/* The Secret with the salt; empty when there is none. */}}
{{- define "serin.saltSecret" -}}
{{- if .Values.salt.existingSecret -}}
{{- .Values.salt.existingSecret -}}
{{- else if .Values.salt.value -}}
{{- printf "%s-salt" (include "serin.fullname" .) -}}
{{- end -}}
{{- end -}}
