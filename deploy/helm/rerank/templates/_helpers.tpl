{{- define "rerank.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "rerank.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "rerank.labels" -}}
{{ include "rerank.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "rerank.metadata" -}}
name: {{ include "rerank.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "rerank.labels" . | nindent 2 }}
{{- end -}}

{{- define "rerank.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "rerank.serviceAccountName" -}}
{{- $own := .Values.serviceAccount.create | ternary (include "rerank.fullname" .) "default" -}}
{{ .Values.serviceAccount.name | default $own }}
{{- end -}}

{{/* The Secret with the keys; empty where none are asked for. */}}
{{- define "rerank.secretName" -}}
{{- $own := empty .Values.apiKeys.value | ternary "" (include "rerank.fullname" .) -}}
{{ .Values.apiKeys.existingSecret | default $own }}
{{- end -}}

{{/* Of the time to end: both waits of the server, and 10 s in which it says so and goes. */}}
{{- define "rerank.graceSeconds" -}}
{{ add (ceil .Values.settings.RERANK_PRESTOP_SECONDS) .Values.settings.RERANK_DRAIN_SECONDS 10 }}
{{- end -}}

{{- define "rerank.isAutoscaled" -}}
{{- if or .Values.autoscaling.hpa.enabled .Values.autoscaling.keda.enabled }}true{{ end -}}
{{- end -}}

{{/* Fast up, slowly down: a pod takes minutes to load its model, and a queue is empty between two bursts. */}}
{{- define "rerank.scalingBehavior" -}}
scaleUp:
  stabilizationWindowSeconds: 30
  policies:
    - {type: Percent, value: 100, periodSeconds: 60}
scaleDown:
  stabilizationWindowSeconds: 300
  policies:
    - {type: Pods, value: 1, periodSeconds: 120}
{{- end -}}

{{/* What a schema cannot say. */}}
{{- define "rerank.check" -}}
{{- with .Values.autoscaling -}}
{{- if and .hpa.enabled .keda.enabled -}}
{{- fail "autoscaling.hpa and autoscaling.keda are both enabled, and would pull at one Deployment: enable only one of them" -}}
{{- end -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas is %d, more than the %d of autoscaling.maxReplicas" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.apiKeys.existingSecret .Values.apiKeys.value -}}
{{- fail "apiKeys.existingSecret and apiKeys.value are both set: set only one of them" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (has (toString .Values.settings.RERANK_METRICS_AUTH | lower) (list "true" "1")) -}}
{{- fail "serviceMonitor.enabled and settings.RERANK_METRICS_AUTH are both set: the ServiceMonitor brings no key" -}}
{{- end -}}
{{- if and .Values.settings.RERANK_OTLP_ENDPOINT .Values.networkPolicy.enabled (not .Values.networkPolicy.egress) -}}
{{- fail "settings.RERANK_OTLP_ENDPOINT is set, but networkPolicy.egress lets nothing out: add the collector and DNS to it" -}}
{{- end -}}
{{- end -}}
