/*
 * A program as others write them on libxenstore: reads, writes, lists, watches, transacts, and ends
 * with 0 when all went as the library promises. XENSTORED_PATH says where.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xenstore.h>

#define CHECK(what)                                                                        \
	do {                                                                               \
		if (!(what)) {                                                             \
			fprintf(stderr, "line %d: %s (%s)\n", __LINE__, #what, strerror(errno)); \
			exit(1);                                                           \
		}                                                                          \
	} while (0)

static void check_nodes(struct xs_handle *xs)
{
	struct xs_permissions *perms, mine[2] = {{.id = 0, .perms = XS_PERM_NONE},
						 {.id = 5, .perms = XS_PERM_READ}};
	unsigned len, n;
	char *value;

	CHECK(xs_write(xs, XBT_NULL, "/program/a", "one\0two", 7));
	value = xs_read(xs, XBT_NULL, "/program/a", &len);
	CHECK(value && len == 7 && !memcmp(value, "one\0two", 7));
	free(value);
	CHECK(xs_mkdir(xs, XBT_NULL, "/program/d/e"));
	CHECK(xs_set_permissions(xs, XBT_NULL, "/program/d", mine, 2));
	perms = xs_get_permissions(xs, XBT_NULL, "/program/d", &n);
	CHECK(perms && n == 2 && perms[1].id == 5 && perms[1].perms == XS_PERM_READ);
	free(perms);
	CHECK(xs_rm(xs, XBT_NULL, "/program/d"));
	CHECK(!xs_read(xs, XBT_NULL, "/program/d/e", &len) && errno == ENOENT);
	CHECK(!xs_is_domain_introduced(xs, 4321));
	value = xs_get_domain_path(xs, 17);
	CHECK(value && !strcmp(value, "/local/domain/17"));
	free(value);
}

/* More than fits one message: the library asks in parts. */
static void check_large_directory(struct xs_handle *xs)
{
	enum { NODES = 3000 };
	char path[64], **names;
	unsigned n;

	for (int i = 0; i < NODES; i++) {
		snprintf(path, sizeof(path), "/program/large/a-node-of-some-length-%04d", i);
		CHECK(xs_write(xs, XBT_NULL, path, "", 0));
	}
	names = xs_directory(xs, XBT_NULL, "/program/large", &n);
	CHECK(names && n == NODES);
	CHECK(!strcmp(names[NODES - 1], "a-node-of-some-length-2999"));
	free(names);
}

static void expect_event(struct xs_handle *xs, const char *path, const char *token)
{
	unsigned n;
	char **event = xs_read_watch(xs, &n);

	CHECK(event && n >= 2);
	if (strcmp(event[XS_WATCH_PATH], path) || strcmp(event[XS_WATCH_TOKEN], token)) {
		fprintf(stderr, "event %s %s instead of %s %s\n", event[XS_WATCH_PATH],
			event[XS_WATCH_TOKEN], path, token);
		exit(1);
	}
	free(event);
}

static void check_watches(struct xs_handle *xs)
{
	char **none;

	CHECK(xs_watch(xs, "/program/watched", "token one"));
	expect_event(xs, "/program/watched", "token one");
	CHECK(xs_write(xs, XBT_NULL, "/program/watched/x/y", "1", 1));
	expect_event(xs, "/program/watched/x/y", "token one");
	CHECK(!xs_watch(xs, "/program/watched", "token one") && errno == EEXIST);
	CHECK(xs_rm(xs, XBT_NULL, "/program/watched/x"));
	expect_event(xs, "/program/watched/x", "token one");
	CHECK(xs_unwatch(xs, "/program/watched", "token one"));
	CHECK(xs_write(xs, XBT_NULL, "/program/watched", "2", 1));
	none = xs_check_watch(xs);
	CHECK(!none && errno == EAGAIN);
	CHECK(!xs_unwatch(xs, "/program/watched", "token one") && errno == ENOENT);
}

static void check_transactions(struct xs_handle *xs, struct xs_handle *other)
{
	xs_transaction_t t = xs_transaction_start(xs);
	unsigned len;
	char *value;

	CHECK(t != XBT_NULL);
	value = xs_read(xs, t, "/program/a", &len);
	CHECK(value);
	free(value);
	CHECK(xs_write(xs, t, "/program/b", "mine", 4));
	CHECK(!xs_read(other, XBT_NULL, "/program/b", &len));
	CHECK(xs_write(other, XBT_NULL, "/program/a", "theirs", 6));
	CHECK(!xs_transaction_end(xs, t, false) && errno == EAGAIN);
	t = xs_transaction_start(xs);
	CHECK(xs_write(xs, t, "/program/b", "mine", 4));
	CHECK(xs_transaction_end(xs, t, false));
	value = xs_read(other, XBT_NULL, "/program/b", &len);
	CHECK(value && len == 4);
	free(value);
	t = xs_transaction_start(xs);
	CHECK(xs_rm(xs, t, "/program/b"));
	CHECK(xs_transaction_end(xs, t, true));
	value = xs_read(xs, XBT_NULL, "/program/b", &len);
	CHECK(value);
	free(value);
}

int main(void)
{
	struct xs_handle *xs = xs_open(0), *other = xs_open(0);

	CHECK(xs && other);
	check_nodes(xs);
	check_large_directory(xs);
	check_watches(xs);
	check_transactions(xs, other);
	CHECK(xs_rm(xs, XBT_NULL, "/program"));
	xs_close(other);
	xs_close(xs);
	return 0;
}
