// The page opens on the routes that most people look for; those of other servers' APIs are folded.
const OPEN = ["scoring", "server"];

const ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null, // else the address of the description is sent to a validator outside
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "none",
  onComplete: () => {
    for (const tag of OPEN) ui.getSystem().layoutActions.show(["operations-tag", tag], true);
  },
});
