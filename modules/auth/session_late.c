/*
 * Sessions whose rows are late, because the database refuses changes: one that was made meanwhile has
 * no row yet, one that was used or ended meanwhile has a row that knows nothing of it. Once changes
 * are accepted again the rows are made true, a slice at a time. Used by session.c.
 */
#include "modules/auth/auth_internal.h"

enum { SLICE = 250 }; /* rows; well under a millisecond */

static bool is_late(const struct session *s)
{
	return !xn_list_empty(&s->link);
}

static void be_late(struct xn_auth *auth, struct session *s)
{
	if (!is_late(s))
		xn_list_push(&auth->late, &s->link);
}

void auth_session_make_later(struct xn_auth *auth, struct session *s, struct xn_value *fields)
{
	char uuid[XN_UUID_LEN];

	xn_uuid_new(auth->core->loop, uuid);
	xn_map_put_string(&fields, "uuid", uuid);
	s->row = fields;
	auth->n_rowless++;
	be_late(auth, s);
}

void auth_session_end_later(struct xn_auth *auth, struct session *s)
{
	s->ended = true;
	auth->n_ended++;
	be_late(auth, s);
}

/* ---- reading ---- */

static const struct xn_value *get(const struct session *s, int field)
{
	return xn_map_get(s->row, xn_classes[XN_CLASS_session].fields[field].name);
}

struct xn_value *auth_rowless_field(const struct session *s, int field)
{
	const struct xn_value *v = get(s, field);

	return v ? xn_value_ref(v)
		 : xn_field_default(&xn_classes[XN_CLASS_session], (unsigned)field);
}

const char *xn_auth_rowless_by_uuid(struct xn_auth *auth, const char *uuid)
{
	xn_list_each(node, &auth->late) {
		const struct session *s = xn_list_entry(node, struct session, link);

		if (s->row && !s->ended && strcmp(xn_value_string(get(s, XN_session_uuid)), uuid) == 0)
			return s->ref;
	}
	return NULL;
}

static void show_row(struct xn_auth *auth, const struct xn_row *row, auth_session_fn fn, void *arg)
{
	const struct session *s = auth_session_by_ref(auth, xn_row_ref(row));

	if (s && s->ended)
		return;
	fn(&(struct session_facts){
		   .row = row,
		   .session = s,
		   .ref = xn_row_ref(row),
		   .user = xn_row_string(row, XN_session_auth_user_name),
		   .originator = xn_row_string(row, XN_session_originator),
		   .subject = xn_row_string(row, XN_session_subject),
		   .sid = xn_row_string(row, XN_session_auth_user_sid),
		   .superuser = xn_row_bool(row, XN_session_is_local_superuser),
		   .pool = xn_row_bool(row, XN_session_pool),
	   },
	   arg);
}

static void show_rowless(const struct session *s, auth_session_fn fn, void *arg)
{
	fn(&(struct session_facts){
		   .session = s,
		   .ref = s->ref,
		   .user = xn_value_string(get(s, XN_session_auth_user_name)),
		   .originator = xn_value_string(get(s, XN_session_originator)),
		   .subject = xn_value_string(get(s, XN_session_subject)),
		   .sid = xn_value_string(get(s, XN_session_auth_user_sid)),
		   .superuser = s->superuser,
	   },
	   arg);
}

void auth_sessions_each(struct xn_auth *auth, auth_session_fn fn, void *arg)
{
	for (struct xn_row *row = xn_db_first(auth->db, XN_CLASS_session); row;
	     row = xn_db_next(auth->db, row))
		show_row(auth, row, fn, arg);
	xn_list_each(node, &auth->late) {
		const struct session *s = xn_list_entry(node, struct session, link);

		if (s->row && !s->ended && !xn_db_get(auth->db, XN_CLASS_session, s->ref))
			show_rowless(s, fn, arg);
	}
}

size_t auth_sessions_count(const struct xn_auth *auth)
{
	size_t all = xn_db_count(auth->db, XN_CLASS_session) + auth->n_rowless;

	/* Until the end of the turn that deletes their rows these are taken off twice. */
	return all > auth->n_ended ? all - auth->n_ended : 0;
}

/* ---- the database takes changes again ---- */

/* Whether the row's time of use is further behind than it may be. */
static bool lags(struct xn_auth *auth, const struct session *s, const struct xn_row *row)
{
	return auth_last_use_us(auth, s) / 1000000 - xn_row_int(row, XN_session_last_active) >
	       auth->limits.step_s;
}

/* Also where a time was written, but taken back by the failing disk. */
static void find_lagging(struct xn_auth *auth)
{
	for (struct xn_row *row = xn_db_first(auth->db, XN_CLASS_session); row;
	     row = xn_db_next(auth->db, row)) {
		struct session *s = auth_session_by_ref(auth, xn_row_ref(row));

		if (s && lags(auth, s, row))
			be_late(auth, s);
	}
}

static void make_true(struct xn_auth *auth, struct session *s)
{
	struct xn_row *row = xn_db_get(auth->db, XN_CLASS_session, s->ref);

	if (s->ended && row)
		xn_db_delete(auth->db, row);
	else if (row)
		auth_write_last_active(auth, s);
	else if (!s->ended && s->row)
		xn_db_create(auth->db, XN_CLASS_session, s->ref, s->row);
}

/* What is not yet as it should be stays late, for the next opportunity. */
static void settle(struct xn_auth *auth, struct session *s)
{
	const struct xn_row *row = xn_db_get(auth->db, XN_CLASS_session, s->ref);

	if (s->ended ? !!row : row ? lags(auth, s, row) : !!s->row)
		return;
	if (s->ended) {
		auth_session_forget(auth, s);
		return;
	}
	xn_list_remove(&s->link);
	auth->n_rowless -= s->row != NULL;
	xn_value_unref(s->row);
	s->row = NULL;
}

static void for_slice(struct xn_auth *auth, void (*act)(struct xn_auth *, struct session *))
{
	unsigned n = 0;

	xn_list_each_safe(node, &auth->late) {
		if (n++ == SLICE)
			break;
		act(auth, xn_list_entry(node, struct session, link));
	}
}

static void begin_slice(struct xn_auth *auth);

static void on_slice_made(struct xn_db_wait *wait, int rc)
{
	struct xn_auth *auth = xn_container_of(wait, struct xn_auth, rows_made);

	if (rc < 0)
		return;
	for_slice(auth, settle);
	if (xn_list_empty(&auth->late))
		auth_gc_soon(auth);
	else
		begin_slice(auth);
}

static void begin_slice(struct xn_auth *auth)
{
	for_slice(auth, make_true);
	xn_db_wait_cancel(&auth->rows_made);
	xn_db_when_visible(auth->db, &auth->rows_made, on_slice_made);
}

void auth_sessions_catch_up(struct xn_auth *auth)
{
	if (xn_db_writable(auth->db) < 0)
		return;
	find_lagging(auth);
	if (!xn_list_empty(&auth->late))
		begin_slice(auth);
}
