# As many containers as there are requests for, behind HTTPS. A new image takes over once it is ready.

resource "azurerm_container_app_environment" "this" {
  count = var.service == "container-app" ? 1 : 0

  name                       = var.name
  resource_group_name        = azurerm_resource_group.this.name
  location                   = azurerm_resource_group.this.location
  logs_destination           = "log-analytics"
  log_analytics_workspace_id = azurerm_log_analytics_workspace.this.id
  tags                       = var.tags
}

resource "azurerm_container_app" "this" {
  count = var.service == "container-app" ? 1 : 0

  name                         = var.name
  resource_group_name          = azurerm_resource_group.this.name
  container_app_environment_id = azurerm_container_app_environment.this[0].id
  revision_mode                = "Single"
  tags                         = var.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this.id]
  }

  registry {
    server   = azurerm_container_registry.this.login_server
    identity = azurerm_user_assigned_identity.this.id
  }

  dynamic "secret" {
    for_each = local.has_keys ? ["api-keys"] : []
    content {
      name  = secret.value
      value = var.api_keys
    }
  }

  ingress {
    target_port                = local.port
    external_enabled           = true
    allow_insecure_connections = false
    transport                  = "http"

    traffic_weight {
      latest_revision = true
      percentage      = 100
    }
  }

  template {
    min_replicas = var.min_replicas
    max_replicas = var.max_replicas
    # More than RERANK_PRESTOP_SECONDS and RERANK_DRAIN_SECONDS together.
    termination_grace_period_seconds = 40

    http_scale_rule {
      name                = "requests"
      concurrent_requests = tostring(var.concurrent_requests)
    }

    container {
      name   = "rerank"
      image  = local.image
      cpu    = var.cpu
      memory = "${var.memory_gb}Gi"

      dynamic "env" {
        # The ingress takes a moment to notice that a container is about to end.
        for_each = merge(local.environment, { RERANK_PRESTOP_SECONDS = "5" })
        content {
          name  = env.key
          value = env.value
        }
      }

      dynamic "env" {
        for_each = local.has_keys ? ["api-keys"] : []
        content {
          name        = "RERANK_API_KEYS"
          secret_name = env.value
        }
      }

      # The other probes begin when this one has succeeded.
      startup_probe {
        transport               = "HTTP"
        path                    = "/readyz"
        port                    = local.port
        interval_seconds        = 10
        timeout                 = 5
        failure_count_threshold = ceil(var.load_seconds / 10)
      }

      liveness_probe {
        transport               = "HTTP"
        path                    = "/livez"
        port                    = local.port
        interval_seconds        = 10
        timeout                 = 5
        failure_count_threshold = 6
      }

      readiness_probe {
        transport               = "HTTP"
        path                    = "/readyz"
        port                    = local.port
        interval_seconds        = 5
        timeout                 = 5
        failure_count_threshold = 1
        success_count_threshold = 1
      }
    }
  }

  depends_on = [azurerm_role_assignment.pull]
}
