/*
 * From an entry to a line. The loop gives it its number and its members and puts it into the queue;
 * the worker makes lines of a whole batch, each with the hash of the one before. See audit.h for what
 * is counted instead.
 */
#include <errno.h>
#include <inttypes.h>

#include "core/json.h"
#include "modules/audit/audit_internal.h"

enum { MAX_MEMBER = 128, MAX_SUBJECT = 8192 };

static const char *const events[] = {
	[XN_AUDIT_CALL] = "call",
	[XN_AUDIT_BEGUN] = "begun",
	[XN_AUDIT_DENIED] = "denied",
	[XN_AUDIT_DAEMON] = "daemon",
};

struct head { /* in the queue, before an entry's members */
	int64_t wall_us;
	uint32_t len; /* of the members */
	uint32_t event;
};

/* Most of what comes here is ours; a login's user name may be any text. */
static void add_member(struct xn_buf *line, const char *name, const char *value)
{
	struct xn_buf good XN_CLEANUP(xn_buf_clear_p) = {0};
	size_t len;

	if (!value || !*value)
		return;
	len = xn_text_fit(value, MAX_MEMBER);
	if (!xn_text_is_valid(value, len)) {
		xn_text_recode(value, len, &good);
		value = good.data;
		len = good.len;
	}
	xn_buf_add_string(line, ",\"");
	xn_buf_add_string(line, name);
	xn_buf_add_string(line, "\":");
	xn_json_write_string(value, len, line);
}

static void add_caller(struct xn_buf *line, const struct xn_audit_entry *entry)
{
	const struct xn_caller *caller = entry->caller;
	bool has_session = caller && (caller->session[0] || caller->is_superuser);

	add_member(line, "session",
		   entry->session ? entry->session : caller ? caller->session : NULL);
	if (!caller)
		return;
	add_member(line, "user", caller->user);
	add_member(line, "role",
		   caller->is_superuser ? xn_role_names[XN_ROLE_LOCAL_ROOT]
		   : has_session	? xn_role_names[caller->role]
					: NULL);
	add_member(line, "origin", caller->origin);
}

static void add_entry(struct xn_buf *line, const struct xn_audit_entry *entry)
{
	add_member(line, "method", entry->method);
	add_caller(line, entry);
	add_member(line, "agent", entry->user_agent);
	if (entry->subject && entry->subject->len <= MAX_SUBJECT)
		xn_buf_add(line, entry->subject->data, entry->subject->len);
	add_member(line, "created", entry->created);
	add_member(line, "result", entry->result);
	add_member(line, "task", entry->task);
	add_member(line, "trace", entry->trace);
}

/* Where the entry stands in the queue, for end_entry(). */
static size_t begin_entry(struct xn_audit *audit)
{
	size_t at = audit->queue.len;

	xn_buf_reserve(&audit->queue, sizeof(struct head));
	audit->queue.len += sizeof(struct head);
	return at;
}

static uint64_t end_entry(struct xn_audit *audit, size_t at, enum xn_audit_event event)
{
	struct head head = {
		.wall_us = xn_wall_us(audit->core->loop),
		.len = (uint32_t)(audit->queue.len - at - sizeof(head)),
		.event = event,
	};

	memcpy(audit->queue.data + at, &head, sizeof(head));
	audit->lines[event]++;
	audit_submit(audit);
	return ++audit->last;
}

void audit_tell_daemon(struct xn_audit *audit, const char *what, const char *members)
{
	size_t at = begin_entry(audit);

	add_member(&audit->queue, "method", what);
	xn_buf_add_string(&audit->queue, members);
	end_entry(audit, at, XN_AUDIT_DAEMON);
}

void audit_chain_lines(const struct xn_buf *entries, struct audit_head *head, struct xn_buf *out)
{
	struct xn_buf line XN_CLEANUP(xn_buf_clear_p) = {0};
	struct head entry;

	for (size_t at = 0; at < entries->len; at += entry.len) {
		memcpy(&entry, entries->data + at, sizeof(entry));
		at += sizeof(entry);
		audit_line_begin(&line, head, entry.wall_us, events[entry.event]);
		xn_buf_add(&line, entries->data + at, entry.len);
		audit_line_end(&line, head);
		xn_buf_add(out, line.data, line.len);
	}
}

/* ---- what is only counted ---- */

static bool take_credit(struct xn_audit *audit)
{
	int64_t now = xn_now_us(audit->core->loop);
	int64_t earned = (now - audit->credited_us) * AUDIT_DENIED_RATE / 1000000;

	if (earned > 0) {
		audit->credit += earned;
		audit->credited_us += earned * 1000000 / AUDIT_DENIED_RATE;
	}
	if (audit->credit > AUDIT_DENIED_BURST)
		audit->credit = AUDIT_DENIED_BURST;
	if (audit->credit <= 0)
		return false;
	audit->credit--;
	return true;
}

static bool has_room(struct xn_audit *audit, const struct xn_audit_entry *entry)
{
	if (entry->event != XN_AUDIT_DENIED)
		return true; /* who makes such lines asks before */
	return xn_audit_has_room(audit, XN_AUDIT_DENIALS) == 0 && take_credit(audit);
}

static void tell_suppressed(struct xn_audit *audit)
{
	char *members XN_CLEANUP(xn_free_p) =
		xn_asprintf(",\"lines\":%" PRIu64, audit->suppressed);

	audit->suppressed = 0;
	audit_tell_daemon(audit, "denied calls without a line", members);
}

uint64_t xn_audit_add(struct xn_audit *audit, const struct xn_audit_entry *entry)
{
	size_t at;

	if (!audit->is_open) {
		audit->lines[entry->event]++;
		return 0;
	}
	if (!has_room(audit, entry)) {
		audit->suppressed++;
		audit->suppressed_all++;
		return 0;
	}
	if (audit->suppressed)
		tell_suppressed(audit);
	at = begin_entry(audit);
	add_entry(&audit->queue, entry);
	return end_entry(audit, at, entry->event);
}

int xn_audit_writable(const struct xn_audit *audit)
{
	return audit->error ? audit->error : xn_audit_has_room(audit, XN_AUDIT_WORK);
}

int xn_audit_has_room(const struct xn_audit *audit, enum xn_audit_share share)
{
	static const size_t shares[] = {
		[XN_AUDIT_DENIALS] = AUDIT_QUEUE_MAX / 2,
		[XN_AUDIT_WORK] = AUDIT_QUEUE_MAX / 4 * 3,
		[XN_AUDIT_LOGINS] = AUDIT_QUEUE_MAX / 8 * 7,
		[XN_AUDIT_LOCAL] = AUDIT_QUEUE_MAX,
	};

	return audit->queue.len >= shares[share] ? -EBUSY : 0;
}
