/*
 * Sessions: rows whose reference is made from a hash of the secret that the client holds, and
 * the cache that finds them by secret. Used by session_api.c, and by rpc/ for every call.
 */
#include "modules/auth/auth_internal.h"
#include "core/sha256.h"

#include <stdio.h>
#include <stdlib.h>

static const char ref_prefix[] = "OpaqueRef:";
enum { REF_PREFIX_LEN = sizeof(ref_prefix) - 1, REF_TEXT_LEN = XN_REF_LEN - 2 };

void auth_ref_of_hash(unsigned char h[32], char ref[XN_REF_LEN])
{
	h[6] = (unsigned char)(0x80 | (h[6] & 0x0f)); /* UUID version 8: made by an own rule */
	h[8] = (unsigned char)(0x80 | (h[8] & 0x3f));
	snprintf(ref, XN_REF_LEN,
		 "%s%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 ref_prefix, h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10],
		 h[11], h[12], h[13], h[14], h[15]);
}

/* The row's reference: who reads the database or a log learns nothing that logs him in. */
static void ref_of_secret(const char *secret, char ref[XN_REF_LEN])
{
	unsigned char h[32];

	xn_sha256(secret, strlen(secret), h);
	auth_ref_of_hash(h, ref);
}

static bool could_be_ref(const char *text)
{
	return strnlen(text, XN_REF_LEN) == REF_TEXT_LEN &&
	       memcmp(text, ref_prefix, REF_PREFIX_LEN) == 0;
}

static struct session *find_by_secret(struct xn_auth *auth, const char *secret)
{
	struct xn_hnode *node = xn_hmap_first_same(&auth->by_secret, xn_hash_string(secret));

	for (; node; node = xn_hmap_next_same(node)) {
		struct session *s = xn_container_of(node, struct session, by_secret);

		if (strcmp(s->secret, secret) == 0)
			return s;
	}
	return NULL;
}

struct session *auth_session_by_ref(struct xn_auth *auth, const char *ref)
{
	struct xn_hnode *node = xn_hmap_first_same(&auth->by_ref, xn_hash_string(ref));

	for (; node; node = xn_hmap_next_same(node)) {
		struct session *s = xn_container_of(node, struct session, by_ref);

		if (strcmp(s->ref, ref) == 0)
			return s;
	}
	return NULL;
}

static struct session *remember(struct xn_auth *auth, const char *secret, const char *ref,
				const struct login *login)
{
	struct session *s = xn_calloc(1, sizeof(*s));

	snprintf(s->secret, sizeof(s->secret), "%s", secret);
	snprintf(s->ref, sizeof(s->ref), "%s", ref);
	xn_text_copy(s->user, sizeof(s->user), login->user);
	s->role = login->role;
	s->superuser = login->superuser;
	s->local = login->local;
	s->used_us = s->written_us = xn_now_us(auth->core->loop);
	xn_list_init(&s->link);
	xn_hmap_insert(&auth->by_secret, &s->by_secret, xn_hash_string(s->secret));
	xn_hmap_insert(&auth->by_ref, &s->by_ref, xn_hash_string(s->ref));
	if (s->local) {
		xn_list_push(&auth->local, &s->link);
		auth->n_local++;
	}
	return s;
}

void auth_session_forget(struct xn_auth *auth, struct session *s)
{
	xn_hmap_remove(&auth->by_secret, &s->by_secret);
	xn_hmap_remove(&auth->by_ref, &s->by_ref);
	xn_list_remove(&s->link);
	if (s->local)
		auth->n_local--;
	auth->n_rowless -= s->row != NULL;
	auth->n_ended -= s->ended;
	xn_value_unref(s->row);
	memset(s->secret, 0, sizeof(s->secret));
	free(s);
}

void auth_sessions_clear(struct xn_auth *auth)
{
	struct xn_hnode *node = xn_hmap_first(&auth->by_ref);

	while (node) {
		struct session *s = xn_container_of(node, struct session, by_ref);

		node = xn_hmap_next(&auth->by_ref, node);
		auth_session_forget(auth, s);
	}
	xn_hmap_clear(&auth->by_secret);
	xn_hmap_clear(&auth->by_ref);
}

/* The last moment that a session can have been used that was not seen since the start: its row may
 * lag. */
static int64_t last_use_by_row_us(const struct xn_auth *auth, const struct xn_row *row)
{
	int64_t written = xn_row_int(row, XN_session_last_active) * 1000000;
	int64_t used = written + auth->limits.step_s * 1000000;

	if (used > auth->started_us)
		used = auth->started_us;
	return used > written ? used : written;
}

int64_t auth_last_use_us(const struct xn_auth *auth, const struct session *s)
{
	return xn_wall_us(auth->core->loop) - (xn_now_us(auth->core->loop) - s->used_us);
}

int64_t auth_last_use_of_row_us(struct xn_auth *auth, const struct session *s,
				const struct xn_row *row)
{
	int64_t written = xn_row_int(row, XN_session_last_active) * 1000000;
	int64_t used = s ? auth_last_use_us(auth, s) : last_use_by_row_us(auth, row);

	return used > written ? used : written;
}

/* The entry of a row that had none. It is used now: the clock may have been set since the last life, so
 * that only the collection, a while later, takes it for a time without use. */
static struct session *enter(struct xn_auth *auth, const char *secret, const struct xn_row *row)
{
	struct xn_loop *loop = auth->core->loop;
	struct login login = {
		.user = xn_row_string(row, XN_session_auth_user_name),
		.role = auth_role_by_name(xn_row_string(row, XN_session_xn_role)),
		.superuser = xn_row_bool(row, XN_session_is_local_superuser),
	};
	struct session *s;
	int64_t idle_s;

	if (login.role == XN_ROLE_COUNT) /* of another release: the least that there is */
		login.role = XN_ROLE_READ_ONLY;
	s = remember(auth, secret, xn_row_ref(row), &login);
	idle_s = xn_wall_s(loop) - xn_row_int(row, XN_session_last_active);
	if (idle_s > 0)
		s->written_us -= idle_s * 1000000;
	return s;
}

/* A session whose secret is seen for the first time since the daemon started. */
static struct session *recall(struct xn_auth *auth, const char *secret)
{
	char ref[XN_REF_LEN];
	struct xn_row *row;

	ref_of_secret(secret, ref);
	row = xn_db_get(auth->db, XN_CLASS_session, ref);
	if (!row || auth_session_by_ref(auth, ref)) /* that one has ended */
		return NULL;
	return enter(auth, secret, row);
}

static struct session *find(struct xn_auth *auth, const char *secret)
{
	struct session *s;

	if (!could_be_ref(secret))
		return NULL;
	s = find_by_secret(auth, secret);
	if (!s)
		s = recall(auth, secret);
	return s && !s->ended ? s : NULL;
}

void auth_write_last_active(struct xn_auth *auth, struct session *s)
{
	int64_t used_s = auth_last_use_us(auth, s) / 1000000;
	struct xn_row *row = xn_db_get(auth->db, XN_CLASS_session, s->ref);

	if (s->row)
		xn_map_put(&s->row, "last_active", xn_datetime(used_s));
	else if (xn_db_writable(auth->db) < 0)
		return; /* once changes are accepted again */
	if (row)
		xn_db_set(auth->db, row, XN_session_last_active, xn_datetime(used_s));
	s->written_us = s->used_us;
}

/* Not all ends are the collection's: it comes now and then only. */
static bool is_too_old(struct xn_auth *auth, const struct session *s)
{
	struct xn_row *row;

	if (xn_now_us(auth->core->loop) - s->used_us <= auth->limits.idle_s * 1000000)
		return false;
	row = xn_db_get(auth->db, XN_CLASS_session, s->ref);
	return !row || !auth_session_is_busy(auth, row);
}

int xn_auth_session(struct xn_auth *auth, const char *secret, struct xn_caller *caller,
		    struct xn_error *err)
{
	struct session *s = find(auth, secret);

	if (s && is_too_old(auth, s)) {
		auth->counters.collected += auth_session_end(auth, s->ref);
		s = NULL;
	}
	if (!s)
		return xn_error_set(err, XN_ERR_SESSION_INVALID, secret);
	s->used_us = xn_now_us(auth->core->loop);
	if (s->used_us - s->written_us > auth->limits.step_s * 1000000 && !s->local)
		auth_write_last_active(auth, s);
	memcpy(caller->session, s->ref, sizeof(s->ref));
	memcpy(caller->user, s->user, sizeof(s->user));
	caller->role = s->role;
	caller->is_superuser = s->superuser;
	return 0;
}

static struct session *find_named(struct xn_auth *auth, const char *secret_or_ref)
{
	struct session *s = find(auth, secret_or_ref);

	if (!s)
		s = auth_session_by_ref(auth, secret_or_ref);
	return s && !s->ended ? s : NULL;
}

struct xn_value *xn_auth_rowless_get(struct xn_auth *auth, const char *secret_or_ref, int field)
{
	const struct session *s = find_named(auth, secret_or_ref);

	return s && s->row ? auth_rowless_field(s, field) : NULL;
}

const char *xn_auth_session_ref(struct xn_auth *auth, const char *secret_or_ref)
{
	struct session *s = find_named(auth, secret_or_ref);
	struct xn_row *row;

	if (s)
		return s->ref;
	row = xn_db_get(auth->db, XN_CLASS_session, secret_or_ref);
	return row ? xn_row_ref(row) : NULL;
}

const char *xn_auth_session_of_secret(struct xn_auth *auth, const char *secret)
{
	const struct session *s = find(auth, secret);

	return s ? s->ref : NULL;
}

/* The host that the session was made on: the pool's coordinator. */
static const char *this_host(struct xn_auth *auth)
{
	struct xn_row *pool = xn_db_first(auth->db, XN_CLASS_pool);
	struct xn_row *host = pool ? xn_row_follow(auth->db, pool, XN_pool_master) : NULL;

	return host ? xn_row_ref(host) : XN_NULL_REF;
}

/* As much of @text as a row should keep, cut between characters. */
static struct xn_value *bounded_text(const char *text)
{
	return xn_string_len(text, xn_text_fit(text, SESSION_TEXT_MAX));
}

static struct xn_value *fields_of(struct xn_auth *auth, const struct login *login)
{
	struct xn_value *fields = xn_map_new();
	int64_t now = xn_wall_s(auth->core->loop);

	xn_map_put_string(&fields, "this_host", this_host(auth));
	xn_map_put_string(&fields, "this_user", XN_NULL_REF);
	xn_map_put(&fields, "last_active", xn_datetime(now));
	xn_map_put(&fields, "validation_time", xn_datetime(now));
	xn_map_put(&fields, "is_local_superuser", xn_bool(login->superuser));
	xn_map_put_string(&fields, "subject", *login->subject ? login->subject : XN_NULL_REF);
	xn_map_put_string(&fields, "auth_user_sid", login->sid ? login->sid : "");
	xn_map_put_string(&fields, "parent", XN_NULL_REF);
	xn_map_put(&fields, "auth_user_name", bounded_text(login->user));
	xn_map_put(&fields, "originator", bounded_text(login->originator));
	xn_map_put_string(&fields, "xn_role", xn_role_names[login->role]);
	return fields;
}

/* ---- beginning and end ---- */

void auth_session_begin(struct xn_auth *auth, const struct login *login, char secret[XN_REF_LEN])
{
	struct xn_value *fields = login->local ? NULL : fields_of(auth, login);
	struct session *s;
	char ref[XN_REF_LEN];

	xn_ref_new(auth->core->loop, secret);
	ref_of_secret(secret, ref);
	if (login->local && auth->n_local >= auth->limits.local)
		auth_session_end(auth, xn_list_entry(auth->local.next, struct session, link)->ref);
	s = remember(auth, secret, ref, login);
	if (!fields)
		return;
	if (xn_db_writable(auth->db) < 0) { /* who comes now must be able to look, and to help */
		auth_session_make_later(auth, s, fields);
	} else {
		xn_db_create(auth->db, XN_CLASS_session, ref, fields);
		xn_value_unref(fields);
	}
	auth_gc_note_login(auth);
}

bool auth_session_end(struct xn_auth *auth, const char *ref)
{
	struct session *s = auth_session_by_ref(auth, ref);
	struct xn_row *row = xn_db_get(auth->db, XN_CLASS_session, ref);
	struct xn_ev_session_ended ended = {0};

	if ((!s && !row) || (s && s->ended))
		return false;
	snprintf(ended.session, sizeof(ended.session), "%s", ref); /* @ref may be the row's own */
	if (row && xn_db_writable(auth->db) < 0) {
		auth_session_end_later(auth, s ? s : enter(auth, "", row));
	} else {
		if (row)
			xn_db_delete(auth->db, row);
		if (s)
			auth_session_forget(auth, s);
	}
	xn_publish_session_ended(auth->core->bus, &ended);
	return true;
}

void xn_auth_login_as(struct xn_auth *auth, const char *user, enum xn_role role, bool superuser,
		      const char *originator, char secret[48])
{
	const struct login login = {
		.user = user,
		.originator = originator,
		.role = role,
		.superuser = superuser,
	};

	auth_session_begin(auth, &login, secret);
}

void auth_sessions_end_all(struct xn_auth *auth, struct xn_value *refs)
{
	for (size_t i = 0; i < xn_set_len(refs); i++)
		auth_session_end(auth, xn_value_string(xn_set_at(refs, i)));
	xn_value_unref(refs);
}

struct to_end {
	const char *sid, *but;
	struct xn_value *refs;
};

static void note_to_end(const struct session_facts *facts, void *arg)
{
	struct to_end *end = arg;

	if (strcmp(facts->sid, end->sid) == 0 && !facts->superuser &&
	    strcmp(facts->ref, end->but) != 0)
		xn_set_append_string(&end->refs, facts->ref);
}

void auth_sessions_end_of(struct xn_auth *auth, const char *sid, const char *but)
{
	struct to_end end = {sid, but, xn_set_new()};

	auth_sessions_each(auth, note_to_end, &end);
	auth_sessions_end_all(auth, end.refs);
}
