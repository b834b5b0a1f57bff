/*
 * The client of a foreign xenstored, fed with whatever a daemon may send: replies to a snapshot, a
 * write, watches, and events. In one piece or byte by byte (a call may then be sent between two
 * frames), every request is answered once at most, with valid text, and nothing is left behind.
 */
#include <assert.h>
#include <stdlib.h>

#include "core/metrics.h"
#include "modules/xenstore/client/wire_client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct heard {
	unsigned answers, fires;
	struct xn_buf text;
};

static void on_snapshot(int rc, const struct xn_xs_snapshot *snap, void *arg)
{
	struct heard *heard = arg;
	size_t n = 0;
	const char *const *names = snap ? xn_xs_list(snap, "/a", &n) : NULL;
	const char *value = snap ? xn_xs_get(snap, "/a") : NULL;

	heard->answers++;
	xn_buf_printf(&heard->text, "%d %s", rc, value ? value : "-");
	assert(!value || xn_text_is_valid(value, strlen(value)));
	for (size_t i = 0; i < n; i++)
		xn_buf_printf(&heard->text, ",%s", names[i]);
}

static void on_written(int rc, void *arg)
{
	struct heard *heard = arg;

	heard->answers++;
	xn_buf_printf(&heard->text, " w%d", rc);
}

static void on_fired(const char *path, void *arg)
{
	struct heard *heard = arg;

	heard->fires++;
}

static void settle(struct xn_core *core)
{
	while (xn_loop_turn(core->loop, 0))
		;
}

/* The frames' request numbers are the input's own: the small ones name the calls in flight. */
static void play(const uint8_t *data, size_t size, size_t piece, struct heard *heard)
{
	static const char *const roots[] = {"/a", "/local/domain/1"};
	static const struct xn_xs_change changes[] = {{.path = "/a", .value = "1"},
						      {.path = "/b", .value = "2", .perms = "n0"}};
	struct xn_core core = {.loop = xn_loop_new_virtual(1),
			       .log = xn_log_new(XN_LOG_ERROR, false, -1),
			       .config = xn_config_new(),
			       .metrics = xn_metrics_new()};
	struct xn_buf sent = {0};
	struct xn_error err = {0};
	void *xs;

	xn_config_decide(core.config, "xenstore", "system");
	assert(xn_xenstore_module.init(&core, &xs, &err) == 0);
	xn_xs_wire_detach(xs, &sent);
	assert(xn_xs_watch(xs, "/a", on_fired, heard));
	assert(xn_xs_watch(xs, "@releaseDomain", on_fired, heard));
	xn_xs_snapshot(xs, roots, 2, 3, 4000, on_snapshot, heard);
	xn_xs_write(xs, changes, 2, on_written, heard);
	settle(&core);
	for (size_t at = 0; at < size; at += piece) {
		xn_xs_wire_input(xs, data + at, size - at < piece ? size - at : piece);
		assert(sent.len < 1 << 20);
	}
	settle(&core);
	assert(heard->answers <= 2);
	xn_xenstore_module.stop(xs);
	xn_buf_clear(&sent);
	xn_config_free(core.config);
	xn_metrics_free(core.metrics);
	xn_log_free(core.log);
	xn_loop_free(core.loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct heard whole = {0}, bytes = {0};

	if (size > 20000)
		return 0;
	play(data, size, size ? size : 1, &whole);
	play(data, size, 1, &bytes);
	xn_buf_clear(&whole.text);
	xn_buf_clear(&bytes.text);
	return 0;
}
