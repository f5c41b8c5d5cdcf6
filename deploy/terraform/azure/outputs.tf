output "url" {
  description = "Where the service answers."
  value = (
    var.service == "container-app"
    ? "https://${one(azurerm_container_app.this[*].ingress[0].fqdn)}"
    : "http://${one(azurerm_container_group.this[*].fqdn)}:${local.port}"
  )
}

output "image" {
  description = "The image that runs."
  value = one(concat(
    azurerm_container_group.this[*].container[0].image,
    azurerm_container_app.this[*].template[0].container[0].image,
  ))
}

output "registry" {
  description = "Where images are pushed to."
  value       = azurerm_container_registry.this.login_server
}

output "registry_name" {
  description = "What `az acr login` calls the registry."
  value       = azurerm_container_registry.this.name
}

output "resource_group" {
  description = "The resource group of everything."
  value       = azurerm_resource_group.this.name
}

output "service" {
  description = "container-instance or container-app."
  value       = var.service
}

output "name" {
  description = "What `az container` or `az containerapp` calls the service."
  value       = var.name
}
