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

/* A child of the same binary asks PAM: main() hands over when it is started with this. */
#define XN_PAM_CHILD_ARG "--pam-child"
int xn_pam_child_main(void);
bool xn_pam_is_built_in(void);

/*
 * xn_auth_session - who holds @secret ("OpaqueRef:...")
 * Fills session, user, role, is_superuser of @caller. Refreshes last_active when older than 600 s,
 * or a tenth of session-idle. Ends what was not used for longer than session-idle.
 * Return: 0, or -1 with SESSION_INVALID [secret].
 */
int xn_auth_session(struct xn_auth *auth, const char *secret, struct xn_caller *caller,
		    struct xn_error *err);
/* The row's (public) reference of a session secret, or of a row reference itself. NULL: unknown. */
const char *xn_auth_session_ref(struct xn_auth *auth, const char *secret_or_ref);
/* The same of a secret only: who shows a reference, which anybody may read, is not that session. */
const char *xn_auth_session_of_secret(struct xn_auth *auth, const char *secret);
/* A field of a session that has no row because the disk refuses, a new reference. NULL: no such. */
struct xn_value *xn_auth_rowless_get(struct xn_auth *auth, const char *secret_or_ref, int field);
/* The reference of such a session. NULL: no such. */
const char *xn_auth_rowless_by_uuid(struct xn_auth *auth, const char *uuid);
/* Whether @ref is that of a single permission: to clients a role, too, but without a row. */
bool xn_auth_is_permission(struct xn_auth *auth, const char *ref);
/* RBAC: 0, or -1 with RBAC_PERMISSION_DENIED. @key: for map-key permissions, or NULL. */
int xn_auth_permit(const struct xn_caller *caller, const struct xn_method *method, const char *key,
		   struct xn_error *err);
/*
 * xn_auth_permit_call - may this call be made, with these arguments
 * The one check of all calls: the role, the key that it adds or removes, the keys that a whole map
 * given to set_FIELD changes, the keys in a record that something is made from.
 */
int xn_auth_permit_call(struct xn_auth *auth, const struct xn_call *call, struct xn_error *err);
/* Its part about a whole map, for who applies a change later than it was checked. */
int xn_auth_permit_map(const struct xn_caller *caller, int class_id, int field,
		       const struct xn_value *old_map, const struct xn_value *new_map,
		       struct xn_error *err);
/* Its part about a record that something new is made from, for who reads it from a file. */
int xn_auth_permit_record(const struct xn_caller *caller, int class_id,
			  const struct xn_value *record, struct xn_error *err);
/* The refusal itself, for permissions that are no method's ("task.destroy/any"). Returns -1. */
int xn_auth_denied(const char *permission, enum xn_role needed, struct xn_error *err);
/* A session for a check without passwords (Unix socket, tests); returns the secret in @secret. */
void xn_auth_login_as(struct xn_auth *auth, const char *user, enum xn_role role, bool superuser,
		      const char *originator, char secret[48]);

/* Two questions that clients of class role ask in words of their own: "subroles<>[]", the roles, and
 * "subroles=[]", the single permissions, which have no rows. A map; NULL: it is neither. */
struct xn_value *xn_auth_role_records(struct xn_auth *auth, const char *expression);

/* After logins_failed: what to tell people about it, as XML; counting starts again. */
void xn_auth_failed_logins(struct xn_auth *auth, struct xn_buf *out);

/* ---- HTTP requests that are no API calls ---- */

/* What such a request shows of its sender; borrowed for the call. NULL: not sent. */
struct xn_auth_shown {
	const char *origin;
	bool is_trusted_socket;
	const char *session_cookie, *session_query; /* "session_id" */
	const char *authorization;		    /* the header */
	const char *user_agent;
};

/*
 * Embedded by whoever asks; all zero bytes at first. From xn_auth_admit() until xn_auth_leave()
 * who visits is logged in as .caller, once admitted.
 */
struct xn_auth_visit {
	struct xn_caller caller;
	struct xn_auth *auth;
	struct auth_claim *claim; /* a password that is being checked */
	char own_session[48];	  /* made for this visit; or "" */
	void (*decided)(struct xn_auth_visit *visit, const struct xn_error *err);
};

/*
 * xn_auth_admit - who sends this request: by the Unix socket, a session, or HTTP's basic scheme
 * @decided: once, later from the loop (@visit is then the caller's again), unless the answer is known
 *           at once. @err NULL: admitted.
 * Return: 1 admitted, 0 decided() will tell, -1 with SESSION_AUTHENTICATION_FAILED or
 * SESSION_INVALID: a 401. What the visitor may do is asked with xn_auth_permit_named().
 */
int xn_auth_admit(struct xn_auth *auth, struct xn_auth_visit *visit,
		  const struct xn_auth_shown *shown,
		  void (*decided)(struct xn_auth_visit *visit, const struct xn_error *err),
		  struct xn_error *err) XN_MUST_CHECK;
/* The visit ends: a session made for it too; decided() comes no more. Twice is harmless. */
void xn_auth_leave(struct xn_auth_visit *visit);
/* RBAC for what is no method: "http/get_audit_log". 0, or -1 with RBAC_PERMISSION_DENIED. */
int xn_auth_permit_named(const struct xn_caller *caller, const char *permission,
			 enum xn_role needed, struct xn_error *err);

/*
 * xn_auth_basic - the name and password of an Authorization header
 * Total over bytes; the caller frees both, the password with xn_auth_wipe().
 * Return: 0; -EINVAL: another scheme, no base64, no text, no colon, too long.
 */
int xn_auth_basic(const char *header, char **user_out, char **password_out) XN_MUST_CHECK;
void xn_auth_wipe(char *secret); /* overwrites and frees; NULL is fine */

#endif
