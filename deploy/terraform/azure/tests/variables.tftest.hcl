# What is refused, before anything is made.

mock_provider "azurerm" {}

variables {
  registry_name = "rerankregistry"
  image_tag     = "abc1234"
  api_keys      = "a-key-of-enough-characters"
}

run "several_keys_are_taken" {
  command = plan

  variables {
    api_keys = "a-key-of-enough-characters, another-key-of-enough-characters"
  }
}

run "a_list_with_an_empty_key_is_refused" {
  command         = plan
  expect_failures = [var.api_keys]

  variables {
    api_keys = "a-key-of-enough-characters,"
  }
}

run "a_short_key_is_refused" {
  command         = plan
  expect_failures = [var.api_keys]

  variables {
    api_keys = "a-key-of-enough-characters,short"
  }
}

run "latest_is_refused" {
  command         = plan
  expect_failures = [var.image_tag]

  variables {
    image_tag = "latest"
  }
}

run "an_unknown_service_is_refused" {
  command         = plan
  expect_failures = [var.service]

  variables {
    service = "kubernetes"
  }
}

run "a_registry_with_a_hyphen_is_refused" {
  command         = plan
  expect_failures = [var.registry_name]

  variables {
    registry_name = "rerank-registry"
  }
}

run "names_that_azure_would_refuse_are_refused" {
  command         = plan
  expect_failures = [var.name, var.location, var.image_name]

  variables {
    name       = "rerank--eu"
    location   = "West Europe"
    image_name = "Rerank"
  }
}

run "a_name_may_have_hyphens" {
  command = plan

  variables {
    name = "rerank-eu-1"
  }
}

run "a_large_container_instance_is_taken" {
  command = plan

  variables {
    cpu       = 4
    memory_gb = 16
  }
}

run "a_container_app_of_that_size_is_refused" {
  command         = plan
  expect_failures = [var.cpu]

  variables {
    service   = "container-app"
    cpu       = 4
    memory_gb = 8
  }
}

run "a_container_app_has_two_gb_for_each_core" {
  command         = plan
  expect_failures = [var.memory_gb]

  variables {
    service   = "container-app"
    cpu       = 2
    memory_gb = 8
  }
}

run "an_app_always_has_a_container" {
  command         = plan
  expect_failures = [var.min_replicas]

  variables {
    min_replicas = 0
  }
}

run "the_most_containers_are_no_fewer_than_the_least" {
  command         = plan
  expect_failures = [var.max_replicas]

  variables {
    min_replicas = 4
    max_replicas = 3
  }
}

run "other_numbers_out_of_range_are_refused" {
  command         = plan
  expect_failures = [var.load_seconds, var.concurrent_requests]

  variables {
    load_seconds        = 301
    concurrent_requests = 0
  }
}
