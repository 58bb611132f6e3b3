// A file of its own, so that the page needs no inline script and its Content-Security-Policy allows none.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // The badge of a validator somewhere else.
  validatorUrl: null,
});
