/*
 * Sessions, logins, roles. A session row's reference is derived from a hash of the secret that the
 * client holds; the secret itself is nowhere in the database.
 */
#ifndef XN_AUTH_H
#define XN_AUTH_H

#include "core/call.h"
#include "core/module.h"

extern const struct xn_module xn_auth_module;

struct xn_auth;

/*
 * xn_auth_session - who holds @secret ("OpaqueRef:...")
 * Fills session, user, role, is_superuser of @caller. Refreshes last_active when older than 600 s.
 * Return: 0, or -1 with SESSION_INVALID [secret].
 */
int xn_auth_session(struct xn_auth *auth, const char *secret, struct xn_caller *caller,
		    struct xn_error *err);
/* The row's (public) reference of a session secret, or of a row reference itself. NULL: unknown. */
const char *xn_auth_session_ref(struct xn_auth *auth, const char *secret_or_ref);
/* RBAC: 0, or -1 with RBAC_PERMISSION_DENIED. @key: for map-key permissions, or NULL. */
int xn_auth_permit(const struct xn_caller *caller, const struct xn_method *method, const char *key,
		   struct xn_error *err);
/* The same for a whole map given to set_X: every key that changes is checked. */
int xn_auth_permit_map(const struct xn_caller *caller, const struct xn_method *method,
		       const struct xn_value *old_map, const struct xn_value *new_map,
		       struct xn_error *err);
/* The refusal itself, for permissions that are no method's ("task.destroy/any"). Returns -1. */
int xn_auth_denied(const char *permission, enum xn_role needed, struct xn_error *err);
/* A session for a check without passwords (Unix socket, tests); returns the secret in @secret. */
void xn_auth_login_as(struct xn_auth *auth, const char *user, enum xn_role role, bool superuser,
		      const char *originator, char secret[48]);

#endif
