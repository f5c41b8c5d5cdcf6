# What both services need: a registry, an identity that may pull from it, and a place for logs.

locals {
  image = "${azurerm_container_registry.this.login_server}/${var.image_name}:${var.image_tag}"
  port  = 8000

  environment = {
    USE_FP16          = tostring(var.use_fp16)
    CORS_ORIGINS      = var.cors_origins
    RERANK_LOG_FORMAT = "json"
    # The ingress of a container app cuts off what has no answer after 240 s: the server's own 504 says more.
    RERANK_TIMEOUT = "230"
  }

  has_keys = nonsensitive(var.api_keys != "")
}

resource "azurerm_resource_group" "this" {
  name     = var.name
  location = var.location
  tags     = var.tags
}

resource "azurerm_container_registry" "this" {
  name                = var.registry_name
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  sku                 = "Basic"
  tags                = var.tags

  # Nobody has a password: people sign in with `az acr login`, the service with its identity.
  admin_enabled          = false
  anonymous_pull_enabled = false
}

resource "azurerm_user_assigned_identity" "this" {
  name                = var.name
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  tags                = var.tags
}

resource "azurerm_role_assignment" "pull" {
  scope                = azurerm_container_registry.this.id
  role_definition_name = "AcrPull"
  principal_id         = azurerm_user_assigned_identity.this.principal_id
  principal_type       = "ServicePrincipal" # a new identity is not in the directory at once, and is not looked for
}

resource "azurerm_log_analytics_workspace" "this" {
  name                = var.name
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  sku                 = "PerGB2018"
  retention_in_days   = 30
  tags                = var.tags
}
