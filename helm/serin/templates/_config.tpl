{{/*
serin.yaml: what the chart decides (addresses, folders, the drain) around what the values say.

Secrets lie in the same folder as the file, so that their paths are bare names and `serin check` can prove the
rendered file wherever the two are put side by side.
*/}}
{{- define "serin.config" -}}
{{- $listen := printf "%s:%d" .Values.bindAddress (int .Values.ports.http) -}}
{{- if .Values.tls.existingSecret -}}
{{- $tls := dict "cert" "tls.crt" "key" "tls.key" -}}
{{- if .Values.tls.clientCA.existingSecret -}}
{{- $_ := set $tls "client_ca" "client-ca.crt" -}}
{{- end -}}
{{- $listen = dict "address" $listen "tls" $tls -}}
{{- end -}}
{{- $admin := printf "127.0.0.1:%d" (int .Values.ports.admin) -}}
{{- if include "serin.adminSecret" . -}}
{{- $everywhere := printf "%s:%d" .Values.bindAddress (int .Values.ports.admin) -}}
{{- $admin = dict "address" $everywhere "token_file" "admin-token" -}}
{{- if .Values.admin.tls.existingSecret -}}
{{- $_ := set $admin "tls" (dict "cert" "admin.crt" "key" "admin.key") -}}
{{- end -}}
{{- end -}}
{{- $salted := include "serin.saltSecret" . -}}
{{- $routes := list -}}
{{- range .Values.config.routes -}}
{{- $own := ternary (dict "salt_file" "salt") dict (and (ne $salted "") (not (hasKey . "salt_file"))) -}}
{{- $routes = append $routes (merge $own .) -}}
{{- end -}}
{{- $drain := printf "%ds" (int .Values.shutdown.drainSeconds) -}}
{{- $telemetry := dict -}}
{{- with .Values.telemetry -}}
{{- if .endpoint -}}
{{- $otlp := dict "endpoint" .endpoint "protocol" .protocol "interval" .interval -}}
{{- if .headers.existingSecret -}}
{{- $_ := set $otlp "headers_file" "otlp-headers" -}}
{{- end -}}
{{- $name := default (include "serin.fullname" $) .serviceName -}}
{{- $telemetry = dict "telemetry" (dict "otlp" $otlp "trace_sample" .traceSample "service_name" $name) -}}
{{- end -}}
{{- end -}}
{{- dict
  "listen" $listen
  "admin" $admin
  "probe" (printf "%s:%d" .Values.bindAddress (int .Values.ports.probe))
  "state" "/var/lib/serin"
  "workers" .Values.config.workers
  "limits" (merge (dict "drain" $drain) .Values.config.limits)
  "routes" $routes
  | merge $telemetry | toYaml -}}
{{- end -}}

{{/* The first route with a rollout, for examples of what to type; empty when there is none. */}}
{{- define "serin.firstRollout" -}}
{{- $first := "" -}}
{{- range .Values.config.routes -}}
{{- if and (hasKey . "rollout") (not $first) -}}
{{- $first = .name -}}
{{- end -}}
{{- end -}}
{{- $first -}}
{{- end -}}

{{/* What a schema can't say. */}}
{{- define "serin.validate" -}}
{{- include "serin.validateFiles" . -}}
{{- if and .Values.tls.clientCA.existingSecret (not .Values.tls.existingSecret) -}}
{{- fail "tls.clientCA: clients show a certificate over TLS only: tls.existingSecret is empty" -}}
{{- end -}}
{{- if and .Values.admin.tls.existingSecret (not (include "serin.adminSecret" .)) -}}
{{- fail "admin.tls: without a token the admin API stays on the pod's loopback: give it one, or no TLS" -}}
{{- end -}}
{{- $taken := dict -}}
{{- range $name, $port := .Values.ports -}}
{{- $key := toString (int $port) -}}
{{- if hasKey $taken $key -}}
{{- fail (printf "ports.%s: %s is ports.%s already" $name $key (get $taken $key)) -}}
{{- end -}}
{{- $_ := set $taken $key $name -}}
{{- end -}}
{{- if eq .Values.mode "sidecar" -}}
{{- range $container := concat .Values.sidecar.initContainers .Values.sidecar.containers -}}
{{- if eq $container.name "serin" -}}
{{- fail "sidecar: the name \"serin\" is that of the chart's own container" -}}
{{- end -}}
{{- range $container.ports -}}
{{- $key := toString (int .containerPort) -}}
{{- if hasKey $taken $key -}}
{{- fail (printf "sidecar: port %s of container %s is ports.%s" $key $container.name (get $taken $key)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
