/*
 * The journal's files as they are found on the disk. The first byte says what the others are: a
 * file behind a valid head, one record of a segment, one of an image, or a slice of nodes. Any bytes
 * are read or refused; and what is written then is found again.
 */
#include <assert.h>
#include <stdlib.h>

#include "modules/xenstore/journal/journal.h"
#include "modules/xenstore/journal/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_file(struct xn_xs_media *media, enum xn_xs_file_kind kind, const uint8_t *data,
		     size_t size, bool as_record)
{
	struct xn_xs_file_head head = {.kind = kind, .number = 1};
	char name[XN_XS_FILE_NAME];
	struct xn_buf bytes = {0};

	xn_xs_file_head_put(&head, &bytes);
	if (as_record) {
		size_t start = xn_xs_record_begin(&bytes, 1);

		xn_buf_add(&bytes, data, size);
		xn_xs_record_end(&bytes, start);
	} else {
		xn_buf_add(&bytes, data, size);
	}
	xn_xs_file_name(kind, 1, name);
	if (media->ops->append(media, name, bytes.data, bytes.len) < 0)
		abort();
	xn_buf_clear(&bytes);
}

/* NULL: refused. */
static struct xn_xs_journal *open_it(struct xn_core *core, struct xn_xs_media *media,
				     struct xn_xs_store *store)
{
	struct xn_xs_journal_options options = {.folder = "memory",
						.media = xn_xs_media_ref(media),
						.outlives_boots = true,
						.segment_bytes = 65536};
	struct xn_error err = {0};
	struct xn_xs_journal *journal = xn_xs_journal_open(core, store, &options, &err);

	if (!journal && !err.code)
		abort(); /* a refusal has its reason */
	xn_error_clear(&err);
	return journal;
}

static void drop_ring(const struct xn_xs_kept_ring *ring, void *arg)
{
	xn_xs_conn_free(ring->conn);
}

static void wake(void *arg)
{
}

static void end(struct xn_xs_journal *journal, struct xn_xs_store *store)
{
	if (journal)
		xn_xs_journal_each_ring(journal, drop_ring, NULL);
	xn_xs_journal_close(journal);
	while (xn_xs_store_deliver(store, 1000))
		;
	xn_xs_store_free(store);
}

static void try_files(struct xn_core *core, struct xn_xs_media *media)
{
	struct xn_xs_store *store = xn_xs_store_new(wake, NULL);
	struct xn_xs_journal *journal = open_it(core, media, store);
	struct xn_xs_conn *conn = NULL;
	const char *value;
	size_t len;

	if (journal) {
		conn = xn_xs_conn_new(xn_xs_domain_find(store, 0));
		if (xn_xs_conn_write_string(conn, 0, "/more", "value") < 0)
			abort();
		xn_xs_conn_free(conn);
	}
	end(journal, store);
	if (!journal)
		return;
	store = xn_xs_store_new(wake, NULL);
	journal = open_it(core, media, store);
	if (!journal)
		abort();
	conn = xn_xs_conn_new(xn_xs_domain_find(store, 0));
	if (xn_xs_conn_read(conn, 0, "/more", &value, &len) < 0 || len != 5)
		abort();
	xn_xs_conn_free(conn);
	end(journal, store);
}

/* What was loaded is dumped and loaded the same. */
static void try_slice(const uint8_t *data, size_t size)
{
	struct xn_xs_store *store = xn_xs_store_new(wake, NULL), *other;
	char cursor[XN_XS_PATH_MAX + 1] = "";
	struct xn_buf first = {0}, again = {0};
	uint64_t n = 0;

	(void)xn_xs_slice_load(store, (struct xn_xs_text){(const char *)data, size});
	(void)xn_xs_slice_put(store, cursor, UINT32_MAX, SIZE_MAX / 2, &first, &n);
	other = xn_xs_store_new(wake, NULL);
	if (xn_xs_slice_load(other, (struct xn_xs_text){first.data, first.len}) < 0)
		abort();
	cursor[0] = '\0';
	(void)xn_xs_slice_put(other, cursor, UINT32_MAX, SIZE_MAX / 2, &again, &n);
	if (first.len != again.len || memcmp(first.data, again.data, first.len))
		abort();
	xn_buf_clear(&first);
	xn_buf_clear(&again);
	end(NULL, store);
	end(NULL, other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xn_core core = {0};
	struct xn_xs_media *media;

	if (!size)
		return 0;
	if (data[0] % 4 == 3) {
		try_slice(data + 1, size - 1);
		return 0;
	}
	core.loop = xn_loop_new_virtual(1);
	core.workers = xn_pool_new(core.loop, "fuzz", 1);
	media = xn_xs_media_memory_new();
	put_file(media, data[0] % 4 == 2 ? XN_XS_IMAGE : XN_XS_SEGMENT, data + 1, size - 1,
		 data[0] % 4 != 0);
	try_files(&core, media);
	xn_pool_free(core.workers);
	xn_xs_media_memory_destroy(media);
	xn_loop_free(core.loop);
	return 0;
}
