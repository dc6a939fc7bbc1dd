-- Keycloak does not make its schema; dure makes its own.
CREATE SCHEMA IF NOT EXISTS keycloak;
