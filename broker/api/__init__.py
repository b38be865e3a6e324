"""HTTP: routes, authentication, pages."""
