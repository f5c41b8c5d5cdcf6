# One container. It speaks HTTP, does not scale, and is away while it is replaced.

resource "azurerm_container_group" "this" {
  count = var.service == "container-instance" ? 1 : 0

  name                = var.name
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  os_type             = "Linux"
  restart_policy      = "Always"
  tags                = var.tags

  ip_address_type = "Public"
  dns_name_label  = var.registry_name
  # The name has a hash of the tenant in it: nobody else can take it over when this is gone.
  dns_name_label_reuse_policy = "TenantReuse"

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.this.id]
  }

  image_registry_credential {
    server                    = azurerm_container_registry.this.login_server
    user_assigned_identity_id = azurerm_user_assigned_identity.this.id
  }

  container {
    name   = "rerank"
    image  = local.image
    cpu    = var.cpu
    memory = var.memory_gb

    environment_variables        = local.environment
    secure_environment_variables = local.has_keys ? { RERANK_API_KEYS = var.api_keys } : {}

    ports {
      port     = local.port
      protocol = "TCP"
    }

    # There is no startup probe here: the first question waits for as long as loading may take.
    liveness_probe {
      initial_delay_seconds = var.load_seconds
      period_seconds        = 10
      timeout_seconds       = 5
      failure_threshold     = 6

      http_get {
        path   = "/livez"
        port   = local.port
        scheme = "http"
      }
    }

    readiness_probe {
      period_seconds    = 5
      timeout_seconds   = 5
      failure_threshold = 1

      http_get {
        path   = "/readyz"
        port   = local.port
        scheme = "http"
      }
    }
  }

  diagnostics {
    log_analytics {
      workspace_id  = azurerm_log_analytics_workspace.this.workspace_id
      workspace_key = azurerm_log_analytics_workspace.this.primary_shared_key
    }
  }

  depends_on = [azurerm_role_assignment.pull]
}
