/* What the files of modules/auth share. */
#ifndef XN_AUTH_INTERNAL_H
#define XN_AUTH_INTERNAL_H

#include "core/child.h"
#include "core/events.h"
#include "core/gate.h"
#include "core/hmap.h"
#include "core/metrics.h"
#include "core/module.h"
#include "modules/auth/auth.h"
#include "modules/db/db.h"

enum {
	LAST_ACTIVE_STEP_S = 600, /* last_active is written no oftener, */
	LAST_ACTIVE_PART = 10,	  /* but so many times in session-idle, where that is short */
	SESSION_TEXT_MAX = 256,   /* originator, kept in the row */
	SESSION_GC_PERIOD_S = 30,
	SESSION_GC_LOGINS = 100, /* logins that bring the next collection forward, at most */
	USER_MAX = 63,		 /* bytes of a user's name that may log in */
	PASSWORD_MAX = 1024,
};

/*
 * One session in memory, found by its secret: the hot path of every call. A session with a row is
 * entered at its login or, after a restart, when its secret is first seen. A local session has no
 * row and lives here only; so does, until the database takes changes again, one that was made while
 * it refused them. One that ended then stays here until its row is deleted.
 */
struct session {
	struct xn_hnode by_secret, by_ref;
	struct xn_list link;	  /* xn_auth.local or .late; else alone */
	struct xn_value *row;	  /* NULL, or the fields of the row to be */
	char secret[XN_REF_LEN], ref[XN_REF_LEN], user[64];
	enum xn_role role;
	bool superuser, local;
	bool ended; /* but the row could not be deleted yet */
	int64_t used_us, written_us; /* last use; time of the row's last_active */
};

/* How many sessions there may be: the configuration's, read once. */
struct session_limits {
	int64_t idle_s, step_s; /* step_s: what a row's last_active may lag */
	unsigned anonymous, originator, user, pool, all, local;
};

struct failures; /* backoff.c */
struct report;	 /* failed_logins.c */
struct permissions; /* role_api.c */
struct auth_pam; /* pam.c */

struct auth_counters { /* since the start */
	uint64_t logins, logins_trusted, failed, put_off, too_many, denied;
	uint64_t pam_runs, pam_timeouts, pam_broken, collected;
};

struct xn_auth {
	struct xn_core *core;
	struct xn_db *db;
	struct xn_hmap by_secret, by_ref;
	struct xn_list local; /* least recently made first */
	struct xn_list late;  /* session_late.c */
	unsigned n_local, n_rowless, n_ended;
	struct xn_subscription *on_db_failed;
	struct xn_db_wait rows_made; /* a slice of .late */
	struct session_limits limits;

	char *password_path; /* NULL: none configured */
	bool password_changing; /* a worker writes a new one */
	struct xn_pool *workers; /* for that file: other work that blocks must not keep logins */
	struct auth_pam *pam;	 /* NULL: off */
	struct failures *failures;
	struct xn_list claims;
	unsigned n_claims, max_claims;

	int64_t started_us; /* since the epoch */
	struct xn_timer gc_timer;
	struct xn_job gc_job;
	unsigned logins_since_gc;
	uint64_t losses_seen; /* of the database, by the last collection */
	struct report *report;
	struct xn_value *role_names[XN_ROLE_COUNT]; /* permissions, when first asked for */
	struct permissions *permissions; /* made when first asked for */
	struct auth_counters counters;
	struct xn_metrics_source metrics;
};

/* ---- session.c ---- */
struct login {
	const char *user, *originator;
	enum xn_role role;
	bool superuser, local;
	/* Of who is no superuser: the row of class subject that gives the role, and the account. */
	char subject[XN_REF_LEN];
	const char *sid;
};
void auth_session_begin(struct xn_auth *auth, const struct login *login, char secret[XN_REF_LEN]);
/* Deletes the row, at once or as soon as that is possible, forgets the cache entry, tells
 * session_ended. Unknown: false. */
bool auth_session_end(struct xn_auth *auth, const char *ref);
/* The cache entry of a row, or NULL when its secret was not seen since the start. */
struct session *auth_session_by_ref(struct xn_auth *auth, const char *ref);
void auth_session_forget(struct xn_auth *auth, struct session *s); /* cache only */
void auth_sessions_clear(struct xn_auth *auth);			   /* cache only */
/* Since the epoch; of a row whose secret was not seen since the start (@s NULL) the last moment that
 * it can have been. */
int64_t auth_last_use_us(const struct xn_auth *auth, const struct session *s);
int64_t auth_last_use_of_row_us(struct xn_auth *auth, const struct session *s,
				const struct xn_row *row);
/* Into the row that is there, or is to be; not while the database refuses. */
void auth_write_last_active(struct xn_auth *auth, struct session *s);
/* A reference that follows from a hash; bits of @hash are changed. */
void auth_ref_of_hash(unsigned char hash[32], char ref[XN_REF_LEN]);
void auth_sessions_end_all(struct xn_auth *auth, struct xn_value *refs); /* takes @refs */
/* Of everybody who logged in as this account, but the session @but and superusers. */
void auth_sessions_end_of(struct xn_auth *auth, const char *sid, const char *but);

/* ---- session_late.c ---- */
/* Begin or end while the database refuses changes. The first takes @fields. */
void auth_session_make_later(struct xn_auth *auth, struct session *s, struct xn_value *fields);
void auth_session_end_later(struct xn_auth *auth, struct session *s);
/* It takes changes again. */
void auth_sessions_catch_up(struct xn_auth *auth);
struct xn_value *auth_rowless_field(const struct session *s, int field);

struct session_facts { /* borrowed for the call */
	const struct xn_row *row;	/* NULL: none yet */
	const struct session *session; /* NULL: its secret was not seen since the start */
	const char *ref, *user, *originator, *subject, *sid;
	bool superuser, pool;
};
typedef void (*auth_session_fn)(const struct session_facts *facts, void *arg);
/* All that are open, with or without a row; but local ones. @fn ends none. */
void auth_sessions_each(struct xn_auth *auth, auth_session_fn fn, void *arg);
size_t auth_sessions_count(const struct xn_auth *auth);

/* ---- session_gc.c ---- */
bool auth_session_is_busy(struct xn_auth *auth, const struct xn_row *row); /* its tasks run */
void auth_gc_read_limits(struct xn_auth *auth);
void auth_gc_start(struct xn_auth *auth);
void auth_gc_soon(struct xn_auth *auth);
void auth_gc_run(struct xn_auth *auth);
void auth_gc_note_login(struct xn_auth *auth); /* which may bring the next one forward */

/* ---- claim.c ---- */
/*
 * A name and a password on their way to be checked; whoever began it may drop it until decided().
 * decided() comes once, later from the loop, then the claim is freed: err->code is
 * SESSION_AUTHENTICATION_FAILED, SESSION_AUTHORIZATION_FAILED or RBAC_PERMISSION_DENIED, or NULL with
 * what the login gets in .login (its strings are the claim's). The error's second parameter says why.
 */
extern const char auth_wrong_password[];
struct auth_claim;
struct auth_claim_spec {
	const char *user, *password; /* copied */
	const char *origin;	     /* "10.0.0.5:41234" */
	const char *originator, *user_agent;
	void (*decided)(const struct login *login, struct xn_error *err, void *arg);
	void *arg;
};
struct auth_claim *auth_claim_begin(struct xn_auth *auth, const struct auth_claim_spec *spec);
void auth_claim_drop(struct auth_claim *claim); /* decided() does not come; NULL is fine */
/* Decides all of them: the module stops. */
void auth_claims_end(struct xn_auth *auth);

/* ---- password_file.c ---- */
/* Says at start what would otherwise show only at the first login. */
void auth_password_announce(struct xn_auth *auth);
/* A check on a worker; done() gets 0, -EACCES (wrong), or what went wrong with the file. */
struct password_check;
struct password_check *auth_password_check(struct xn_auth *auth, const char *password,
					   void (*done)(int rc, void *arg), void *arg);
void auth_password_check_drop(struct password_check *check); /* done() does not come; NULL is fine */
/* Writes the new password from a worker, then answers @call. */
void auth_password_change(struct xn_auth *auth, struct xn_call *call, const char *password);

/* ---- pam.c, pam_answer.c ---- */
enum { PAM_GROUPS_MAX = 256, PAM_ANSWER_MAX = 32768 };
enum pam_verdict {
	PAM_RIGHT,
	PAM_WRONG,   /* name or password */
	PAM_REFUSED, /* the account may not log in, or the new password is unfit: .text says why */
	PAM_BROKEN,  /* neither: PAM itself failed */
	PAM_LATE,    /* no answer in time */
};
struct pam_answer { /* borrowed for the call */
	enum pam_verdict verdict;
	const char *text; /* may be "" */
	const char *user; /* as PAM calls it in the end */
	const char *groups[PAM_GROUPS_MAX];
	unsigned n_groups;
};
/* What a child printed: strings, each with its NUL. Total over bytes; what is no answer: PAM_BROKEN. */
void auth_pam_read_answer(const char *bytes, size_t len, struct pam_answer *out);

int auth_pam_start(struct xn_auth *auth, struct xn_error *err);
void auth_pam_stop(struct xn_auth *auth);
/* Whether this account, or one in these groups, becomes superuser. */
bool auth_pam_is_superuser(const struct auth_pam *pam, const char *user,
			   const char *const *groups, unsigned n_groups);
enum pam_task { PAM_CHECK, PAM_CHANGE, PAM_LOOK_UP };
struct pam_ask_spec {
	enum pam_task task;
	const char *user, *password, *fresh; /* copied; NULL where the task needs none */
	const char *origin;
	void (*answered)(const struct pam_answer *answer, void *arg);
	void *arg;
};
struct pam_ask; /* answered() comes once, later from the loop */
struct pam_ask *auth_pam_ask(struct xn_auth *auth, const struct pam_ask_spec *spec);
void auth_pam_drop(struct pam_ask *ask); /* answered() does not come; NULL is fine */
struct pam_numbers {
	unsigned running, waiting, limit;
};
void auth_pam_numbers(const struct xn_auth *auth, struct pam_numbers *out);

/* ---- backoff.c ---- */
enum { AUTH_ADDRESS_MAX = 64 };
/* Without the port. Of IPv6 the network: whoever has one address there has them all. */
void auth_failures_address(const char *origin, char out[AUTH_ADDRESS_MAX]);
void auth_failures_start(struct xn_auth *auth);
void auth_failures_stop(struct xn_auth *auth);
/* Microseconds until @user may try again from @origin; 0: now. */
int64_t auth_failures_wait_us(struct xn_auth *auth, const char *user, const char *origin);
void auth_failures_add(struct xn_auth *auth, const char *user, const char *origin);
void auth_failures_forgive(struct xn_auth *auth, const char *user, const char *origin);
unsigned auth_failures_count(const struct xn_auth *auth); /* entries */

/* ---- failed_logins.c ---- */
void auth_report_start(struct xn_auth *auth);
void auth_report_stop(struct xn_auth *auth);
/* Whether this is the name of somebody who may log in: others may be mistyped passwords. */
bool auth_may_be_named(struct xn_auth *auth, const char *user);
void auth_report_add(struct xn_auth *auth, const struct auth_claim_spec *claim);

/* ---- metrics.c ---- */
size_t auth_metrics_write(struct xn_metrics_source *source, struct xn_metrics_page *page,
			  size_t from);

/* ---- subject.c ---- */
/* What the rows of class subject give to an account and its groups: role, subject, sid. 0, or -1 with
 * SESSION_AUTHORIZATION_FAILED, RBAC_PERMISSION_DENIED. */
int auth_subject_login(struct xn_auth *auth, const struct pam_answer *account,
		       struct login *login, struct xn_error *err);
extern const struct xn_method_impl auth_subject_methods[];

/* ---- role.c ---- */
void auth_roles_create(struct xn_auth *auth);
/* XN_ROLE_COUNT when no role has this name, or reference. */
enum xn_role auth_role_by_name(const char *name);
enum xn_role auth_role_by_ref(const char *ref);
/* Lower-case names of all that a role may do; the caller's reference. */
struct xn_value *auth_role_permissions(struct xn_auth *auth, enum xn_role role);

/* ---- role_api.c ---- */
void auth_permissions_clear(struct xn_auth *auth);
extern const struct xn_method_impl auth_role_methods[];

/* ---- permit.c ---- */
bool auth_role_may(enum xn_role role, enum xn_role needed);
/* "vm.add_to_other_config/key:pci"; @key may be NULL. */
void auth_permission_name(const char *method, const char *key, struct xn_buf *out);

/* ---- session_api.c ---- */
extern const struct xn_method_impl auth_methods[];

#endif
