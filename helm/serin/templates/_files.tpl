{{/*
What lies beside serin.yaml in /etc/serin: one source for each Secret or ConfigMap, with its keys and the names that
they get. All of them are bare names in one folder, which the kubelet swaps as a whole, so that a certificate is
never read together with the key of another.
*/}}
{{- define "serin.files" -}}
{{- $files := list -}}
{{- with include "serin.adminSecret" . -}}
{{- $files = append $files (dict "secret" . "items" (list (dict "key" $.Values.admin.key "path" "admin-token"))) -}}
{{- end -}}
{{- with .Values.admin.tls -}}
{{- if .existingSecret -}}
{{- $items := list (dict "key" "tls.crt" "path" "admin.crt") (dict "key" "tls.key" "path" "admin.key") -}}
{{- if .caKey -}}
{{- $items = append $items (dict "key" .caKey "path" "admin-ca.crt") -}}
{{- end -}}
{{- $files = append $files (dict "secret" .existingSecret "items" $items) -}}
{{- end -}}
{{- end -}}
{{- with .Values.tls.existingSecret -}}
{{- $items := list (dict "key" "tls.crt" "path" "tls.crt") (dict "key" "tls.key" "path" "tls.key") -}}
{{- $files = append $files (dict "secret" . "items" $items) -}}
{{- end -}}
{{- with .Values.tls.clientCA -}}
{{- if .existingSecret -}}
{{- $files = append $files (dict "secret" .existingSecret "items" (list (dict "key" .key "path" "client-ca.crt"))) -}}
{{- end -}}
{{- end -}}
{{- with include "serin.saltSecret" . -}}
{{- $files = append $files (dict "secret" . "items" (list (dict "key" $.Values.salt.key "path" "salt"))) -}}
{{- end -}}
{{- with .Values.telemetry.headers -}}
{{- if and $.Values.telemetry.endpoint .existingSecret -}}
{{- $files = append $files (dict "secret" .existingSecret "items" (list (dict "key" .key "path" "otlp-headers"))) -}}
{{- end -}}
{{- end -}}
{{- concat $files .Values.files | toYaml -}}
{{- end -}}

{{/* Names are given once, and what the routes name is there: `serin run` would refuse to start otherwise. */}}
{{- define "serin.validateFiles" -}}
{{- $there := dict "serin.yaml" true -}}
{{- range $source := include "serin.files" . | fromYamlArray -}}
{{- range $source.items -}}
{{- if hasKey $there .path -}}
{{- fail (printf "files: the name %s is taken already" .path) -}}
{{- end -}}
{{- $_ := set $there .path true -}}
{{- end -}}
{{- end -}}
{{- range $route := .Values.config.routes -}}
{{- $named := dict -}}
{{- with $route.salt_file -}}
{{- $_ := set $named "salt_file" . -}}
{{- end -}}
{{- range $arm, $backend := $route.backends -}}
{{- if and (kindIs "map" $backend) (kindIs "map" (get $backend "tls")) -}}
{{- range $key, $file := pick $backend.tls "ca" "cert" "key" -}}
{{- $_ := set $named (printf "%s.tls.%s" $arm $key) $file -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $where, $file := $named -}}
{{- if not (or (hasPrefix "/" (toString $file)) (hasKey $there (toString $file))) -}}
{{- fail (printf "config.routes: %s of route %s is %v, and no entry of `files` has that path" $where $route.name $file) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
