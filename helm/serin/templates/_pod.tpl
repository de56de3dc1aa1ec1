{{/* Serin's folder /etc/serin: the configuration and the files it names. */}}
{{- define "serin.configVolume" -}}
name: config
# A directory of symlinks that the kubelet swaps as a whole when the ConfigMap or a Secret changes.
projected:
  defaultMode: 0440
  sources:
    - configMap:
        name: {{ include "serin.fullname" . }}
        items: [{key: serin.yaml, path: serin.yaml}]
    {{- range include "serin.files" . | fromYamlArray }}
    - {{ ternary "secret" "configMap" (hasKey . "secret") }}:
        name: {{ default .configMap .secret }}
        items: {{- toYaml .items | nindent 10 }}
    {{- end }}
{{- end -}}

{{/* Where `serin` verbs that run inside the pod find the admin API. */}}
{{- define "serin.adminEnv" -}}
{{- $loopback := ternary "[::1]" "127.0.0.1" (and (ne (include "serin.adminSecret" .) "") (eq .Values.bindAddress "[::]")) -}}
- name: SERIN_ADMIN
  value: {{ include "serin.adminScheme" . }}://{{ $loopback }}:{{ .Values.ports.admin }}
{{- if include "serin.adminSecret" . }}
- name: SERIN_TOKEN_FILE
  value: /etc/serin/admin-token
{{- end }}
{{- with include "serin.adminAuthority" . }}
- name: SERIN_ADMIN_CA
  value: {{ . }}
{{- end }}
{{- end -}}

{{/*
Keeps a container serving until every client has noticed that the pod is on its way out. The sleep action needs
no program in the image, but it is off in 1.29.
*/}}
{{- define "serin.canSleep" -}}
{{- if and (gt (int .Values.shutdown.delaySeconds) 0) (semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version) -}}
yes
{{- end -}}
{{- end -}}

{{- define "serin.container" -}}
name: serin
image: {{ include "serin.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if eq .Values.mode "sidecar" }}
# An init container that keeps running: up before the model server starts, down after it has stopped.
restartPolicy: Always
{{- end }}
args: [run, -c, /etc/serin/serin.yaml]
env:
  - name: RUST_LOG
    value: {{ .Values.logLevel | quote }}
  {{- include "serin.adminEnv" . | nindent 2 }}
  {{- if .Values.telemetry.endpoint }}
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  - name: OTEL_RESOURCE_ATTRIBUTES
    value: k8s.namespace.name={{ .Release.Namespace }},k8s.pod.name=$(POD_NAME),k8s.container.name=serin
  {{- end }}
ports:
  - {name: {{ include "serin.scheme" . }}, containerPort: {{ .Values.ports.http }}, protocol: TCP}
  - {name: probe, containerPort: {{ .Values.ports.probe }}, protocol: TCP}
  {{- if include "serin.adminSecret" . }}
  - {name: admin, containerPort: {{ .Values.ports.admin }}, protocol: TCP}
  {{- end }}
startupProbe:
  httpGet: {path: /livez, port: probe}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: probe}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: probe}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
{{- if and (eq .Values.mode "gateway") (include "serin.canSleep" .) }}
lifecycle:
  preStop:
    sleep: {seconds: {{ .Values.shutdown.delaySeconds }}}
{{- end }}
{{- with .Values.resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.securityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - {name: config, mountPath: /etc/serin, readOnly: true}
  - {name: state, mountPath: /var/lib/serin}
{{- end -}}

{{/*
A model server in the pod. When the pod stops, Kubernetes stops it before the sidecar, so it is the one that has
to go on serving for a moment. A lifecycle of its own wins.
*/}}
{{- define "serin.modelServer" -}}
{{- $root := .root -}}
{{- $wait := int $root.Values.shutdown.delaySeconds -}}
{{- $handler := dict "exec" (dict "command" (list "sleep" (toString $wait))) -}}
{{- if include "serin.canSleep" $root -}}
{{- $handler = dict "sleep" (dict "seconds" $wait) -}}
{{- end -}}
{{- $added := dict -}}
{{- if and (gt $wait 0) (not (hasKey .container "lifecycle")) -}}
{{- $added = dict "lifecycle" (dict "preStop" $handler) -}}
{{- end -}}
{{- merge $added .container | toYaml -}}
{{- end -}}

{{/* The pod's template, the same for a Deployment and a StatefulSet. */}}
{{- define "serin.podTemplate" -}}
metadata:
  # No checksum of the configuration here: a checksum would restart the pods on every edit, and a restart in the
  # middle of a rollout cuts streams and loses what was measured. Serin reads the changed file itself.
  {{- with .Values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
  labels:
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- include "serin.selectorLabels" . | nindent 4 }}
spec:
  serviceAccountName: {{ include "serin.serviceAccount" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add (int .Values.shutdown.delaySeconds) (int .Values.shutdown.drainSeconds) 10 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.podSecurityContext }}
  securityContext: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- if eq .Values.mode "sidecar" }}
  initContainers:
    {{- with .Values.sidecar.initContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    - {{ include "serin.container" . | nindent 6 | trim }}
  containers:
    {{- range .Values.sidecar.containers }}
    - {{ include "serin.modelServer" (dict "root" $ "container" .) | nindent 6 | trim }}
    {{- end }}
  {{- else }}
  containers:
    - {{ include "serin.container" . | nindent 6 | trim }}
  {{- end }}
  volumes:
    - {{ include "serin.configVolume" . | nindent 6 | trim }}
    {{- if not .Values.state.persistent }}
    - name: state
      emptyDir: {}
    {{- end }}
    {{- if eq .Values.mode "sidecar" }}
    {{- with .Values.sidecar.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
