{{- define "slackwater.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "slackwater.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "slackwater.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "slackwater.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "slackwater.selectorLabels" -}}
app.kubernetes.io/name: {{ include "slackwater.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "slackwater.labels" -}}
{{ include "slackwater.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "slackwater.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "slackwater.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is required when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "slackwater.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Cluster-scoped names carry the namespace: two releases may have one name. */}}
{{- define "slackwater.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "slackwater.fullname" .) -}}
{{- end -}}

{{- define "slackwater.objectRules" -}}
- apiGroups: [slackwater.dev]
  resources: [airflowinstances, calendars, gpupools, trainingwindows]
  verbs: [get, list, watch]
# Takes annotations off once what they ask for has been done.
- apiGroups: [slackwater.dev]
  resources: [trainingwindows]
  verbs: [patch]
- apiGroups: [slackwater.dev]
  resources: [airflowinstances/status, calendars/status, gpupools/status, trainingwindows/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}

{{- define "slackwater.secretRules" -}}
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.rbac.secrets.names }}
  resourceNames: {{ toJson . }}
  {{- end }}
  verbs: [get]
{{- end -}}

{{- define "slackwater.windowsName" -}}
{{- default (printf "%s-windows" (include "slackwater.fullname" .)) .Values.windowsFile.name -}}
{{- end -}}

{{- define "slackwater.windowsNamespaces" -}}
{{- default (list .Release.Namespace) .Values.windowsFile.namespaces | uniq | toJson -}}
{{- end -}}

{{/* A subject list that names the operator's service account. */}}
{{- define "slackwater.subjects" -}}
- kind: ServiceAccount
  name: {{ include "slackwater.serviceAccount" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}
