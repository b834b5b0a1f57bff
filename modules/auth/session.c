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

static void forget(struct xn_auth *auth, struct session *s)
{
	xn_hmap_remove(&auth->by_secret, &s->by_secret);
	xn_hmap_remove(&auth->by_ref, &s->by_ref);
	xn_list_remove(&s->link);
	if (s->local)
		auth->n_local--;
	if (s->row)
		auth->n_rowless--;
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
		forget(auth, s);
	}
	xn_hmap_clear(&auth->by_secret);
	xn_hmap_clear(&auth->by_ref);
}

/* A session whose secret is seen for the first time since the daemon started. */
static struct session *recall(struct xn_auth *auth, const char *secret)
{
	char ref[XN_REF_LEN];
	struct xn_row *row;
	struct login login;
	struct session *s;
	int64_t idle_s;

	ref_of_secret(secret, ref);
	row = xn_db_get(auth->db, XN_CLASS_session, ref);
	if (!row)
		return NULL;
	login = (struct login){
		.user = xn_row_string(row, XN_session_auth_user_name),
		.role = auth_role_by_name(xn_row_string(row, XN_session_xn_role)),
		.superuser = xn_row_bool(row, XN_session_is_local_superuser),
	};
	if (login.role == XN_ROLE_COUNT) /* of another release: the least that there is */
		login.role = XN_ROLE_READ_ONLY;
	s = remember(auth, secret, ref, &login);
	idle_s = xn_wall_s(auth->core->loop) - xn_row_int(row, XN_session_last_active);
	if (idle_s > 0)
		s->written_us -= idle_s * 1000000;
	return s;
}

static struct session *find(struct xn_auth *auth, const char *secret)
{
	struct session *s;

	if (!could_be_ref(secret))
		return NULL;
	s = find_by_secret(auth, secret);
	return s ? s : recall(auth, secret);
}

static void write_last_active(struct xn_auth *auth, struct session *s)
{
	struct xn_row *row = xn_db_get(auth->db, XN_CLASS_session, s->ref);

	s->written_us = s->used_us;
	if (row)
		xn_db_set(auth->db, row, XN_session_last_active,
			  xn_datetime(xn_wall_s(auth->core->loop)));
}

int xn_auth_session(struct xn_auth *auth, const char *secret, struct xn_caller *caller,
		    struct xn_error *err)
{
	struct session *s = find(auth, secret);

	if (!s)
		return xn_error_set(err, XN_ERR_SESSION_INVALID, secret);
	s->used_us = xn_now_us(auth->core->loop);
	if (s->used_us - s->written_us > auth->limits.step_s * 1000000 && !s->local)
		write_last_active(auth, s);
	memcpy(caller->session, s->ref, sizeof(s->ref));
	memcpy(caller->user, s->user, sizeof(s->user));
	caller->role = s->role;
	caller->is_superuser = s->superuser;
	return 0;
}

static struct session *find_named(struct xn_auth *auth, const char *secret_or_ref)
{
	struct session *s = find(auth, secret_or_ref);

	return s ? s : auth_session_by_ref(auth, secret_or_ref);
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

/* ---- without a row, for now ---- */

struct xn_value *xn_auth_rowless_get(struct xn_auth *auth, const char *secret_or_ref, int field)
{
	const struct xn_class *cls = &xn_classes[XN_CLASS_session];
	const struct session *s = find_named(auth, secret_or_ref);
	const struct xn_value *v;

	if (!s || !s->row)
		return NULL;
	v = xn_map_get(s->row, cls->fields[field].name);
	return v ? xn_value_ref(v) : xn_field_default(cls, (unsigned)field);
}

/* Who comes while the disk is full must be able to look, and to help. */
static void keep_without_row(struct xn_auth *auth, struct session *s, struct xn_value *fields)
{
	char uuid[XN_UUID_LEN];

	xn_uuid_new(auth->core->loop, uuid);
	xn_map_put_string(&fields, "uuid", uuid);
	if (auth->n_rowless >= auth->limits.all)
		auth_session_end(auth,
				 xn_list_entry(auth->rowless.next, struct session, link)->ref);
	s->row = fields;
	xn_list_push(&auth->rowless, &s->link);
	auth->n_rowless++;
}

static void on_rows_made(struct xn_db_wait *wait, int rc)
{
	struct xn_auth *auth = xn_container_of(wait, struct xn_auth, rows_made);

	xn_list_each_safe(node, &auth->rowless) {
		struct session *s = xn_list_entry(node, struct session, link);

		if (rc < 0 || !xn_db_get(auth->db, XN_CLASS_session, s->ref))
			continue; /* at the next opportunity */
		xn_list_remove(&s->link);
		xn_value_unref(s->row);
		s->row = NULL;
		auth->n_rowless--;
	}
}

void auth_sessions_make_rows(struct xn_auth *auth)
{
	if (!auth->n_rowless)
		return;
	xn_list_each(node, &auth->rowless) {
		struct session *s = xn_list_entry(node, struct session, link);

		if (!xn_db_get(auth->db, XN_CLASS_session, s->ref))
			xn_db_create(auth->db, XN_CLASS_session, s->ref, s->row);
	}
	xn_db_wait_cancel(&auth->rows_made);
	xn_db_when_visible(auth->db, &auth->rows_made, on_rows_made);
	auth_gc_soon(auth);
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
	if (xn_db_writable(auth->db) < 0) {
		keep_without_row(auth, s, fields);
		return;
	}
	xn_db_create(auth->db, XN_CLASS_session, ref, fields);
	xn_value_unref(fields);
	auth_gc_note_login(auth);
}

bool auth_session_end(struct xn_auth *auth, const char *ref)
{
	struct session *s = auth_session_by_ref(auth, ref);
	struct xn_row *row = xn_db_get(auth->db, XN_CLASS_session, ref);
	struct xn_ev_session_ended ended = {0};

	if (!s && !row)
		return false;
	snprintf(ended.session, sizeof(ended.session), "%s", ref); /* @ref may be the row's own */
	if (row)
		xn_db_delete(auth->db, row);
	if (s)
		forget(auth, s);
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

void auth_sessions_end_of(struct xn_auth *auth, const char *sid, const char *but)
{
	XN_CLEANUP(xn_value_unref_p) struct xn_value *refs = xn_set_new();

	for (struct xn_row *row = xn_db_first(auth->db, XN_CLASS_session); row;
	     row = xn_db_next(auth->db, row)) {
		if (strcmp(xn_row_string(row, XN_session_auth_user_sid), sid) == 0 &&
		    !xn_row_bool(row, XN_session_is_local_superuser) &&
		    strcmp(xn_row_ref(row), but) != 0)
			xn_set_append_string(&refs, xn_row_ref(row));
	}
	for (size_t i = 0; i < xn_set_len(refs); i++)
		auth_session_end(auth, xn_value_string(xn_set_at(refs, i)));
}
