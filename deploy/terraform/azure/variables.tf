# ---------------------------------------------------------------------------- where

variable "location" {
  description = "The Azure region."
  type        = string
  default     = "westeurope"

  validation {
    condition     = can(regex("^[a-z0-9]+$", var.location))
    error_message = "location is a region's short name, such as westeurope: `az account list-locations -o table` lists them."
  }
}

variable "name" {
  description = "What the resource group and everything in it is called."
  type        = string
  default     = "rerank"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9]|-[a-z0-9]){3,29}$", var.name)) && length(var.name) <= 30
    error_message = "name has 4 to 30 lower-case letters, digits and single hyphens, begins with a letter and does not end with a hyphen."
  }
}

variable "registry_name" {
  description = "The container registry's name, which no other in all of Azure may have. A container instance is called so in DNS too."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{4,49}$", var.registry_name))
    error_message = "registry_name has 5 to 50 lower-case letters and digits, and begins with a letter."
  }
}

variable "tags" {
  description = "Tags for everything."
  type        = map(string)
  default     = {}
}

# ---------------------------------------------------------------------------- what

variable "service" {
  description = "container-instance: one container, over HTTP. container-app: several as needed, behind HTTPS."
  type        = string
  default     = "container-instance"

  validation {
    condition     = contains(["container-instance", "container-app"], var.service)
    error_message = "service is container-instance or container-app."
  }
}

variable "image_name" {
  description = "The image's name in the registry."
  type        = string
  default     = "rerank"

  validation {
    condition     = can(regex("^[a-z0-9]+([._/-][a-z0-9]+)*$", var.image_name))
    error_message = "image_name has lower-case letters and digits, with . _ - or / between them."
  }
}

variable "image_tag" {
  description = "The image's tag, a new one for each build: the same tag again changes nothing here."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", var.image_tag)) && var.image_tag != "latest"
    error_message = "image_tag names one build, such as a commit: letters, digits, _ . and -, and not latest, which says nothing of what runs."
  }
}

variable "cpu" {
  description = "CPU cores of a container."
  type        = number
  default     = 2

  validation {
    condition     = var.cpu >= 0.5 && var.cpu * 4 == floor(var.cpu * 4)
    error_message = "cpu is at least 0.5, in steps of 0.25."
  }

  validation {
    condition     = var.service != "container-app" || var.cpu <= 2
    error_message = "A container app has at most 2 cores: raise max_replicas instead."
  }
}

variable "memory_gb" {
  description = "Memory of a container in GB; the default model needs 4."
  type        = number
  default     = 4

  validation {
    condition     = var.memory_gb >= 1
    error_message = "memory_gb is at least 1."
  }

  validation {
    condition     = var.service != "container-app" || var.memory_gb == 2 * var.cpu
    error_message = "A container app has 2 GB for each core, no more and no less: set memory_gb to twice cpu."
  }
}

variable "load_seconds" {
  description = "How long loading the model may take; a container that takes longer is started again."
  type        = number
  default     = 120

  validation {
    condition     = var.load_seconds >= 10 && var.load_seconds <= 300 && var.load_seconds == floor(var.load_seconds)
    error_message = "load_seconds is a whole number from 10 to 300."
  }
}

# ---------------------------------------------------------------------------- how much of a container app

variable "min_replicas" {
  description = "Containers of a container app that always run."
  type        = number
  default     = 1

  # With none the first request would wait for the model, longer than the ingress does.
  validation {
    condition     = var.min_replicas >= 1 && var.min_replicas == floor(var.min_replicas)
    error_message = "min_replicas is a whole number, at least 1."
  }
}

variable "max_replicas" {
  description = "Containers of a container app that run under load."
  type        = number
  default     = 3

  validation {
    condition     = var.max_replicas >= var.min_replicas && var.max_replicas <= 300 && var.max_replicas == floor(var.max_replicas)
    error_message = "max_replicas is a whole number from min_replicas to 300."
  }
}

variable "concurrent_requests" {
  description = "Requests at once for which one container is enough; with more another is started, up to max_replicas."
  type        = number
  default     = 10

  validation {
    condition     = var.concurrent_requests >= 1 && var.concurrent_requests == floor(var.concurrent_requests)
    error_message = "concurrent_requests is a whole number, at least 1."
  }
}

# ---------------------------------------------------------------------------- the server's settings

variable "api_keys" {
  description = "RERANK_API_KEYS: keys that clients may use, separated by commas, or none (\"\"): then whoever finds the service may use it, as with the one that it replaces."
  type        = string
  sensitive   = true
  nullable    = false

  validation {
    condition     = var.api_keys == "" || alltrue([for key in split(",", var.api_keys) : can(regex("^\\S{16,}$", trimspace(key)))])
    error_message = "api_keys is empty, or has keys separated by commas, each of at least 16 characters: `openssl rand -hex 32` makes one. export TF_VAR_api_keys=... keeps it out of files."
  }
}

variable "cors_origins" {
  description = "CORS_ORIGINS: origins whose pages may call the server, separated by commas, or * for all."
  type        = string
  default     = "*"
}

variable "use_fp16" {
  description = "USE_FP16: compute in float16, where there is CUDA."
  type        = bool
  default     = false
}
