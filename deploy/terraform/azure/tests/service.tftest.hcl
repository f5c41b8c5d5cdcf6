# What is planned, with no cloud: terraform test

mock_provider "azurerm" {}

variables {
  registry_name = "rerankregistry"
  image_tag     = "abc1234"
  api_keys      = "a-key-of-enough-characters"
}

run "one_container_by_default" {
  command = plan

  assert {
    condition     = length(azurerm_container_group.this) == 1 && length(azurerm_container_app.this) == 0
    error_message = "there is not just a container instance"
  }

  assert {
    condition     = azurerm_container_group.this[0].container[0].cpu == 2 && azurerm_container_group.this[0].container[0].memory == 4
    error_message = "it has not 2 cores and 4 GB"
  }

  assert {
    condition     = azurerm_container_group.this[0].container[0].liveness_probe[0].initial_delay_seconds >= var.load_seconds
    error_message = "it would be killed while it loads its model"
  }

  assert {
    condition     = !contains(keys(azurerm_container_group.this[0].container[0].environment_variables), "RERANK_API_KEYS")
    error_message = "the keys can be read in the portal"
  }

  assert {
    condition     = azurerm_container_group.this[0].container[0].secure_environment_variables["RERANK_API_KEYS"] == var.api_keys
    error_message = "the server does not get its keys"
  }
}

run "an_app_that_scales" {
  command = plan

  variables {
    service             = "container-app"
    max_replicas        = 5
    concurrent_requests = 7
    load_seconds        = 95
  }

  assert {
    condition     = length(azurerm_container_group.this) == 0 && length(azurerm_container_app.this) == 1
    error_message = "there is not just a container app"
  }

  assert {
    condition     = azurerm_container_app.this[0].template[0].max_replicas == 5
    error_message = "it does not scale as far as it may"
  }

  assert {
    condition     = azurerm_container_app.this[0].template[0].http_scale_rule[0].concurrent_requests == "7"
    error_message = "it does not scale by requests"
  }

  assert {
    condition = (
      azurerm_container_app.this[0].template[0].container[0].startup_probe[0].failure_count_threshold
      * azurerm_container_app.this[0].template[0].container[0].startup_probe[0].interval_seconds
    ) == 100
    error_message = "its model has less time to load than it was given"
  }

  assert {
    condition     = azurerm_container_app.this[0].template[0].container[0].memory == "4Gi"
    error_message = "it has not 4 GB"
  }

  assert {
    condition     = azurerm_container_app.this[0].ingress[0].allow_insecure_connections == false
    error_message = "keys could travel in the clear"
  }
}

run "a_container_without_keys" {
  command = plan

  variables {
    api_keys = ""
  }

  assert {
    condition     = length(azurerm_container_group.this[0].container[0].secure_environment_variables) == 0
    error_message = "it has a secret that is empty"
  }
}

run "an_app_without_keys" {
  command = plan

  variables {
    service  = "container-app"
    api_keys = ""
  }

  assert {
    condition     = length(azurerm_container_app.this[0].secret) == 0
    error_message = "it has a secret that is empty"
  }
}

run "nobody_has_a_password_for_the_registry" {
  command = plan

  assert {
    condition     = !azurerm_container_registry.this.admin_enabled && !azurerm_container_registry.this.anonymous_pull_enabled
    error_message = "the registry can be entered without an identity"
  }

  assert {
    condition     = azurerm_role_assignment.pull.role_definition_name == "AcrPull"
    error_message = "the service's identity may do other than pull"
  }
}

run "both_services_are_asked_alike" {
  command = apply # the address is known only then

  assert {
    condition     = endswith(output.url, ":8000") && endswith(output.image, "/rerank:abc1234")
    error_message = "an address or an image is not as it should be"
  }
}
