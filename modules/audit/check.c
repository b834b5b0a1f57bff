/*
 * Reading the log back: the proof of its chain for `xenolithd --check-audit`, and lines since a time
 * for GET /audit_log. Blocking.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "core/json.h"
#include "modules/audit/audit_internal.h"

enum { MAX_FINDINGS = 20 };

struct check {
	struct audit_reader reader;
	struct xn_buf *report;
	unsigned n;
	struct audit_head last; /* line seen */
	uint64_t lines, first;
	uint64_t removed_before; /* as the chain says: lines from here on were kept */
	char first_time[AUDIT_TIME_LEN + 1], last_time[AUDIT_TIME_LEN + 1];
	uint64_t remains; /* bytes behind the last line */
	bool knows_anchor, met_anchor;
	struct audit_head anchor;
};

/* "audit-...1.jsonl, line 5": where the reader is. */
static void begin_finding(struct check *c)
{
	char name[48];

	audit_file_name(c->reader.files[c->reader.current].first, name);
	xn_buf_printf(c->report, "%s, line %" PRIu64 ": ", name, c->reader.number);
}

static bool may_tell(struct check *c)
{
	return c->n++ < MAX_FINDINGS;
}

static void check_order(struct check *c, const struct audit_line *line)
{
	if (line->seq <= c->last.seq && may_tell(c)) {
		begin_finding(c);
		xn_buf_printf(c->report, "number %" PRIu64 " stands behind number %" PRIu64 "\n",
			      line->seq, c->last.seq);
	} else if (line->seq > c->last.seq + 1 && may_tell(c)) {
		begin_finding(c);
		xn_buf_printf(c->report, "lines %" PRIu64 " to %" PRIu64 " are missing\n",
			      c->last.seq + 1, line->seq - 1);
	} else if (line->seq == c->last.seq + 1 && strcmp(line->prev, c->last.hash) != 0 &&
		   may_tell(c)) {
		begin_finding(c);
		xn_buf_add_string(c->report, "does not follow the line before it: one of both is "
					     "another than was written\n");
	}
}

/* The number behind a member's name, 0 where there is none. Lines that fit their hash are ours. */
static uint64_t number_of(const char *text, size_t len, const char *name)
{
	struct xn_value *value XN_CLEANUP(xn_value_unref_p) = NULL;
	int64_t n = 0;

	if (xn_json_parse(text, len, &value, NULL) == 0 && value->kind == XN_MAP) {
		const struct xn_value *member = xn_map_get(value, name);

		if (member && member->kind == XN_INT)
			n = xn_value_int(member);
	}
	return n > 0 ? (uint64_t)n : 0;
}

static void check_line(struct check *c, const char *text, size_t len)
{
	struct audit_line line;

	if (audit_line_read(text, len, &line) < 0) {
		if (may_tell(c)) {
			begin_finding(c);
			xn_buf_add_string(c->report, "no line of an audit log\n");
		}
		return;
	}
	if (!line.is_whole && may_tell(c)) {
		begin_finding(c);
		xn_buf_printf(c->report, "number %" PRIu64 " was changed: its hash is not that of its "
					 "text\n", line.seq);
	}
	if (c->lines++) {
		check_order(c, &line);
	} else {
		c->first = line.seq;
		memcpy(c->first_time, line.time, sizeof(line.time));
		if (line.seq == 1 && strcmp(line.prev, audit_no_hash) != 0 && may_tell(c)) {
			begin_finding(c);
			xn_buf_add_string(c->report, "the first line follows another\n");
		}
	}
	if (c->knows_anchor && line.seq == c->anchor.seq) {
		c->met_anchor = true;
		if (strcmp(line.hash, c->anchor.hash) != 0 && may_tell(c)) {
			begin_finding(c);
			xn_buf_printf(c->report, "number %" PRIu64 " is not the line that the "
						 "database knows\n", line.seq);
		}
	}
	if (line.is_whole && strcmp(line.event, "daemon") == 0 &&
	    number_of(text, len, "first") > c->removed_before)
		c->removed_before = number_of(text, len, "first");
	c->last.seq = line.seq;
	memcpy(c->last.hash, line.hash, sizeof(line.hash));
	memcpy(c->last_time, line.time, sizeof(line.time));
}

static void check_remains(struct check *c, size_t len)
{
	if (c->reader.current + 1 == c->reader.n_files && len < AUDIT_LINE_MAX) {
		c->remains += len; /* of a write that a crash cut off, or that is under way */
	} else if (may_tell(c)) {
		begin_finding(c);
		xn_buf_add_string(c->report, "a line is cut off in the middle of the log\n");
	}
}

static void check_ends(struct check *c)
{
	if (c->lines && c->first > 1 && c->first > c->removed_before && may_tell(c))
		xn_buf_printf(c->report,
			      "lines 1 to %" PRIu64 " are missing: the log itself knows of %s\n",
			      c->first - 1,
			      c->removed_before ? "fewer that were removed" : "none that was removed");
	if (c->knows_anchor && c->last.seq < c->anchor.seq && may_tell(c))
		xn_buf_printf(c->report,
			      "the log ends with number %" PRIu64 ", but number %" PRIu64
			      " was on the disk: its end was cut off\n",
			      c->last.seq, c->anchor.seq);
	else if (c->knows_anchor && c->anchor.seq && !c->met_anchor && c->anchor.seq >= c->first &&
		 may_tell(c))
		xn_buf_printf(c->report,
			      "number %" PRIu64 ", which the database knows, is not there\n",
			      c->anchor.seq);
}

static int check_files(struct check *c, const char *folder)
{
	const char *text;
	size_t len;
	int rc = audit_reader_open(&c->reader, folder);

	if (rc < 0)
		return rc;
	while ((rc = audit_reader_next(&c->reader, &text, &len)) > AUDIT_READ_END) {
		if (rc == AUDIT_READ_LINE)
			check_line(c, text, len);
		else
			check_remains(c, len);
	}
	audit_reader_close(&c->reader);
	return rc;
}

/* ---- the database's part ---- */

static void read_anchor(struct xn_db *db, void *arg)
{
	struct check *c = arg;
	const struct xn_row *row = audit_anchor_row(db);
	const char *hash = row ? xn_row_string(row, XN_xn_audit_hash) : "";

	c->knows_anchor = true;
	if (strlen(hash) != XN_SHA256_HEX - 1)
		return;
	c->anchor.seq = (uint64_t)xn_row_int(row, XN_xn_audit_seq);
	memcpy(c->anchor.hash, hash, XN_SHA256_HEX);
}

static void summarise(const struct check *c, struct xn_buf *out)
{
	if (c->lines)
		xn_buf_printf(out, "%" PRIu64 " lines, number %" PRIu64 " of %s to number %" PRIu64
				   " of %s\nthe last one's hash: %s\n",
			      c->lines, c->first, c->first_time, c->last.seq, c->last_time,
			      c->last.hash);
	else
		xn_buf_add_string(out, "no lines\n");
	if (c->knows_anchor)
		xn_buf_printf(out, "the database knows the lines up to number %" PRIu64 "\n",
			      c->anchor.seq);
	else
		xn_buf_add_string(out, "how far it must come at least could not be asked: the "
				       "database is in use or cannot be read\n");
	if (c->remains)
		xn_buf_printf(out, "behind the last line %" PRIu64 " bytes of one that is not whole: "
				   "a write that was cut off, or is under way\n", c->remains);
}

unsigned xn_audit_check(const char *state_dir, struct xn_config *config, struct xn_buf *report,
			struct xn_buf *summary)
{
	char *folder XN_CLEANUP(xn_free_p) = xn_asprintf("%s/audit", state_dir);
	struct xn_error err XN_CLEANUP(xn_error_clear_p) = {0};
	struct check c = {.report = report};
	int rc;

	memcpy(c.last.hash, audit_no_hash, sizeof(audit_no_hash));
	(void)!xn_db_look_into(state_dir, config, read_anchor, &c, &err);
	rc = check_files(&c, folder);
	if (rc < 0 && may_tell(&c))
		xn_buf_printf(report, "%s: %s\n", folder, strerror(-rc));
	check_ends(&c);
	summarise(&c, summary);
	return c.n;
}

/* ---- lines since a time ---- */

struct xn_audit_reader {
	struct audit_reader files;
	char since[AUDIT_TIME_LEN + 1];
};

struct xn_audit_reader *xn_audit_read(const char *state_dir, const char *since, int *rc)
{
	char *folder XN_CLEANUP(xn_free_p) = xn_asprintf("%s/audit", state_dir);
	struct xn_audit_reader *reader = xn_calloc(1, sizeof(*reader));

	strncat(reader->since, since, AUDIT_TIME_LEN);
	*rc = audit_reader_open(&reader->files, folder);
	if (*rc == 0)
		return reader;
	free(reader);
	return NULL;
}

static bool is_wanted(const struct xn_audit_reader *reader, const char *text, size_t len)
{
	struct audit_line line;

	/* What is no line is shown, too: leaving it out would hide that somebody was at it. */
	return audit_line_read(text, len, &line) < 0 || strcmp(line.time, reader->since) >= 0;
}

int xn_audit_read_next(struct xn_audit_reader *reader, size_t piece, struct xn_buf *out)
{
	const size_t end = out->len + piece;
	uint64_t seen = 0;

	while (out->len < end && seen < 16 * piece) {
		const char *text;
		size_t len;
		int rc = audit_reader_next(&reader->files, &text, &len);

		if (rc < 0)
			return rc;
		if (rc == AUDIT_READ_END)
			return 0;
		seen += len;
		if (rc != AUDIT_READ_LINE || !is_wanted(reader, text, len))
			continue;
		xn_buf_add(out, text, len);
		xn_buf_add_char(out, '\n');
	}
	return 1;
}

void xn_audit_read_end(struct xn_audit_reader *reader)
{
	if (!reader)
		return;
	audit_reader_close(&reader->files);
	free(reader);
}
