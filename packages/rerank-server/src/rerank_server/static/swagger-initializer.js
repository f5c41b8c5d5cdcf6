SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null, // else the address of the description is sent to a validator outside
  deepLinking: true,
  displayRequestDuration: true,
});
