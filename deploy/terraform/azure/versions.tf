terraform {
  required_version = ">= 1.9" # validations that read other variables

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.73"
    }
  }
}

provider "azurerm" {
  # The subscription is ARM_SUBSCRIPTION_ID of the environment.
  features {}

  # Exactly what is used here: none of the provider's own lists has Microsoft.App.
  resource_provider_registrations = "none"
  resource_providers_to_register = [
    "Microsoft.App",
    "Microsoft.ContainerInstance",
    "Microsoft.ContainerRegistry",
    "Microsoft.ManagedIdentity",
    "Microsoft.OperationalInsights",
  ]
}
