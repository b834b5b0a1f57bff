/*
 * The store's past as a stream for `git fast-import`: one commit a transaction or single request, by
 * the domain that made it and at its time; the first commit is the oldest tree that is known. The
 * same past gives the same commits, so that a later export only adds to an earlier one.
 *
 * How a tree becomes files, and can become a tree again:
 *
 *   a node without children   the file PATH, its bytes the value
 *   a node with children      the folder PATH, the value in PATH/.value unless it is empty; so is the root
 *   permissions               "n0 r5" and a line's end in .NAME.perms beside NAME, only where they are
 *                             not the parent's; the root's in .perms
 *   a name over 240 bytes     pieces of 240 bytes, each a folder with ~ behind its name; the rest is
 *                             the name
 *
 * No name in the store has a point or a tilde, so nothing clashes, nor with what git keeps for itself.
 */
#include "modules/xenstore/history/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "core/moment.h"
#include "modules/xenstore/store/path.h"

enum { PIECE = 240, FLUSH = 64 << 10 };

struct exporting {
	struct past_tree tree;
	int (*write)(void *arg, const void *bytes, size_t len);
	void *arg;
	int failed; /* of write */
	struct xn_buf out;
	/* The commit that is being made. */
	struct xn_buf files;
	char subject[XN_XS_PATH_MAX + 64];
	bool has_commit; /* some before */
	/* Before the change that is carried out. */
	bool was_there, had_perms_file, parent_was_leaf;
	struct xn_buf path, text, parent_text; /* scratch */
};

/* ---- out ---- */

static int flush(struct exporting *e, size_t unless)
{
	if (e->out.len < unless)
		return 0;
	e->failed = e->write(e->arg, e->out.data, e->out.len);
	e->out.len = 0;
	return e->failed;
}

static int put_files(struct exporting *e)
{
	xn_buf_add(&e->out, e->files.data, e->files.len);
	e->files.len = 0;
	return flush(e, FLUSH);
}

/* ---- names ---- */

static void add_path(struct xn_buf *out, const char *path, size_t len)
{
	const char *at = path, *name;
	size_t name_len, start = out->len;

	while ((name = xn_xs_path_next(&at, path + len, &name_len))) {
		if (out->len > start)
			xn_buf_add_char(out, '/');
		for (; name_len > PIECE; name += PIECE, name_len -= PIECE) {
			xn_buf_add(out, name, PIECE);
			xn_buf_add_string(out, "~/");
		}
		xn_buf_add(out, name, name_len);
	}
}

/* The node's file or folder. */
static void name_node(struct exporting *e, const struct past_node *node)
{
	char room[XN_XS_PATH_MAX + 2];
	size_t len;
	const char *path = past_node_path(node, room, &len);

	e->path.len = 0;
	add_path(&e->path, path, len);
}

static void name_value(struct exporting *e, const struct past_node *node)
{
	name_node(e, node);
	if (!node->parent)
		xn_buf_add_string(&e->path, ".value");
	else if (node->n_kids)
		xn_buf_add_string(&e->path, "/.value");
}

/* .NAME.perms beside what is in e->path; the root's: .perms */
static void name_perms(struct exporting *e)
{
	size_t at = e->path.len;

	while (at > 0 && e->path.data[at - 1] != '/')
		at--;
	if (e->path.len) {
		xn_buf_reserve(&e->path, 1);
		memmove(e->path.data + at + 1, e->path.data + at, e->path.len - at);
		e->path.data[at] = '.';
		e->path.len++;
	}
	xn_buf_add_string(&e->path, ".perms");
}

/* ---- files ---- */

static void put_file(struct exporting *e, const char *bytes, size_t len)
{
	xn_buf_add_string(&e->files, "M 100644 inline ");
	xn_buf_add(&e->files, e->path.data, e->path.len);
	xn_buf_printf(&e->files, "\ndata %zu\n", len);
	xn_buf_add(&e->files, bytes, len);
	xn_buf_add_char(&e->files, '\n');
}

static void drop_file(struct exporting *e)
{
	xn_buf_add_string(&e->files, "D ");
	xn_buf_add(&e->files, e->path.data, e->path.len);
	xn_buf_add_char(&e->files, '\n');
}

static void put_value(struct exporting *e, const struct past_node *node)
{
	name_value(e, node);
	if (node->value_len || (node->parent && !node->n_kids))
		put_file(e, node->value, node->value_len);
}

static void update_value(struct exporting *e, const struct past_node *node)
{
	put_value(e, node);
	if (!node->value_len && (!node->parent || node->n_kids))
		drop_file(e);
}

/* A file becomes a folder, or the other way round. */
static void change_kind(struct exporting *e, const struct past_node *node)
{
	if (node->parent) {
		name_node(e, node);
		drop_file(e);
		put_value(e, node);
	}
}

static void print_perms(struct exporting *e, const struct past_node *node, struct xn_buf *out)
{
	out->len = 0;
	past_perms_print(&e->tree, &(struct xn_xs_text){node->perms->text, node->perms->len}, ' ',
			 out);
	xn_buf_add_char(out, '\n');
}

static void update_perms(struct exporting *e, struct past_node *node, bool is_new)
{
	bool wants = !node->parent;

	if (!wants && node->perms != node->parent->perms) {
		print_perms(e, node, &e->text);
		print_perms(e, node->parent, &e->parent_text);
		wants = e->text.len != e->parent_text.len ||
			memcmp(e->text.data, e->parent_text.data, e->text.len) != 0;
	}
	if (wants ? !is_new && node->has_perms_file : !node->has_perms_file)
		return;
	name_node(e, node);
	name_perms(e);
	if (wants) {
		print_perms(e, node, &e->text);
		put_file(e, e->text.data, e->text.len);
	} else {
		drop_file(e);
	}
	node->has_perms_file = wants;
}

/* ---- commits ---- */

static void put_head(struct exporting *e, const struct xn_xs_who *by, uint64_t generation,
		     uint32_t transaction, int64_t us)
{
	struct xn_buf message XN_CLEANUP(xn_buf_clear_p) = {0};
	char time[40];

	xn_moment_print(us, time);
	xn_buf_printf(&message, "%s\n\nGeneration: %" PRIu64 "\nTime: %s\n", e->subject, generation,
		      time);
	xn_buf_add_string(&e->out, "commit HEAD\ncommitter ");
	if (by) {
		xn_buf_printf(&e->out, "domain %u (birth %" PRIu64 ") <domain-%u@xenstore>",
			      by->domid, by->birth, by->domid);
		xn_buf_printf(&message, "Domain: %u\nBirth: %" PRIu64 "\n", by->domid, by->birth);
	} else {
		xn_buf_add_string(&e->out, "xenolithd <xenolithd@xenstore>");
	}
	if (transaction)
		xn_buf_printf(&message, "Transaction: %u\n", transaction);
	xn_buf_printf(&e->out, " %" PRId64 " +0000\ndata %zu\n", us / 1000000, message.len);
	xn_buf_add(&e->out, message.data, message.len);
	xn_buf_add_char(&e->out, '\n');
	e->has_commit = true;
}

static int put_end(struct exporting *e)
{
	xn_buf_add_char(&e->out, '\n');
	return flush(e, FLUSH);
}

static int on_base(void *arg, uint64_t generation, int64_t us, bool is_anew)
{
	struct exporting *e = arg;
	struct past_node *node = e->tree.root;
	bool is_first = !e->has_commit;

	snprintf(e->subject, sizeof(e->subject), "%s",
		 is_anew ? "The store begins, empty" : "The store as it was");
	put_head(e, NULL, generation, 0, us);
	if (!is_first)
		xn_buf_add_string(&e->out, "deleteall\n");
	for (; node; node = past_node_next(e->tree.root, node)) {
		put_value(e, node);
		update_perms(e, node, true);
		if (put_files(e))
			return e->failed;
	}
	return put_end(e);
}

static int on_commit(void *arg, const struct past_commit *c)
{
	struct exporting *e = arg;

	e->subject[0] = '\0';
	return 0;
}

static void name_subject(struct exporting *e, const struct past_commit *c,
			 const struct xn_xs_record_change *change)
{
	static const char *const verbs[] = {[XN_XS_CREATED] = "create",
					    [XN_XS_VALUE] = "set",
					    [XN_XS_PERMS] = "permissions of",
					    [XN_XS_REMOVED] = "delete"};
	char more[32] = "";

	if (c->n > 1)
		snprintf(more, sizeof(more), ", in all %u changes", c->n);
	snprintf(e->subject, sizeof(e->subject), "%s %.*s%s", verbs[change->kind],
		 (int)change->path.len, change->path.bytes, more);
}

static struct past_node *parent_of(struct exporting *e, const struct xn_xs_text *path)
{
	size_t len = path->len;

	while (len > 1 && path->bytes[len - 1] != '/')
		len--;
	return past_tree_find(&e->tree, path->bytes, len > 1 ? len - 1 : len);
}

static int on_change(void *arg, const struct past_commit *c,
		     const struct xn_xs_record_change *change)
{
	struct exporting *e = arg;
	const struct past_node *node =
		past_tree_find(&e->tree, change->path.bytes, change->path.len);
	const struct past_node *parent = parent_of(e, &change->path);

	if (!*e->subject && !change->implied)
		name_subject(e, c, change);
	e->was_there = node != NULL;
	e->had_perms_file = node && node->has_perms_file;
	e->parent_was_leaf = parent && !parent->n_kids;
	return 0;
}

static void note_removed(struct exporting *e, const struct xn_xs_text *path)
{
	struct past_node *parent = parent_of(e, path);

	if (!e->was_there)
		return;
	e->path.len = 0;
	add_path(&e->path, path->bytes, path->len);
	drop_file(e);
	if (e->had_perms_file) {
		name_perms(e);
		drop_file(e);
	}
	if (parent && !parent->n_kids)
		change_kind(e, parent);
}

static void note_perms(struct exporting *e, struct past_node *node)
{
	update_perms(e, node, true);
	for (uint32_t i = 0; i < node->n_kids; i++)
		update_perms(e, node->kids[i], false);
}

static int on_changed(void *arg, const struct past_commit *c,
		      const struct xn_xs_record_change *change)
{
	struct exporting *e = arg;
	struct past_node *node = past_tree_find(&e->tree, change->path.bytes, change->path.len);

	if (change->kind == XN_XS_REMOVED) {
		note_removed(e, &change->path);
	} else if (node) {
		if (!e->was_there && e->parent_was_leaf && node->parent)
			change_kind(e, node->parent);
		if (change->kind != XN_XS_PERMS)
			update_value(e, node);
		if (change->kind != XN_XS_VALUE)
			note_perms(e, node);
	}
	return 0;
}

static int on_committed(void *arg, const struct past_commit *c)
{
	struct exporting *e = arg;

	if (!*e->subject)
		snprintf(e->subject, sizeof(e->subject), "nothing");
	put_head(e, &c->by, c->generation, c->transaction, c->us);
	return put_files(e) ? e->failed : put_end(e);
}

/* Whether a node has these permissions, and which do not matter: their text changed. */
static int on_gone(void *arg, const struct xn_xs_who *who, uint64_t generation, int64_t us)
{
	struct exporting *e = arg;
	bool is_named = false;

	for (struct xn_hnode *at = xn_hmap_first(&e->tree.perms); at && !is_named;
	     at = xn_hmap_next(&e->tree.perms, at))
		is_named = past_perms_name(xn_container_of(at, struct past_perms, node),
					   who->birth);
	if (!is_named)
		return 0;
	for (struct past_node *node = e->tree.root; node;
	     node = past_node_next(e->tree.root, node)) {
		bool is_own = past_perms_name(node->perms, who->birth);

		if (is_own || (node->parent && past_perms_name(node->parent->perms, who->birth)))
			update_perms(e, node, is_own);
	}
	if (!e->files.len)
		return 0;
	snprintf(e->subject, sizeof(e->subject), "domain %u is gone, its rights are nobody's",
		 who->domid);
	put_head(e, who, generation, 0, us);
	return put_files(e) ? e->failed : put_end(e);
}

static int export_from(struct exporting *e, struct past *past)
{
	static const struct past_visitor visitor = {.at = on_base,
						    .commit = on_commit,
						    .change = on_change,
						    .changed = on_changed,
						    .committed = on_committed,
						    .gone = on_gone};
	int rc = past_bounds(past)->first_us ? 0 : -ENODATA;

	xn_buf_add_string(&e->out, "feature done\n"); /* a stream that was cut off is no good */
	if (rc == 0)
		rc = past_walk(past, 0, &e->tree, &visitor, e);
	if (rc == 0) {
		xn_buf_add_string(&e->out, "done\n");
		rc = flush(e, 0);
	}
	return rc;
}

int past_export(struct xn_xs_media *media, int (*write)(void *arg, const void *bytes, size_t len),
		void *arg)
{
	struct exporting e = {.write = write, .arg = arg};
	struct past *past;
	int rc = past_open(media, &past);

	if (rc < 0)
		return rc;
	past_tree_init(&e.tree, "/", 1);
	rc = export_from(&e, past);
	past_tree_clear(&e.tree);
	past_close(past);
	xn_buf_clear(&e.out);
	xn_buf_clear(&e.files);
	xn_buf_clear(&e.path);
	xn_buf_clear(&e.text);
	xn_buf_clear(&e.parent_text);
	return rc;
}
