/* What the files of modules/auth share. */
#ifndef XN_AUTH_INTERNAL_H
#define XN_AUTH_INTERNAL_H

#include "core/events.h"
#include "core/hmap.h"
#include "core/module.h"
#include "modules/auth/auth.h"
#include "modules/db/db.h"

enum {
	LAST_ACTIVE_STEP_S = 600, /* last_active is written no oftener than this */
	SESSION_TEXT_MAX = 256,   /* originator, kept in the row */
	SESSION_GC_PERIOD_S = 30,
	SESSION_GC_LOGINS = 100, /* so many logins bring the next collection forward */
	LOCAL_SESSIONS_MAX = 64,
};

/*
 * One session in memory, found by its secret: the hot path of every call. A session with a row is
 * entered at its login or, after a restart, when its secret is first seen. A local session has no
 * row and lives here only.
 */
struct session {
	struct xn_hnode by_secret, by_ref;
	struct xn_list link; /* xn_auth.local; local sessions only */
	char secret[XN_REF_LEN], ref[XN_REF_LEN], user[64];
	enum xn_role role;
	bool superuser, local;
	int64_t used_us, written_us; /* last use; time of the row's last_active */
};

/* The file that --password-file names, and what it held when last read. */
struct password_file {
	char *path; /* NULL: none configured */
	char *password;
	int64_t mtime_ns, size;
	uint64_t inode;
	bool changing; /* a worker writes a new one */
};

struct xn_auth {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_hmap by_secret, by_ref;
	struct xn_list local; /* least recently made first */
	struct xn_list claims;
	unsigned n_local;
	struct password_file password_file;
	struct xn_timer gc_timer;
	struct xn_job gc_job;
	unsigned logins_since_gc;
};

/* ---- session.c ---- */
struct login {
	const char *user, *originator;
	enum xn_role role;
	bool superuser, local;
};
void auth_session_begin(struct xn_auth *auth, const struct login *login, char secret[XN_REF_LEN]);
/* Deletes the row, forgets the cache entry, tells session_ended. Unknown: false. */
bool auth_session_end(struct xn_auth *auth, const char *ref);
/* The cache entry of a row, or NULL when its secret was not seen since the start. */
struct session *auth_session_by_ref(struct xn_auth *auth, const char *ref);
void auth_sessions_clear(struct xn_auth *auth); /* cache only */

/* ---- claim.c ---- */
/*
 * A name and a password on their way to be checked; owned by whoever began it, until decided().
 * decided() comes once, later from the loop, then the claim is freed: err->code is
 * SESSION_AUTHENTICATION_FAILED, SESSION_AUTHORIZATION_FAILED or RBAC_PERMISSION_DENIED, or NULL with
 * what the login gets in .login (.user is the claim's; the rest is the owner's to fill).
 */
struct auth_claim {
	struct xn_auth *auth;
	struct xn_list link; /* xn_auth.claims */
	char *user, *password, *origin;
	struct login login;
	struct xn_error err;
	struct xn_job told;
	void (*decided)(struct auth_claim *claim, void *arg);
	void *arg;
};
struct auth_claim *auth_claim_begin(struct xn_auth *auth, const char *user, const char *password,
				    const char *origin,
				    void (*decided)(struct auth_claim *claim, void *arg), void *arg);
void auth_claim_drop(struct auth_claim *claim); /* decided() does not come; NULL is fine */

/* ---- session_gc.c ---- */
void auth_gc_start(struct xn_auth *auth);
void auth_gc_soon(struct xn_auth *auth);
void auth_gc_run(struct xn_auth *auth);

/* ---- password_file.c ---- */
/* Says at start what would otherwise show only at the first login. */
void auth_password_announce(struct xn_auth *auth);
/* 0, or -1 with SESSION_AUTHENTICATION_FAILED [user, text]. */
int auth_password_check(struct xn_auth *auth, const char *user, const char *password,
			struct xn_error *err);
/* Writes the new password from a worker, then answers @call. */
void auth_password_change(struct xn_auth *auth, struct xn_call *call, const char *password);
void auth_password_clear(struct xn_auth *auth);

/* ---- role.c ---- */
void auth_roles_create(struct xn_auth *auth);
/* XN_ROLE_COUNT when no role has this name. */
enum xn_role auth_role_by_name(const char *name);
void role_get_permissions_name_label(struct xn_call *call);
void role_get_by_permission_name_label(struct xn_call *call);

/* ---- session_api.c ---- */
extern const struct xn_method_impl auth_methods[];

#endif
